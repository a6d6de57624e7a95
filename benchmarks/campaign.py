"""Damage every file of a run and of a release, and see what every command that uses it does.

    python benchmarks/campaign.py --data ../shared/data/isic_lesion --mutations 20 --out campaign

Without --data the images are built-in phantoms. A table is printed: for every file and command how often the change was
refused, made no difference to the result, changed the result in silence, or ended in a traceback. The last two must be
zero; then the program ends with 0, else with 1. Every case that is not well is listed with its seed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch

from mu_monai import cli
from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.data import phantom_split

SMALL = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "image_size=[32, 32]"]
REFUSED, SAME, OTHER, TRACEBACK = "refused", "no difference", "OTHER RESULT", "TRACEBACK"
Run = Callable[[Path, Path], tuple[int, str, str]]  # a folder and one for output, to code, result and what was said
ODD = [None, True, -1, 10**30, 0.5, "", "NA", "$1", "@x", "%y", "\x1b[2K", [], {}, [[]], {"_target_": "x"}]


def main() -> None:
    """Make a run and its release, damage them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of images that 'mu-monai split' takes")
    parser.add_argument("--mutations", type=int, default=20, help="changes of every file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="damage only files whose name holds this text")
    parser.add_argument("--out", type=Path, help="the folder to work in; by default a temporary one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        place = options.out or Path(temporary)
        made = prepare(place, options.data)
        table = damaged(made, place / "damaged", options.mutations, options.seed, options.only)
    print(table.to_string())
    bad = [name for name in (OTHER, TRACEBACK) if name in table and table[name].sum()]
    sys.exit(1 if bad else 0)


def call(*arguments: object) -> tuple[int, str]:
    """Exit code and output of a command; -1 for an exception that reached the top."""
    sys.argv = ["mu-monai", *map(str, arguments)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except BaseException:
            said.write(traceback.format_exc())
            code = -1
    return code, said.getvalue()


def needed(*arguments: object) -> None:
    """Call a command that must succeed."""
    code, said = call(*arguments)
    if code:
        sys.exit(f"mu-monai {' '.join(map(str, arguments))} ended with {code}:\n{said}")


def prepare(place: Path, data: Path | None) -> Path:
    """A teacher, a student with an audit and attacks, and a signed release, in a folder; made once."""
    made = place / "made"
    if (made / "released" / "record.dsse.json").is_file():
        return made
    split = made / "split.json"
    if data is None:
        split = Path(phantom_split("lesions", made / "phantoms", patients=12, size=32))
    else:
        needed("split", data, "--forget", "0.1", "--out", split)
    settings = [text for setting in (*SMALL, "max_epochs=2", "batch_size=8") for text in ("--set", setting)]
    common = ["--split", split, "--quiet"]
    needed("train", "isic", *common, *settings, "--out", made / "teacher")
    quick = ["--set", "max_epochs=1", "--set", "learning_rate=0.01", "--set", "batch_size=8"]
    needed("unlearn", "isic", *common, *quick, "--teacher", made / "teacher", "--out", made / "student")
    needed("audit", made / "student", "--attacks", "int8", "--quiet")
    needed("release", made / "student", "--out", made / "released")
    write_keys(made)
    needed(
        "report", made / "student", "--out", made / "report", "--record", made / "released", "--key", made / "key.pem"
    )
    needed("release", made / "student", "--out", made / "unsigned")
    return made


def write_keys(folder: Path) -> None:
    """A key pair to sign with."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(private)
    (folder / "key.pub").write_bytes(public)


# -- what commands do, and what came of it -----------------------------------------------------------------------------


def digest(*paths: Path) -> str:
    """Of the bytes of files, and of all files in folders."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def measured(file: Path) -> str:
    """Of an audit: its numbers and verdict."""
    content = json.loads(file.read_text())
    return json.dumps([content["records"], content["verdict"]], sort_keys=True)


def image_of(made: Path) -> Path:
    """An image to answer."""
    split = next(path for path in (made / "split.json", *made.glob("phantoms/split.json")) if path.is_file())
    return split.parent / json.loads(split.read_text())["test"][0]["image"]


def commands(made: Path) -> dict[str, Run]:
    """Every command that uses a run: on its folder, with a folder for output, to code, result and what was said."""
    image = image_of(made)

    def calling(arguments: Callable[[Path, Path], list[object]], result: Callable[[Path, Path], str]) -> Run:
        def run(folder: Path, out: Path) -> tuple[int, str, str]:
            code, said = call(*arguments(folder, out))
            return code, result(folder, out) if code == 0 else "", said

        return run

    weights = lambda run, out: weights_sha256(read_weights(out / "w.pt"))  # noqa: E731
    unlearning = ["--set", "max_epochs=1", "--set", "batch_size=8", "--quiet"]
    split = json.loads((made / "student" / "run.json").read_text())["split"]["file"]
    return {
        "evaluate": calling(lambda run, out: ["evaluate", run], lambda run, out: digest(run / "scores.csv")),
        "predict": calling(lambda run, out: ["predict", run, image, "--out", out], lambda run, out: digest(out)),
        "merge": calling(lambda run, out: ["merge", run, "--out", out / "w.pt"], weights),
        "revert": calling(lambda run, out: ["revert", run, "--out", out / "w.pt"], weights),
        "release": calling(
            lambda run, out: ["release", run, "--out", out / "r"], lambda run, out: digest(out / "r" / "bundle")
        ),
        "report": calling(
            lambda run, out: ["report", run, "--out", out / "r"],
            lambda run, out: digest(out / "r" / "tables"),
        ),
        "sign": calling(
            lambda run, out: [
                *("report", run, "--out", out / "p", "--record", shutil.copytree(made / "unsigned", out / "r")),
                *("--key", made / "key.pem"),
            ],
            lambda run, out: "signed",
        ),
        "audit": calling(
            lambda run, out: ["audit", run, "--attacks", "int8", "--quiet"],
            lambda run, out: measured(run / "audit.json"),
        ),
        "unlearn": calling(
            lambda run, out: ["unlearn", "isic", "--split", split, "--teacher", run, "--out", out / "u", *unlearning],
            lambda run, out: weights_sha256(read_weights(out / "u")),
        ),
    }


# -- damage ------------------------------------------------------------------------------------------------------------


def mutations(content: bytes, name: str, count: int, rng: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Damaged versions of a file, with what was done; none in the place of bytes where it is removed."""
    yield "removed", None
    yield "emptied", b""
    for _ in range(count):
        kind = rng.choice(
            ["bit", "byte", "cut", "double", "json"] if name.endswith(".json") else ["bit", "byte", "cut"]
        )
        place = rng.randrange(len(content))
        if kind == "bit":
            yield f"bit at {place}", flipped(content, place, 1 << rng.randrange(8))
        elif kind == "byte":
            yield f"byte at {place}", flipped(content, place, rng.randrange(1, 256))
        elif kind == "cut":
            yield f"cut at {place}", content[:place]
        elif kind == "double":
            yield f"doubled from {place}", content[:place] + content[place:] * 2
        else:
            changed, where = odd_json(json.loads(content), rng)
            yield where, json.dumps(changed).encode()


def flipped(content: bytes, place: int, mask: int) -> bytes:
    """One byte changed."""
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


def odd_json(content: object, rng: random.Random) -> tuple[object, str]:
    """One value, somewhere, replaced by something odd, or removed."""
    content = copy.deepcopy(content)
    places = [
        (level, key) for level in levels(content) for key in (level if isinstance(level, dict) else range(len(level)))
    ]
    if not places:
        return rng.choice(ODD), "all replaced"
    level, key = rng.choice(places)
    if rng.random() < 0.25:
        del level[key]
        return content, f"{key} removed"
    level[key] = rng.choice(ODD)
    return content, f"{key} = {level[key]!r}"


def levels(content: object) -> Iterator[dict | list]:
    """Every mapping and list in JSON."""
    if isinstance(content, dict | list):
        yield content
        for value in content.values() if isinstance(content, dict) else content:
            yield from levels(value)


def damaged(made: Path, place: Path, count: int, seed: int, only: str) -> pd.DataFrame:
    """The table: a row per file and command, a column per outcome."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for kind, name, runs in jobs(made):
        whole = (made / kind / name).read_bytes()
        if only not in f"{kind}/{name}" or not whole:
            continue
        sound = {command: attempt(made / kind, run, place) for command, run in runs.items()}
        for what, content in mutations(whole, name, count, random.Random(f"{seed} {kind} {name}")):
            for command, run in runs.items():
                outcome, said = judged(attempt(made / kind, run, place, name, content), sound[command], kind)
                found.setdefault((f"{kind}/{name}", command), Counter())[outcome] += 1
                if outcome in (OTHER, TRACEBACK):
                    last = said.strip().splitlines()[-1] if said.strip() else ""
                    print(f"{outcome}: {command} with {kind}/{name}, {what}: {last}", flush=True)
        print(f"{kind}/{name} done", file=sys.stderr, flush=True)
    return pd.DataFrame(found).T.fillna(0).astype(int).sort_index()


def attempt(source: Path, run: Run, place: Path, name: str = "", content: bytes | None = None) -> tuple[int, str, str]:
    """Run a command on a copy of a folder, one file of which is replaced, or removed where there is no content."""
    shutil.rmtree(place, ignore_errors=True)
    folder = shutil.copytree(source, place / "run")
    (place / "out").mkdir()
    if name and content is None:
        (folder / name).unlink()
    elif name:
        (folder / name).write_bytes(content)
    return run(folder, place / "out")


def judged(tried: tuple[int, str, str], sound: tuple[int, str, str], kind: str) -> tuple[str, str]:
    """What a command made of damaged input, and what it said."""
    code, result, said = tried
    if code == -1 or "Traceback (most recent call last)" in said:
        return TRACEBACK, said
    if code != 0:
        return REFUSED, said
    return (SAME if result == sound[1] and kind != "released" else OTHER), said


def jobs(made: Path) -> Iterator[tuple[str, str, dict[str, Run]]]:
    """Every file of a run and of a release, with the commands that are tried on it."""
    every = commands(made)

    def verify(folder: Path, out: Path) -> tuple[int, str, str]:
        code, said = call("verify", folder, "--public-key", made / "key.pub")
        return code, "", said

    teacher = {"unlearn": every.pop("unlearn")}
    for kind, runs in (("student", every), ("teacher", teacher), ("released", {"verify": verify})):
        for path in sorted(path for path in (made / kind).rglob("*") if path.is_file()):
            yield kind, path.relative_to(made / kind).as_posix(), runs


if __name__ == "__main__":
    main()
