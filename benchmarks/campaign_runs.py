"""Damage the files of runs and releases, and see what the commands that use them do."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from campaign_trying import Tried, broken, call, here, needed, outcome, tried

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.data import phantom_split

SMALL = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "image_size=[32, 32]"]
QUICK = ["--set", "max_epochs=1", "--set", "learning_rate=0.01", "--set", "batch_size=8"]
FAST = ("predict", "merge", "revert", "report", "verify")  # what takes less than a second
ODD = [None, True, -1, 10**30, 0.5, "", "NA", "$1", "@x", "%y", "\x1b[2K", [], {}, [[]], {"_target_": "x"}]
Run = Callable[[Path, Path], tuple[int, str, str]]  # a folder and one for output, to code, what was said and result


def prepare(place: Path, data: Path | None) -> Path:
    """A teacher, a student with an audit and attacks, and a signed release, in a folder; made once."""
    made, report = place / "made", place / "report.json"
    if (made / "released" / "record.dsse.json").is_file():
        return made
    made.mkdir(parents=True, exist_ok=True)
    split = made / "split.json"
    if data is None:
        split = Path(phantom_split("lesions", made / "phantoms", patients=12, size=32))
    else:
        needed(report, "split", data, "--forget", "0.1", "--out", split)
    settings = [text for setting in (*SMALL, "max_epochs=2", "batch_size=8") for text in ("--set", setting)]
    common = ["--split", split, "--quiet"]
    needed(report, "train", "isic", *common, *settings, "--out", made / "teacher")
    needed(report, "unlearn", "isic", *common, *QUICK, "--teacher", made / "teacher", "--out", made / "student")
    needed(report, "audit", made / "student", "--attacks", "int8", "--quiet")
    needed(report, "release", made / "student", "--out", made / "released")
    write_keys(made)
    record = ["--record", made / "released", "--key", made / "key.pem"]
    needed(report, "report", made / "student", "--out", made / "report", *record)
    needed(report, "release", made / "student", "--out", made / "unsigned")
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


# -- what commands do --------------------------------------------------------------------------------------------------


def digest(*paths: Path) -> str:
    """Of the bytes of files, and of all files in folders."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def measured(file: Path) -> str:
    """Of an audit: its numbers and verdict."""
    content = json.loads(file.read_text())
    return json.dumps([content["records"], content["verdict"]], sort_keys=True)


def split_of(made: Path) -> Path:
    """The split of the runs."""
    return Path(json.loads((made / "student" / "run.json").read_text())["split"]["file"])


def image_of(made: Path) -> Path:
    """An image to answer."""
    split = split_of(made)
    return Path(split.parent / json.loads(split.read_text())["test"][0]["image"])


def commands(made: Path) -> dict[str, Run]:
    """Every command that uses a student's run: on its folder, with a folder for output."""
    image, key = image_of(made), made / "key.pem"

    def calling(arguments: Callable[[Path, Path], list[object]], result: Callable[[Path, Path], str]) -> Run:
        def run(folder: Path, out: Path) -> tuple[int, str, str]:
            code, said = call(*arguments(folder, out))
            return code, said, result(folder, out) if code == 0 else ""

        return run

    def unsigned(out: Path) -> Path:
        return shutil.copytree(made / "unsigned", out / "r")

    def weights(_: Path, out: Path) -> str:
        return weights_sha256(read_weights(out / "w.pt"))

    return {
        "evaluate": calling(lambda run, out: ["evaluate", run], lambda run, out: digest(run / "scores.csv")),
        "predict": calling(lambda run, out: ["predict", run, image, "--out", out], lambda run, out: digest(out)),
        "merge": calling(lambda run, out: ["merge", run, "--out", out / "w.pt"], weights),
        "revert": calling(lambda run, out: ["revert", run, "--out", out / "w.pt"], weights),
        "release": calling(
            lambda run, out: ["release", run, "--out", out / "r"], lambda run, out: digest(out / "r" / "bundle")
        ),
        "report": calling(
            lambda run, out: ["report", run, "--out", out / "r"], lambda run, out: digest(out / "r" / "tables")
        ),
        "sign": calling(
            lambda run, out: ["report", run, "--out", out / "p", "--record", unsigned(out), "--key", key],
            lambda run, out: "signed",
        ),
        "audit": calling(
            lambda run, out: ["audit", run, "--attacks", "int8", "--quiet"],
            lambda run, out: measured(run / "audit.json"),
        ),
    }


