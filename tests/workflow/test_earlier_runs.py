"""Runs that an earlier version made, whose records know no digests of files, are used as before."""

import json
import shutil

import pytest

from mu_monai.files import read_json


@pytest.fixture
def earlier(unlearned, tmp_path):
    """An unlearning run as the version before digests left it."""
    run = shutil.copytree(unlearned("isic"), tmp_path / "run")
    for name, gone in (("run.json", ("files", "digest")), ("adapter/base.json", ("files",))):
        content = {key: value for key, value in read_json(run / name).items() if key not in gone}
        (run / name).write_text(json.dumps(content | ({"format": 1} if name == "run.json" else {}), indent=2))
    return run


def test_every_command_still_takes_them_one_after_the_other(mu_monai, earlier, tmp_path):
    for command in (
        ["report", earlier, "--out", tmp_path / "report"],
        ["audit", earlier, "--quiet"],
        ["evaluate", earlier],
        ["merge", earlier, "--out", tmp_path / "merged.pt"],
        ["revert", earlier, "--out", tmp_path / "reverted.pt"],
        ["release", earlier, "--out", tmp_path / "released"],
        ["report", earlier, "--out", tmp_path / "report"],
    ):
        code, _, err = mu_monai(*command)
        assert code == 0, (command, err)
    record = read_json(earlier / "run.json")
    assert record["format"] == 1
    assert set(record["files"]) == {"audit.json", "scores.csv", "examples.npz"}


@pytest.mark.parametrize("name", ["config.json", "model.pt"])
def test_config_and_weights_are_compared_in_them_as_well(name, mu_monai, earlier, teachers, tmp_path):
    shutil.copy(teachers["isic"] / name, earlier / name)
    code, _, err = mu_monai("evaluate", earlier)
    assert (code, name in err) == (2, True), err
