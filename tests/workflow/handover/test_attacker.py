"""Somebody with a release, the training split and the program guesses who was forgotten, and can confirm no guess."""

import base64
import hashlib
import hmac
import json
import shutil
import sys
import zipfile
from itertools import combinations

import pandas as pd
import pytest

from mu_monai import workflow
from mu_monai.files import read_json

SMALL = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "image_size=[32, 32]", "max_epochs=1"]
FORGOTTEN, SEED = "PAT005", 3
SALTS = [b"", bytes(32), b"salt", b"mu-monai", b"0", bytes(range(32)), b"00" * 32]


@pytest.fixture(scope="module")
def house(tmp_path_factory, phantom_splits):
    """Eight patients, the fifth with the only five images, and a teacher that was trained on most of them."""
    folder, drawn = tmp_path_factory.mktemp("house"), phantom_splits["isic"]
    cases = [case for part in ("retain", "forget", "validation", "test") for case in read_json(drawn)[part]]
    owners = [f"PAT00{number}" for number in range(1, 9) for _ in range(5 if number == 5 else 1)]
    table = pd.DataFrame(cases[: len(owners)])[["image", "label"]].assign(patient_id=owners)
    for column in ("image", "label"):
        table[column] = [f"{drawn.rpartition('/')[0]}/{name}" for name in table[column]]
    table["case_id"] = [f"{owner}_{number}" for number, owner in enumerate(owners)]
    table.to_csv(folder / "manifest.csv", index=False)
    seed = 0
    for seed in range(50):
        workflow.split(folder / "manifest.csv", out=folder / "split.json", seed=seed, force=True)
        if FORGOTTEN in {case["patient_id"] for case in read_json(folder / "split.json")["retain"]}:
            break
    workflow.train("isic", split=folder / "split.json", out=folder / "teacher", settings=SMALL, quiet=True)
    return folder


def make_request(house, name, forget, seed=0):
    """A split for a request, as the house or somebody who guesses makes it; the path of the file."""
    out = house / f"{name}.json"
    if "ids" in forget:
        (house / f"{name}.txt").write_text("\n".join(forget["ids"]))
        forget = {"ids": house / f"{name}.txt"}
    workflow.split(house / "split.json", out=out, forget=workflow.ForgetChoice(**forget), seed=seed, force=True)
    return out


@pytest.fixture(scope="module", params=["by name", "by chance"])
def requested(request, house):
    """The split of the true request."""
    if request.param == "by name":
        return make_request(house, f"forget-{FORGOTTEN}", {"ids": [FORGOTTEN]})
    return make_request(house, "forget", {"fraction": 0.1}, SEED)


@pytest.fixture(scope="module")
def release(house, requested, keys, tmp_path_factory):
    """What was released and signed of it, made with commands that name the patient."""
    folder = tmp_path_factory.mktemp("handed-over")
    with pytest.MonkeyPatch.context() as patch:
        typed = [
            "unlearn",
            "isic",
            "--split",
            requested,
            "--teacher",
            house / "teacher",
            "--out",
            f"runs/for-{FORGOTTEN.lower()}",
        ]
        patch.setattr(sys, "argv", ["mu-monai", *map(str, typed)])
        settings = [*SMALL, f"seed={SEED}"]
        run = folder / "runs" / FORGOTTEN
        options = {"settings": settings, "quiet": True, "teacher": house / "teacher"}
        workflow.unlearn("isic", split=requested, out=run, **options)
        patch.setattr(sys, "argv", ["mu-monai", "audit", f"runs/{FORGOTTEN}", "--seed", str(SEED)])
        workflow.audit(run, options=workflow.AuditOptions(seed=SEED, n_resamples=50, quiet=True))
    out = workflow.release(run, out=folder / "released")
    workflow.report([run], out=folder / "report", record=out, key=keys / "own.pem")
    return out, run


def bytes_of(folder):
    """Every file of a release by its name, with what is packed in it: payloads of signed JSON, members of archives."""
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        found[name] = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found |= {f"{name}/{member}": archive.read(member) for member in archive.namelist()}
        if name.endswith("dsse.json"):
            found[f"{name}/payload"] = base64.b64decode(read_json(path)["payload"])
    return {name: data.lower() for name, data in {**found, "names": "\n".join(found).encode()}.items()}


def byte_forms(path):
    """The bytes that a JSON file of this content can have had."""
    yield path.read_bytes()
    content = read_json(path)
    for options in ({}, {"indent": 2}, {"indent": 4}, {"separators": (",", ":")}):
        for more in ({}, {"sort_keys": True}, {"ensure_ascii": False}):
            for end in ("", "\n"):
                yield (json.dumps(content, **options, **more) + end).encode()


def digests_of(data):
    for kind in ("sha256", "sha1", "md5", "sha512"):
        yield hashlib.new(kind, data).hexdigest()
    for salt in SALTS:
        yield hmac.new(salt, data, "sha256").hexdigest()


