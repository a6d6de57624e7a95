"""RURK: a step by hand, its limits, and what its settings may be."""

from __future__ import annotations

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.methods import RURK, RetainFineTuning


def test_a_step_weighs_retained_forget_and_perturbed_cases(small, loss_of, monkeypatch):
    noise = torch.linspace(-1, 1, 16).view(4, 4)
    monkeypatch.setattr(torch, "randn_like", lambda image: noise)
    run = small(RURK, lambda_f=0.2, lambda_a=0.3, tau=0.5)
    near = [case | {"image": case["image"] + 0.5 * row} for case, row in zip(run.forget, noise, strict=True)]

    def objective(network):
        return loss_of(network, run.retain) - 0.2 * loss_of(network, run.forget) - 0.3 * loss_of(network, near)

    torch.testing.assert_close(run.run(), run.stepped(objective, 0.1))


def test_several_copies_are_a_mean(small, loss_of, monkeypatch):
    signs = iter((1.0, -1.0))
    monkeypatch.setattr(torch, "randn_like", lambda image: torch.full_like(image, next(signs)))
    run = small(RURK, lambda_f=0.0, lambda_a=0.3, tau=0.5, samples=2)
    above, below = ([case | {"image": case["image"] + shift} for case in run.forget] for shift in (0.5, -0.5))

    def objective(network):
        return loss_of(network, run.retain) - 0.15 * (loss_of(network, above) + loss_of(network, below))

    torch.testing.assert_close(run.run(), run.stepped(objective, 0.1))


def test_without_weights_it_is_retain_fine_tuning(small):
    run = small(RURK, lambda_f=0.0, lambda_a=0.0, lr_schedule="one-cycle")
    torch.testing.assert_close(run.run(), small(RetainFineTuning).run())


def test_without_noise_the_copies_are_the_cases_themselves(small):
    run, joined = small(RURK, tau=0.0, lambda_f=0.2, lambda_a=0.1), small(RURK, tau=0.0, lambda_f=0.3, lambda_a=0.0)
    torch.testing.assert_close(run.run(), joined.run())


@pytest.mark.parametrize(
    ("name", "value"), [("lambda_f", -1), ("lambda_a", -1), ("tau", -0.1), ("samples", 0), ("samples", 1.5)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=rf"method#{name}={value} is not allowed"):
        RURK(forget_loader=[], **{name: value})
