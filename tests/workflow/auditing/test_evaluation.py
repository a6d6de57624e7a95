"""Models and data of a run, made again."""

from __future__ import annotations

import pytest
import torch

from mu_monai import workflow
from mu_monai.adapters import read_weights
from mu_monai.errors import InputError
from mu_monai.workflow.auditing.evaluation import open_evaluation


@pytest.mark.parametrize(("bundle", "softmax"), [("isic", False), ("isic_classification", True), ("volume3d", True)])
def test_models_and_data_are_those_of_the_run(teachers, bundle, softmax):
    run = teachers[bundle]
    found = open_evaluation(run, {"teacher": run, "student": run / "model.pt"}, device="cpu")
    assert set(found.models) == {"teacher", "student"}
    expected = read_weights(run)
    assert all(torch.equal(value, expected[name]) for name, value in found.models["student"].state_dict().items())
    assert not found.models["teacher"].training
    assert found.softmax is softmax
    image = next(iter(found.forget_batches))["image"]
    assert found.inferer(image, found.models["student"]).shape[0] == len(image)
    assert set(found.scorer.loaders) == {"retain", "forget", "validation", "test"}


def test_weights_of_another_network_are_refused(teachers):
    with pytest.raises(InputError, match="do not fit"):
        open_evaluation(teachers["isic"], {"teacher": teachers["isic_classification"]}, device="cpu")


def test_training_batches_hold_as_many_patches_as_those_of_the_run(phantom_splits, small_images, tmp_path):
    settings = [*small_images["volume3d"], "network_def#channels=[4, 8]", "network_def#strides=[2]", "max_epochs=1"]
    run = workflow.train(
        "volume3d",
        split=phantom_splits["volume3d"],
        out=tmp_path / "run",
        settings=[*settings, "patches_per_volume=3"],
        quiet=True,
    )
    batches = open_evaluation(run, {"teacher": run}, device="cpu").retain_batches
    assert len(next(iter(batches))["image"]) == 3 * batches.batch_size
