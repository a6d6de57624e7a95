"""One changed byte in a file of a run is noticed by every command that uses the file, as the page on trust says."""

import random
import shutil
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.files import read_json

NETWORK = ("evaluate", "predict", "release", "audit", "compose", "unlearn")
ADAPTER = ("merge", "revert", "audit", "compose")
USED_BY = {
    "run.json": (*NETWORK, "merge", "revert", "report"),
    "config.json": (*NETWORK, "merge", "revert"),
    "model.pt": NETWORK,
    "adapter/adapter_model.safetensors": ADAPTER,
    "adapter/adapter_config.json": ADAPTER,
    "adapter/base.json": ADAPTER,
    "scores.csv": ("report", "audit"),
    "examples.npz": ("report",),
    "curve.csv": ("report",),
    "audit.json": ("report",),
}


@pytest.fixture(scope="module")
def audited(unlearned, tmp_path_factory):
    run = shutil.copytree(unlearned("isic"), tmp_path_factory.mktemp("audited") / "run")
    workflow.audit(run, options=workflow.AuditOptions(n_resamples=10, quiet=True))
    return run


def test_no_file_of_a_run_is_missing_in_the_list(audited):
    assert {path.relative_to(audited).as_posix() for path in audited.rglob("*") if path.is_file()} == set(USED_BY)
    assert set(read_json(audited / "run.json")["files"]) == set(USED_BY) - {"run.json"}


@pytest.mark.parametrize("name", USED_BY)
def test_it_is_noticed(name, audited, unlearned, mu_monai, phantom_splits, tmp_path):
    run, split = shutil.copytree(audited, tmp_path / "run"), Path(phantom_splits["isic"])
    content = bytearray((run / name).read_bytes())
    places = [place for place, byte in enumerate(content) if byte not in b" \n"]  # white space says nothing in JSON
    content[random.Random(name).choice(places)] ^= 1
    (run / name).write_bytes(content)
    image = split.parent / read_json(split)["test"][0]["image"]
    out = ["--out", tmp_path / "out"]
    commands = {
        "evaluate": ["evaluate", run],
        "predict": ["predict", run, image, *out],
        "merge": ["merge", run, *out],
        "revert": ["revert", run, *out],
        "release": ["release", run, *out],
        "audit": ["audit", run, "--attacks", "int8", "--quiet"],
        "compose": ["compose", unlearned("isic"), run, *out, "--quiet"],
        "unlearn": ["unlearn", "isic", "--split", split, "--teacher", run, *out, "--quiet"],
        "report": ["report", run, *out],
    }
    for command in USED_BY[name]:
        code, _, err = mu_monai(*commands[command])
        assert (code, str(run) in err) == (2, True), (command, err)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["audit.json", "curve.csv", "examples.npz"])
def test_what_an_audit_does_not_use_does_not_stop_it(name, audited, mu_monai, tmp_path):
    run = shutil.copytree(audited, tmp_path / "run")
    (run / name).write_bytes((run / name).read_bytes()[1:])
    assert mu_monai("audit", run, "--quiet")[0] == 0
    assert mu_monai("evaluate", run)[0] == 0
    assert (mu_monai("report", run, "--out", tmp_path / "report")[0] == 0) == (name != "curve.csv")