def unlearning(made: Path) -> Run:
    """Unlearning from the run of a teacher."""
    split = split_of(made)

    def run(folder: Path, out: Path) -> tuple[int, str, str]:
        arguments = ["--split", split, "--teacher", folder, "--out", out / "u", *QUICK, "--quiet"]
        code, said = call("unlearn", "isic", *arguments)
        return code, said, weights_sha256(read_weights(out / "u")) if code == 0 else ""

    return run


def verifying(made: Path) -> Run:
    """Verifying a release; nothing but the sound one may be accepted."""

    def run(folder: Path, _: Path) -> tuple[int, str, str]:
        return (*call("verify", folder, "--public-key", made / "key.pub"), digest(folder))

    return run


def uses(made: Path) -> dict[str, dict[str, Run]]:
    """The commands by the kind of folder that they use."""
    return {
        "student": commands(made),
        "teacher": {"unlearn": unlearning(made)},
        "released": {"verify": verifying(made)},
    }


# -- damage ------------------------------------------------------------------------------------------------------------


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


def kind_of(name: str) -> str:
    """What a file of a run or release is."""
    if name.endswith((".pt", ".safetensors", ".npz")):
        return "weights"
    return "configs" if "config" in name or name.endswith("inference.json") else "records"


def damage(file: Path, rng: random.Random) -> str:
    """Damage a file of a run; returns what was done."""
    if rng.random() < 0.05:
        file.unlink()
        return "removed"
    content, what = file.read_bytes(), ""
    if file.suffix == ".json" and rng.random() < 0.5:
        changed, what = odd_json(json.loads(content), rng)
        file.write_text(json.dumps(changed))
        return what
    damaged, what = broken(content, rng)
    file.write_bytes(damaged)
    return what


class Runs:
    """Damage to the files of one kind, each time used by one command.

    Args:
        made: what `prepare` made.
        place: a folder to work in.
        kind: `records`, `weights` or `configs`.
        patience: the seconds after which a command hangs.
        fast: only commands that take less than a second.
    """

    def __init__(self, made: Path, place: Path, kind: str, patience: float, fast: bool) -> None:
        self.made, self.place, self.patience = made, place, patience
        self.jobs = [
            (folder, path.relative_to(made / folder).as_posix(), command, run)
            for folder, runs in uses(made).items()
            for command, run in runs.items()
            for path in sorted((made / folder).rglob("*"))
            if path.is_file() and kind_of(path.name) == kind and (not fast or command in FAST)
        ]
        self.sound: dict[str, Tried] = {}

    def once(self, rng: random.Random) -> tuple[str, str]:
        """Damage one file and run one command: the outcome, and what was done and said."""
        folder, name, command, run = rng.choice(self.jobs)
        if command not in self.sound:
            self._copy(folder)
            self.sound[command] = here(lambda: run(self.place / "run", self.place / "out"))
        self._copy(folder)
        what = damage(self.place / "run" / name, rng)
        found = tried(lambda: run(self.place / "run", self.place / "out"), self.place / "said.json", self.patience)
        last = found.said.strip().splitlines()[-1:] or [""]
        return outcome(found, self.sound[command]), f"{command} with {folder}/{name}, {what}: {last[0]}"

    def _copy(self, source: str) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.made / source, self.place / "run")
        (self.place / "out").mkdir()
