"""What every method has from its base: the recipe it is trained by, and the way back to the reference."""

import json

import pandas as pd
import pytest
import torch

from mu_monai import workflow
from mu_monai.bundle import config, open_bundle
from mu_monai.engine import StopAtReference
from mu_monai.errors import InputError
from mu_monai.methods import CalibratedEraseToRetain, EraseToRetain, UnlearningMethod
from mu_monai.workflow.recipe import recipe_of


@pytest.fixture
def unlearn(tasks, tmp_path):
    def run(*settings, method="erase-to-retain", name="run"):
        return workflow.unlearn(
            tasks["masks"].bundle,
            split=tasks["masks"].split,
            teacher=tasks["masks"].teacher,
            out=tmp_path / name,
            method=method,
            settings=["batch_size=4", "learning_rate=0.003", "epoch_length=2", "score_interval=50", *settings],
            quiet=True,
        )

    return run


@pytest.mark.parametrize(
    ("stop_at", "seen"),
    [
        pytest.param("reference", [0.9, 0.53, 0.2], id="0.2 is beyond it, and this method does not come back"),
        pytest.param("rewind", [0.9, 0.51, 0.2, 0.45], id="0.51 does not end it"),
    ],
)
def test_a_steered_run_keeps_the_epoch_nearest_to_the_reference(unlearn, monkeypatch, stop_at, seen):
    values = iter([*seen, 0.1])
    monkeypatch.setattr("mu_monai.engine.stop_at_reference.loss_auc", lambda forget, unseen: next(values))
    states = []
    look = StopAtReference._look

    def note(self, engine):
        look(self, engine)
        states.append({name: value.clone() for name, value in engine.network.merged().state_dict().items()})

    monkeypatch.setattr(StopAtReference, "_look", note)
    run = unlearn("max_epochs=4", f"method#stop_at={stop_at}", "method#tolerance=0.02")
    assert pd.read_csv(run / "curve.csv")["forget_auc"].tolist() == seen
    kept = torch.load(run / "model.pt", weights_only=True)
    assert all(torch.equal(kept[name], states[1][name]) for name in kept), "the second epoch was nearest"
    assert json.loads((run / "run.json").read_text())["measurements"]["steering"]["nearest"] == 2


@pytest.mark.parametrize("stop_at", ["reference", "rewind"])
def test_steering_needs_unseen_cases_and_epochs_of_one_kind(unlearn, stop_at):
    with pytest.raises(InputError, match=f"method#stop_at='{stop_at}' compares with unseen cases"):
        unlearn("method#unseen_loader=null", f"method#stop_at={stop_at}")
    with pytest.raises(InputError, match=r"method#stop_at=.*two_phase.* leave stop_at out"):
        EraseToRetain(forget_loader=[], schedule="two_phase", stop_at=stop_at)


def test_a_method_that_the_bundle_does_not_know_brings_its_recipe(tasks):
    class Other(UnlearningMethod):
        recipe = {"max_epochs": 2, "method::tolerance": 0.1}  # noqa: RUF012

    parser = config.read_config(open_bundle("isic").files("unlearn"))
    given = recipe_of(Other, open_bundle("isic"), parser)
    assert (given["max_epochs"], given["batch_size"]) == (2, 8), "batches are those of the bundle's training"
    parser.update(given)
    assert parser.get("method::tolerance") == 0.1
    assert parser.get("method::forget_loader::batch_size") == "@batch_size"
    assert parser.get("method::schedule") is None, "nothing of the bundle's own method but its data and task"


@pytest.mark.parametrize(("share", "size"), [(0.5, 4), (0.01, 1)])
def test_a_method_may_take_smaller_batches_than_the_training(share, size):
    class Other(UnlearningMethod):
        batch_share = share

    parser = config.read_config(open_bundle("isic").files("unlearn"))
    assert recipe_of(Other, open_bundle("isic"), parser)["batch_size"] == size


def test_the_bundles_own_method_keeps_its_settings():
    parser = config.read_config(open_bundle("isic").files("unlearn"))
    assert recipe_of(EraseToRetain, open_bundle("isic"), parser) == {}


def test_recipes_cannot_be_changed():
    with pytest.raises(TypeError):
        UnlearningMethod.recipe["max_epochs"] = 1
    assert CalibratedEraseToRetain.recipe["max_epochs"] == 8
