"""The uniform term: KL divergence from even odds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import kl_div

from mu_monai.losses import Uniform


def test_it_is_the_divergence_of_the_released_code_averaged_over_the_batch():
    z = torch.randn(4, 9, dtype=torch.double)
    expected = kl_div(z.log_softmax(1), torch.full_like(z, 1 / 9), reduction="batchmean")
    torch.testing.assert_close(Uniform(softmax=True)(z), expected)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 4), (2, 3, 2, 2, 2)])
def test_it_is_zero_when_undecided_alone(shape, softmax):
    assert Uniform(softmax)(torch.zeros(shape)).item() == pytest.approx(0, abs=1e-6)
    assert Uniform(softmax)(torch.linspace(-1, 1, math.prod(shape)).view(shape)).item() > 0.01


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=9))
@settings(deadline=None)
def test_it_is_not_negative(logits):
    assert Uniform(softmax=True)(torch.tensor([logits], dtype=torch.double)).item() >= -1e-12


def test_it_grows_with_the_logit_and_goes_on_moving_a_sure_answer():
    logits = torch.full((1, 1, 1, 1), 1e4, requires_grad=True)
    value = Uniform()(logits)
    value.backward()
    assert value.item() == pytest.approx(5e3, rel=1e-3)
    assert logits.grad.item() == pytest.approx(0.5)


def test_its_gradient_is_the_probability_minus_even_odds():
    z = torch.randn(1, 4, dtype=torch.double, requires_grad=True)
    Uniform(softmax=True)(z).backward()
    torch.testing.assert_close(z.grad, z.detach().softmax(1) - 1 / 4)
