"""Boundary Shrink beyond the contract: its settings, its step and labels by hand, and that it forgets."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from monai.inferers import SimpleInferer
from torch.nn.functional import cross_entropy

from mu_monai import workflow
from mu_monai.engine import PassCount
from mu_monai.errors import InputError
from mu_monai.methods import BoundaryShrink


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"radius": 0}, "method#radius=0 is not allowed; use a number above 0"),
        ({"radius": True}, "method#radius=True is not allowed"),
        ({"intensity_range": [0, float("inf")]}, "method#intensity_range"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        BoundaryShrink(forget_loader=[], **setting)


def test_its_labels_are_those_of_the_published_step():
    """By hand: one step of 0.1 of the range along the sign of the gradient, then the answer there."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
    image, label = torch.rand(6, 3, 2, 2) * 4 - 2, torch.randint(5, (6,))
    engine = SimpleNamespace(
        network=SimpleNamespace(reverted=lambda: network),
        inferer=SimpleInferer(),
        state=SimpleNamespace(device=torch.device("cpu"), cost=PassCount()),
    )
    method = BoundaryShrink(forget_loader=[], task="classification", intensity_range=[-2, 2])
    method.on_start(engine)
    points, logits = method._original.boundary(image, label)
    moving = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(network(moving), label), moving)
    expected = (image + 0.1 * 4 * gradient.sign()).clamp(-2, 2)
    assert torch.allclose(points.image, expected, atol=1e-6)
    assert torch.allclose(logits, network(expected), atol=1e-5)
    assert torch.equal(points.flipped, network(expected).argmax(1) != label)


def test_it_pushes_forget_cases_over_and_sees_no_retained_one(tasks, tmp_path):
    task = tasks["classes"]
    run = workflow.unlearn(
        task.bundle,
        split=task.split,
        teacher=task.teacher,
        out=tmp_path / "run",
        method="boundary-shrink",
        settings=["max_epochs=8", "learning_rate=0.003", "batch_size=4", "score_interval=50"],
        quiet=True,
    )
    curve = pd.read_csv(run / "curve.csv")
    assert curve["forget"].iloc[-1] < curve["forget"].iloc[0]
    assert curve["total"].tolist() == pytest.approx(curve["forget"].tolist()), "and nothing else is lowered"
    scores = pd.read_csv(run / "scores.csv").query("subset == 'forget'").groupby("model")["loss"].mean()
    assert scores["student"] > scores["teacher"]
