"""SCRUB by hand: which steps it takes, in which order, and how often."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div
from torch.utils.data import DataLoader

from mu_monai.errors import InputError
from mu_monai.methods import Scrub


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gamma": -1}, "method#gamma=-1 is not allowed; use a number of 0 or more"),
        ({"alpha": float("nan")}, "method#alpha=nan"),
        ({"temperature": 0}, "method#temperature=0 is not allowed; use a number above 0"),
        ({"msteps": 0}, "method#msteps=0 is not allowed; use a whole number of 1 or more"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        Scrub(forget_loader=[], **setting)


def batch(cases):
    return tuple(torch.stack([case[key] for case in cases]) for key in ("image", "label"))


def divergence(network, teacher, image, temperature):
    student, target = (model(image) / temperature for model in (network, teacher))
    return temperature**2 * kl_div(student.log_softmax(1), target.softmax(1), reduction="batchmean")


def step(network, objective, rate):
    gradients = torch.autograd.grad(objective, list(network.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(network.parameters(), gradients, strict=True):
            weight -= rate * gradient


def test_passes_on_forget_cases_come_first_and_exactly_in_msteps_epochs(small):
    run = small(Scrub, options={"epochs": 4}, stop_at=None, msteps=2, gamma=0.9, alpha=0.3, temperature=3.0)
    (retained, labels), (forgotten, _) = batch(run.retain), batch(run.forget)
    network = copy.deepcopy(run.teacher)
    for epoch in range(1, 5):
        if epoch <= 2:
            step(network, -divergence(network, run.teacher, forgotten, 3.0), 0.1)
        supervised, kept = cross_entropy(network(retained), labels), divergence(network, run.teacher, retained, 3.0)
        step(network, 0.9 * supervised + 0.3 * kept, 0.1)
    torch.testing.assert_close(run.run(), network.state_dict())


def test_without_distillation_its_first_epoch_is_that_of_retain_fine_tuning(small, loss_of):
    """At the teacher the divergence has no gradient; published SCRUB has the same limit."""
    run = small(Scrub, stop_at=None, alpha=0.0)
    torch.testing.assert_close(run.run(), run.stepped(lambda network: loss_of(network, run.retain), 0.1))


def test_forget_cases_leave_the_teacher_and_retained_ones_stay(small):
    options = {"epochs": 30, "optimizer": torch.optim.Adam}
    run = small(Scrub, rate=0.02, options=options, stop_at=None, msteps=20, gamma=0.0, alpha=1.0)
    for case in run.retain:
        case["image"][3] = 0
    for case in run.forget:
        case["image"][3] += 3
    run.run()
    network, (retained, _), (forgotten, _) = run.trainer.network.merged(), batch(run.retain), batch(run.forget)
    left, kept = (divergence(network, run.teacher, image, 1.0).item() for image in (forgotten, retained))
    assert left > 5 * kept
    assert left > 0.05


def test_it_rewinds_to_the_epoch_that_is_nearest_to_unseen_cases(small, monkeypatch):
    values = iter([0.9, 0.52, 0.2])
    monkeypatch.setattr("mu_monai.engine.stop_at_reference.loss_auc", lambda forget, unseen: next(values))
    unseen = DataLoader(small(Scrub, stop_at=None).retain, batch_size=8)
    rewound = small(Scrub, options={"epochs": 3}, unseen_loader=unseen).run()
    shorter = small(Scrub, options={"epochs": 2}, stop_at=None).run()
    torch.testing.assert_close(rewound, shorter, rtol=0, atol=0)
