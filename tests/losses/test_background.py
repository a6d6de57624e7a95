"""The background term: binary cross-entropy to an empty mask."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mu_monai.losses import Background

SHAPES = [(2, 1, 3, 4), (2, 1, 3, 4, 2), (1, 1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_cross_entropy_to_an_all_background_mask(shape):
    logits = torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(0)) * 4
    expected = sum(-math.log(1 - 1 / (1 + math.exp(-z))) for z in logits.flatten().tolist()) / logits.numel()
    assert Background()(logits).item() == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(
        Background()(logits), binary_cross_entropy_with_logits(logits, torch.zeros(shape).double())
    )


@pytest.mark.parametrize(("logit", "expected"), [(-1e4, 0.0), (0.0, math.log(2)), (50.0, 50.0), (1e4, 1e4)])
def test_it_is_zero_at_sure_background_and_grows_as_the_logit_at_sure_foreground(logit, expected):
    assert Background()(torch.full((1, 1, 2, 2), logit)).item() == pytest.approx(expected)


def test_it_increases_with_every_logit():
    values = [Background()(torch.full((1, 1, 2, 2), z)).item() for z in torch.linspace(-20, 20, 41).tolist()]
    assert values == sorted(set(values))


def test_its_gradient_is_right():
    logits = torch.randn(2, 1, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(Background(), logits)
    Background()(logits).backward()
    torch.testing.assert_close(logits.grad, logits.detach().sigmoid() / logits.numel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("extreme", [-3e4, 3e4])
def test_extreme_logits_give_finite_values_and_gradients(dtype, extreme):
    logits = torch.full((1, 1, 2, 2), extreme, dtype=dtype, requires_grad=True)
    value = Background()(logits)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_every_pixel_counts_alike_whatever_case_it_belongs_to():
    a, b = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
    both = Background()(torch.cat([a, b]))
    torch.testing.assert_close(both, (Background()(a) + Background()(b)) / 2)


@pytest.mark.parametrize("space", [(3, 4), (2, 3, 4)])
def test_for_softmax_it_is_cross_entropy_to_class_0(space):
    z = torch.randn(2, 3, *space, dtype=torch.double)
    expected = cross_entropy(z, torch.zeros(2, *space, dtype=torch.long))
    torch.testing.assert_close(Background(softmax=True)(z), expected)


def test_for_softmax_descending_moves_probability_to_class_0():
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    Background(softmax=True)(logits).backward()
    assert ((logits - logits.grad).softmax(1)[:, 0] > 1 / 3).all()
