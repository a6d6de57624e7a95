"""The hinge: up to its target and no further."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.losses import Hinge

numbers = st.lists(st.floats(0, 10), min_size=1, max_size=6)


def test_it_is_the_mean_of_what_is_missing():
    losses, targets = torch.tensor([0.0, 2.0, 1.0]), torch.tensor([1.0, 1.0, 3.0])
    assert Hinge()(losses, targets) == pytest.approx((1 + 0 + 2) / 3)
    assert Hinge()(losses, targets, two_sided=True) == pytest.approx((1 + 1 + 2) / 3)


@given(numbers)
def test_beyond_the_target_nothing_pulls_unless_it_is_two_sided(values):
    losses = torch.tensor(values, requires_grad=True)
    targets = losses.detach() - 1
    Hinge()(losses, targets).backward()
    assert not losses.grad.any()
    losses.grad = None
    Hinge()(losses, targets, two_sided=True).backward()
    assert (losses.grad > 0).all(), "descent lowers them"


@given(numbers)
def test_below_the_target_descent_raises_every_loss_alike(values):
    losses = torch.tensor(values, requires_grad=True)
    Hinge()(losses, losses.detach() + 1).backward()
    assert losses.grad.tolist() == pytest.approx([-1 / len(values)] * len(values))
