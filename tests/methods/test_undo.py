"""UNDO: the unlearning before the noise, the noise, and the distillation after it."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.losses import Distillation, Uniform
from mu_monai.methods import UNDO

CONSTANT = {"lr_schedule": "constant"}


def _images(cases):
    return torch.stack([case["image"] for case in cases])


def _unlearned(run, loss_of, steps, rate):
    """The teacher after steps of AdamW toward even odds on forget cases."""
    network = copy.deepcopy(run.teacher)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    for _ in range(steps):
        loss = loss_of(network, run.retain) + Uniform(softmax=True)(network(_images(run.forget)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def test_without_steps_and_noise_the_weights_shrink(small):
    run = small(UNDO, rate=0.0, alpha=0.25, beta=0.0, unlearn_steps=0)
    after = run.run()
    for name, value in run.teacher.state_dict().items():
        shrunk = 0.25 + 0.75 * value if name == "norm.weight" else 0.75 * value
        torch.testing.assert_close(after[name], value if "running" in name or "num_" in name else shrunk, msg=name)


def test_xavier_noise_is_on_matrices_alone(small):
    run = small(UNDO, rate=0.0, alpha=0.5, beta=0.1, unlearn_steps=0)
    after = run.run()
    for name in ("first", "middle", "last"):
        weight = getattr(run.teacher, name).weight
        noise = (after[f"{name}.weight"] - 0.5 * weight) / 0.05
        bound = math.sqrt(6 / sum(weight.shape))
        assert noise.abs().max() <= bound * 1.001
        assert noise.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.4)
        torch.testing.assert_close(after[f"{name}.bias"], 0.5 * getattr(run.teacher, name).bias)


def test_it_comes_from_the_seed(small):
    first, again, other = (small(UNDO, rate=0.0, options={"seed": seed}).run() for seed in (0, 0, 1))
    assert torch.equal(first["last.weight"], again["last.weight"])
    assert not torch.equal(first["last.weight"], other["last.weight"])


def test_the_unlearning_leads_forget_cases_to_even_odds(small, loss_of):
    run = small(UNDO, rate=0.0, alpha=0.0, unlearn_steps=3, unlearn_learning_rate=0.01)
    expected = _unlearned(run, loss_of, 3, 0.01).state_dict()
    torch.testing.assert_close(run.run(), expected)
    course = run.method.measurements(run.trainer)["unlearning"]["divergence_from_even_odds"]
    assert len(course) == 3
    assert course[0] == pytest.approx(Uniform(softmax=True)(run.teacher(_images(run.forget))).item())


def test_a_step_follows_the_unlearned_model(small, loss_of):
    settings = {"alpha": 0.5, "beta": 0.1, "unlearn_steps": 2, "unlearn_learning_rate": 0.05}
    noisy = small(UNDO, rate=0.0, **settings)
    unlearned = _unlearned(noisy, loss_of, 2, 0.05)
    noisy.teacher.load_state_dict(noisy.run())
    answers = unlearned(_images(noisy.retain)).detach()
    expected = noisy.stepped(
        lambda network: Distillation(1.0, softmax=True)(network(_images(noisy.retain)), answers), 0.1
    )
    torch.testing.assert_close(small(UNDO, **settings, **CONSTANT).run(), expected)


def test_with_nothing_to_do_it_stays(small):
    run = small(UNDO, alpha=0.0, unlearn_steps=0)
    torch.testing.assert_close(run.run(), run.teacher.state_dict())


def test_the_budget_ends_the_unlearning(small):
    """At most half of it goes there."""
    run = small(UNDO, unlearn_steps=10, budget=200)  # a step takes 12 cases three times
    run.run()
    assert len(run.method.measurements(run.trainer)["unlearning"]["divergence_from_even_odds"]) == 2


def test_adapters_are_refused(small):
    with pytest.raises(InputError, match=r"not a low-rank change, .* use network#trainable=all"):
        small(UNDO, options={"network": {"trainable": "adapters"}}).run()


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", -0.1), ("alpha", 1.1), ("beta", -1), ("unlearn_steps", 0.5), ("unlearn_learning_rate", 0)],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=rf"method#{name}={value} is not allowed"):
        UNDO(forget_loader=[], **{name: value})
