"""Scores are made again from the files of a run alone."""

import shutil

import pytest

from mu_monai.files import read_json


@pytest.mark.parametrize("missing", [["scores.csv", "examples.npz"], ["examples.npz"]])
def test_a_run_that_was_killed_before_its_scores_is_completed(mu_monai, unlearned, teachers, tmp_path, missing):
    run = shutil.copytree(unlearned("isic"), tmp_path / "run")
    before = {name: (run / name).read_bytes() for name in ("scores.csv", "model.pt")}
    for name in missing:
        (run / name).unlink()
    split = read_json(run / "run.json")["split"]["file"]
    command = ["unlearn", "isic", "--split", split, "--teacher", teachers["isic"], "--out", run, "--resume"]
    assert mu_monai(*command)[0] == 0
    assert {name: (run / name).read_bytes() for name in before} == before
    assert (run / "examples.npz").is_file()
