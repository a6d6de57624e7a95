"""The repulsion term: cosine similarity of pooled features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from mu_monai.losses import Repulsion


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 4, 4), (3, 8, 2, 2, 2)])
def test_it_is_the_cosine_of_features_averaged_over_space(shape):
    s, t = torch.randn(shape, dtype=torch.double), torch.randn(shape, dtype=torch.double)
    expected = cosine_similarity(s.view(3, 8, -1).mean(2), t.view(3, 8, -1).mean(2)).mean()
    torch.testing.assert_close(Repulsion()(s, t), expected)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (1e4, 1.0), (-1.0, -1.0)])
def test_its_extremes(factor, expected):
    features = torch.rand(2, 8, 3, 3) + 0.1
    assert Repulsion()(factor * features, features).item() == pytest.approx(expected)


def test_features_at_right_angles_give_zero():
    assert Repulsion()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == 0


def test_features_that_are_all_zero_give_zero_and_a_finite_gradient():
    features = torch.zeros(2, 8, requires_grad=True)
    value = Repulsion()(features, torch.rand(2, 8))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(features.grad).all()


@given(seed=st.integers(0, 1000), a=st.floats(0.01, 100), b=st.floats(0.01, 100))
@settings(deadline=None)
def test_it_is_symmetric_bounded_and_blind_to_length(seed, a, b):
    generator = torch.Generator().manual_seed(seed)
    s, t = (torch.randn(2, 6, 3, dtype=torch.double, generator=generator) for _ in range(2))
    value = Repulsion()(s, t)
    assert -1 <= value.item() <= 1
    torch.testing.assert_close(Repulsion()(t, s), value)
    torch.testing.assert_close(Repulsion()(a * s, b * t), value)


def test_at_equality_the_gradient_is_zero():
    teacher = torch.randn(2, 8, 4, 4, dtype=torch.double)
    student = teacher.clone().requires_grad_()
    Repulsion()(student, teacher).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), atol=1e-15, rtol=0)


def test_descending_turns_the_features_away():
    teacher = torch.tensor([[1.0, 0.0]])
    student = torch.tensor([[1.0, 0.5]], requires_grad=True)
    Repulsion()(student, teacher).backward()
    assert Repulsion()(student - student.grad, teacher) < Repulsion()(student, teacher)
    assert (-student.grad)[0, 1] > 0