def guessed(path, run, names):
    """What can be computed of a guess: of its split, of the run's config with it, and of the names in it."""
    for data in byte_forms(path):
        yield from digests_of(data)
    config = (run / "config.json").read_text()
    split = read_json(run / "run.json")["split"]["file"]
    for name in (str(path), path.name, f"/data/{path.name}"):
        yield from digests_of(config.replace(split, name).encode())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in {*names, *(name.lower() for name in names), path.name, path.stem, str(path), digest}:
        for data in (name, f"patient {name}", f"case {name}", f"split {name}", f"patient-{name}"):
            yield from digests_of(data.encode())


def guesses(house):
    """Every patient, every pair, and the first draws, as splits with the names that they forget."""
    retained = {case["patient_id"] for case in read_json(house / "split.json")["retain"]}
    asked = [{"ids": [one]} for one in retained] + [{"ids": list(pair)} for pair in combinations(sorted(retained), 2)]
    for forget, seed in [*((ids, 0) for ids in asked), *(({"fraction": 0.1}, seed) for seed in range(21))]:
        name = f"forget-{'-'.join(forget['ids'])}" if "ids" in forget else "forget"
        path = make_request(house, name, forget, seed)
        forgotten = read_json(path)["forget"]
        yield path, sorted({case[key] for case in forgotten for key in ("patient_id", "case_id")})


def test_no_guess_is_confirmed(house, requested, release):
    out, run = release
    true = requested.read_bytes()
    files = bytes_of(out)
    confirmed, met = [], False
    for path, names in guesses(house):
        met = met or path.read_bytes() == true
        values = {value.encode() for value in guessed(path, run, names)}
        confirmed += [(path.name, file) for file, data in files.items() if any(value in data for value in values)]
    requested.write_bytes(true)  # a guess took its place
    assert met  # the attacker did guess right, and did not notice
    assert confirmed == []


def test_the_attack_works_where_a_digest_is_told(house, requested, release):
    """So that it is the release that holds nothing, and not the attack that finds nothing."""
    digest = hashlib.sha256(requested.read_bytes()).hexdigest()
    assert digest in set(guessed(requested, release[1], []))


def test_no_file_holds_an_id(house, release):
    table = pd.read_csv(house / "manifest.csv")
    names = {name.lower().encode() for column in ("patient_id", "case_id") for name in table[column]}
    names |= {name.replace(b"_", b"-") for name in names} | {name.replace(b"_", b"") for name in names}
    files = bytes_of(release[0])
    assert any(name.startswith("bundle/models/model.pt/") for name in files)
    assert [(name, file) for file, data in files.items() for name in names if name in data] == []


def fields(content, place=()):
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from fields(value, (*place, key))
    else:
        yield place, content


def test_neither_seeds_nor_counts_of_cases_nor_the_way_of_choosing_are_told(release):
    texts = {name: data for name, data in bytes_of(release[0]).items() if not name.startswith("bundle/models")}
    said = {name: json.loads(data) for name, data in texts.items() if name.endswith((".json", "payload"))}
    told = [place for content in said.values() for place, _ in fields(content)]
    assert [place for place in told if "seed" in place and place[-2:] != ("draws", "seed")] == []
    assert [place for place in told if {"n_cases", "cases", "chosen_by", "selector", "group_by"} & set(place)] == []
    assert not any(b"5 cases" in data or b"5 images" in data for data in texts.values())


def test_the_salt_is_neither_in_the_release_nor_in_the_run(release):
    out, run = release
    salt = out.with_name("released.salt.txt")
    secret = salt.read_text().strip()
    assert salt.stat().st_mode & 0o077 == 0
    for folder in (out, run):
        assert [name for name, data in bytes_of(folder).items() if secret.encode() in data] == []
        assert not any("salt" in path.name for path in folder.rglob("*"))


def test_a_salt_that_lies_there_already_is_not_used(release, keys, tmp_path):
    """One that came with a received run folder is known to whoever sent it."""
    shutil.copytree(release[1], tmp_path / "run")
    (tmp_path / "run" / "record-salt.txt").write_text("ab" * 32)
    fresh = workflow.release(tmp_path / "run", out=tmp_path / "released")
    workflow.report([tmp_path / "run"], out=tmp_path / "report", record=fresh, key=keys / "own.pem")
    assert (tmp_path / "released.salt.txt").read_text().strip() != "ab" * 32
    known = hmac.new(bytes.fromhex("ab" * 32), f"patient {FORGOTTEN}".encode(), "sha256").hexdigest()
    assert not any(known.encode() in data for data in bytes_of(fresh).values())


def test_the_auditor_can_confirm_the_request_and_no_other(release, requested, house, keys):
    out, _ = release
    salt = out.with_name("released.salt.txt")
    for split, status in ((requested, "ok"), (house / "split.json", "FAILED")):
        checks = {check.name: check for check in workflow.verify(out, key=keys / "own.pub", split=split, salt=salt)}
        assert checks["split"].status == status
        assert [name for name, check in checks.items() if check.failed] == ([] if status == "ok" else ["split"])
