"""Gradient ascent raises the loss of the forget cases, and sees no others."""

from __future__ import annotations

import pytest
import torch

from mu_monai.methods import BoundaryShrink, GradientAscent, PerturbedSignGradient


def test_a_step_goes_up_the_gradient_of_the_forget_loss(small, loss_of):
    run = small(GradientAscent)
    expected = run.stepped(lambda network: -loss_of(network, run.forget), 0.1)
    torch.testing.assert_close(run.run(), expected)


def test_retained_cases_do_not_matter(small):
    one, other = small(GradientAscent), small(GradientAscent)
    for case in other.retain:
        case["label"] = (case["label"] + 1) % 3
    first, second = one.run(), other.run()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_loss_rises_without_end_until_the_run_is_stopped(small, loss_of):
    run = small(GradientAscent, rate=0.3, options={"epochs": 6})
    before = loss_of(run.teacher, run.forget)
    run.run()
    assert loss_of(run.trainer.network.merged(), run.forget) > 10 * before
    with pytest.raises(FloatingPointError, match="lower learning rate"):
        small(GradientAscent, rate=1e30, options={"epochs": 8}).run()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (GradientAscent, {}),
        (BoundaryShrink, {"intensity_range": [-3, 3]}),
        (PerturbedSignGradient, {"intensity_range": [-3, 3], "remain_weight": 0}),
    ],
)
def test_what_trains_on_forget_cases_alone_takes_no_pass_over_retained_ones(small, kind, settings):
    run, trained_on = small(kind, **settings), []
    infer = run.trainer.inferer

    def watched(image, network):
        if network is run.trainer.network and torch.is_grad_enabled():
            trained_on.append(image)
        return infer(image, network)

    run.trainer.inferer = watched
    run.run()
    (images,) = trained_on
    assert sorted(images.tolist()) == sorted(case["image"].tolist() for case in run.forget)
