"""What was killed between its weights and its scores is scored by the same command with --resume, and by no other."""

import json
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.workflow import evaluating

LOSS = {"_target_": "DiceFocalLoss", "sigmoid": True}
TINY = ["network_def#channels=[4, 8]", "network_def#strides=[2]", "image_size=[32, 32]"]
QUICK = ["max_epochs=1", "transforms#transforms#2#b_max=2"]


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    file = tmp_path_factory.mktemp("overlay") / "mine.json"
    file.write_text(json.dumps({"loss": LOSS, "transforms#transforms#2#b_min": 0}))
    return str(file)


@pytest.fixture(scope="module", params=["train", "shards", "folds", "unlearn"])
def made(request, tmp_path_factory, phantom_splits, teachers, overlay):
    """A command, and the run that it makes."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    shards, folds = {"base": teachers["isic"], "shards": 2}, {"folds": 2}
    verb, own, run = {
        "train": (workflow.train, {"settings": [*TINY, *QUICK]}, out),
        "shards": (workflow.train_shards, {**shards, "settings": QUICK}, out),
        "folds": (workflow.train_folds, {**folds, "settings": [*TINY, *QUICK]}, out / "fold-1"),
        "unlearn": (workflow.unlearn, {"teacher": teachers["isic"], "settings": QUICK}, out),
    }[request.param]

    def command(**options):
        given = {"split": phantom_splits["isic"], "out": out, "quiet": True, "overlays": [overlay]}
        return verb("isic", **given | own | options)

    command()
    return command, run


def test_the_same_command_scores_it(made):
    command, run = made
    assert read_json(run / "config.json")["loss"]["_target_"] == "DiceFocalLoss"
    before = (run / "scores.csv").read_bytes()
    (run / "scores.csv").unlink()
    command(resume=True)
    assert (run / "scores.csv").read_bytes() == before


def test_it_is_scored_on_the_device_of_the_command(made, monkeypatch):
    command, run = made
    found, options = [], evaluating.common_options
    monkeypatch.setattr(evaluating, "common_options", lambda *given: found.append(given[-1]) or options(*given))
    (run / "scores.csv").unlink()
    command(resume=True, device="cpu")
    assert found == ["cpu"]


def test_it_is_scored_with_the_split_of_the_command_where_that_was_moved(made, phantom_splits):
    command, run = made
    before = (run / "scores.csv").read_bytes()
    (run / "scores.csv").unlink()
    split = Path(phantom_splits["isic"])
    moved = split.rename(split.with_name("moved.json"))
    try:
        command(resume=True, split=moved)
    finally:
        moved.rename(split)
    assert (run / "scores.csv").read_bytes() == before


def test_code_that_the_command_does_not_name_is_not_taken_from_the_run(made):
    command, run = made
    (run / "scores.csv").unlink()
    with pytest.raises(InputError, match=r"the config of a run is taken as data|config id 'loss' was"):
        command(resume=True, overlays=[])
    command(resume=True)
