"""The entropy term: what the entropy lacks to log K."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical

from mu_monai.losses import Entropy


def test_it_is_what_the_entropy_lacks_to_its_greatest_value():
    z = torch.randn(3, 5, dtype=torch.double)
    torch.testing.assert_close(Entropy(softmax=True)(z), math.log(5) - Categorical(logits=z).entropy().mean())
    z = torch.randn(2, 3, 4, 4, dtype=torch.double)
    torch.testing.assert_close(Entropy()(z), math.log(2) - Bernoulli(logits=z).entropy().mean())


@pytest.mark.parametrize(("softmax", "outcomes"), [(False, 2), (True, 3)])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 4), (2, 3, 2, 2, 2)])
def test_it_is_zero_when_undecided_and_log_k_when_sure(shape, softmax, outcomes):
    assert Entropy(softmax)(torch.zeros(shape)).item() == pytest.approx(0, abs=1e-6)
    sure = torch.full(shape, -1e4)
    sure[:, 0] = 1e4
    assert Entropy(softmax)(sure).item() == pytest.approx(math.log(outcomes))


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=9))
@settings(deadline=None)
def test_it_lies_between_zero_and_log_k(logits):
    value = Entropy(softmax=True)(torch.tensor([logits], dtype=torch.double)).item()
    assert -1e-12 <= value <= math.log(len(logits)) + 1e-12


@pytest.mark.parametrize("z", [-2.0, 2.0])
def test_descending_makes_the_answer_less_sure(z):
    logits = torch.full((1, 1, 2, 2), z, requires_grad=True)
    Entropy()(logits).backward()
    assert ((logits - logits.grad).sigmoid() - 0.5).abs().max() < (logits.sigmoid() - 0.5).abs().min()


def test_it_hardly_moves_a_very_sure_answer():
    logits = torch.full((1, 1, 1, 1), 30.0, requires_grad=True)
    Entropy()(logits).backward()
    assert 0 < logits.grad.item() < 1e-10
