"""Boundary Expand beyond the contract: the shadow is learned, is nobody else's, and is nowhere at the end."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.methods import BoundaryExpand

QUICK = ["max_epochs=6", "learning_rate=0.003", "batch_size=4", "score_interval=50"]


@pytest.fixture
def unlearn(tasks, tmp_path):
    def run(*settings, name="run"):
        task = tasks["classes"]
        return workflow.unlearn(
            task.bundle,
            split=task.split,
            teacher=task.teacher,
            out=tmp_path / name,
            method="boundary-expand",
            settings=[*QUICK, *settings],
            quiet=True,
        )

    return run


@pytest.fixture
def steps(monkeypatch):
    """What the method saw at each step: logits and features of the network, the shadow, and the loss."""
    seen = []
    act = BoundaryExpand.on_loss

    def note(self, engine):
        before = {name: value.clone() for name, value in self._shadow.state_dict().items()}
        act(self, engine)
        network = engine.network.merged().eval()
        features = []
        hook = network.get_submodule(engine.network.head).register_forward_pre_hook(
            lambda _module, inputs: features.append(inputs[0])
        )
        with torch.no_grad():
            logits = network(engine.state.output["image"])
        hook.remove()
        seen.append(
            {"shadow": before, "features": features[0], "logits": logits, "loss": engine.state.output["loss"].detach()}
        )

    monkeypatch.setattr(BoundaryExpand, "on_loss", note)
    return seen


@pytest.mark.parametrize("trainable", ["all", "adapters"])
def test_the_loss_is_that_of_a_head_with_one_row_more(unlearn, steps, trainable):
    unlearn("max_epochs=2", f"network#trainable={trainable}", "network#lora_dropout=0")
    for step in steps:
        row = step["features"] @ step["shadow"]["weight"].T + step["shadow"]["bias"]
        logits = torch.cat([step["logits"], row], 1)
        expected = cross_entropy(logits, torch.full((len(logits),), step["logits"].shape[1]))
        assert float(step["loss"]) == pytest.approx(float(expected), rel=1e-3)
    assert not torch.equal(steps[0]["shadow"]["weight"], steps[-1]["shadow"]["weight"]), "the shadow learns"


def test_forget_cases_move_into_the_shadow_and_the_network_keeps_its_classes(unlearn, tasks, steps):
    run = unlearn()
    curve = pd.read_csv(run / "curve.csv")
    assert curve["forget"].iloc[-1] < curve["forget"].iloc[0]
    assert curve["total"].tolist() == pytest.approx(curve["forget"].tolist())
    before, after = (torch.load(folder / "model.pt", weights_only=True) for folder in (tasks["classes"].teacher, run))
    assert {name: value.shape for name, value in before.items()} == {name: v.shape for name, v in after.items()}
    scores = pd.read_csv(run / "scores.csv").query("subset == 'forget'").groupby("model")["loss"].mean()
    assert scores["student"] > scores["teacher"]


def test_a_mask_has_no_class_beside_its_own():
    with pytest.raises(InputError, match="method#task='segmentation' is not known; use one of classification"):
        BoundaryExpand(forget_loader=[], task="segmentation")


def test_a_head_that_is_not_known_is_refused(tasks, tmp_path):
    task = tasks["classes"]
    unknown = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 9))
    torch.save(unknown.state_dict(), tmp_path / "model.pt")
    network = "$torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 9))"
    with pytest.raises(InputError, match=r"BoundaryExpand adds a class to a linear head.* use boundary-shrink"):
        workflow.unlearn(
            task.bundle,
            split=task.split,
            teacher=tmp_path / "model.pt",
            out=tmp_path / "run",
            method="boundary-expand",
            settings=[*QUICK, f"network_def={network}"],
            quiet=True,
        )
