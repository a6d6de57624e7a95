"""Weights in a run folder stand for the run, which tells how its model is used; a config that differs is told."""

import shutil

import pytest

from mu_monai import workflow
from mu_monai.bundle.trust import used_otherwise
from mu_monai.files import read_json
from mu_monai.runs import read_record, run_of


def test_the_model_of_a_run_is_the_run_and_a_copy_is_not(teachers, tmp_path):
    run = teachers["isic"]
    copy = shutil.copy(run / "model.pt", tmp_path)
    for place, found in ((run, run), (run / "model.pt", run), (copy, copy), (run / "none.pt", run / "none.pt")):
        assert str(run_of(place)) == str(found)


@pytest.fixture
def unlearn(phantom_splits, tmp_path):
    def make(name, teacher, *settings):
        options = {
            "split": phantom_splits["isic"],
            "method": "retain-fine-tuning",
            "out": tmp_path / name,
            "quiet": True,
        }
        return read_record(workflow.unlearn("isic", teacher=teacher, settings=["max_epochs=1", *settings], **options))

    return make


def test_it_is_used_as_in_its_training(unlearn, teachers):
    run = teachers["isic"]
    records = [unlearn(name, teacher) for name, teacher in (("run", run), ("file", run / "model.pt"))]
    assert len({record.sha256.weights for record in records}) == 1
    assert not any("was trained with" in warning for record in records for warning in record.warnings)


def test_a_size_that_is_not_that_of_the_training_is_told(unlearn, teachers):
    warning, *_ = unlearn("other", teachers["isic"], "image_size=[16, 16]").warnings
    assert warning.startswith(
        f"image_size is [16, 16], and the model '{teachers['isic'] / 'model.pt'}' was trained with [32, 32]"
    )


def test_weights_that_are_audited_or_the_base_of_shards_are_used_as_in_their_training(
    teachers, phantom_splits, tmp_path
):
    weights, split = teachers["isic"] / "model.pt", phantom_splits["isic"]
    options = workflow.AuditOptions(n_resamples=2, device="cpu", quiet=True)
    made = [workflow.adopt("isic", weights=weights, split=split, out=tmp_path / "adopted", options=options)]
    given = {"split": split, "base": weights, "shards": 1, "subsets": ["retain"], "settings": ["max_epochs=1"]}
    made.append(workflow.train_shards("isic", out=tmp_path / "shards", quiet=True, **given))
    assert [read_json(run / "config.json")["image_size"] for run in made] == [[32, 32]] * 2


def test_only_data_is_compared(teachers):
    run = teachers["isic"]
    config = read_json(run / "config.json")
    assert used_otherwise(config, run) == []
    assert used_otherwise(config | {"image_size": "@other", "loss": {"_target_": "DiceLoss"}, "seed": 9}, run) == []
    assert len(used_otherwise(config | {"image_size": [8, 8]}, run)) == 1
    assert used_otherwise(config, run / "config.json") == []  # nothing is known of it
