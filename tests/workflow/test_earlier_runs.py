"""Runs that an earlier version made are used as before: records without digests of files, configs of other shape."""

import json
import shutil

import pytest

from mu_monai.bundle.earlier import earlier_form
from mu_monai.files import file_sha256, read_json
from mu_monai.keys import SUBSETS


def spelled_out(config):
    """A config with data sets and loaders one by one, and with MONAI's reader, as bundles wrote it at first."""
    data = {
        subset: {"_target_": "CacheDataset", "data": f"$@cases['{subset}']", "transform": "@transforms"}
        for subset in SUBSETS
    }
    loaders = {
        subset: {"_target_": "monai.data.DataLoader", "dataset": f"@datasets::{subset}", "batch_size": 8}
        for subset in SUBSETS
    }
    method = config["method"]
    method["forget_loader"]["dataset"] = "@datasets::forget"
    scorer = {"_target_": "mu_monai.engine.ScoreSubsets", "loaders": loaders, "loss_function": "@loss"}
    del config["picture_range"], config["label_map"]
    return earlier_form(config) | {"datasets": data, "method": method, "scorer": scorer}


@pytest.fixture
def earlier(unlearned, tmp_path):
    """An unlearning run as the version before digests left it."""
    run = shutil.copytree(unlearned("isic"), tmp_path / "run")
    (run / "config.json").write_text(json.dumps(spelled_out(read_json(run / "config.json"))))
    for name, gone in (("run.json", ("files", "digest")), ("adapter/base.json", ("files",))):
        content = {key: value for key, value in read_json(run / name).items() if key not in gone}
        if name == "run.json":
            del content["split"]["cases"]
            content |= {"format": 1, "sha256": content["sha256"] | {"config": file_sha256(run / "config.json")}}
        (run / name).write_text(json.dumps(content, indent=2))
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
