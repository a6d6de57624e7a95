"""The label-flip term: cross-entropy to anything but the truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from mu_monai.losses import LabelFlip


@pytest.mark.parametrize("shape", [(2, 1, 3, 4), (2, 3, 3, 4), (2, 1, 3, 4, 2)])
def test_for_sigmoid_it_is_cross_entropy_to_the_inverted_mask(shape):
    z, mask = torch.randn(shape, dtype=torch.double), torch.randint(2, shape).double()
    torch.testing.assert_close(LabelFlip()(z, mask), binary_cross_entropy_with_logits(z, 1 - mask))


@pytest.mark.parametrize("space", [(), (3, 4), (2, 3, 4)])
def test_for_softmax_the_target_is_spread_over_the_wrong_classes(space):
    z, label = torch.randn(2, 5, *space, dtype=torch.double), torch.randint(5, (2, *space))
    target = (1 - one_hot(label, 5).movedim(-1, 1).double()) / 4
    torch.testing.assert_close(LabelFlip(softmax=True)(z, label), cross_entropy(z, target))


def test_its_extremes_for_sigmoid():
    mask = torch.tensor([[[[0.0, 1.0]]]])
    right = (mask * 2 - 1) * 1e4
    assert LabelFlip()(-right, mask).item() == 0
    assert LabelFlip()(right, mask).item() == pytest.approx(1e4)
    assert LabelFlip()(0 * right, mask).item() == pytest.approx(math.log(2))


def test_its_least_value_for_softmax_is_the_entropy_of_the_wrong_classes():
    label = torch.tensor([0])
    even_among_wrong = torch.tensor([[-1e4, 0.0, 0.0, 0.0]])
    assert LabelFlip(softmax=True)(even_among_wrong, label).item() == pytest.approx(math.log(3))
    for seed in range(20):
        z = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) * 5
        assert LabelFlip(softmax=True)(z, label).item() >= math.log(3)


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_descending_moves_the_answer_away_from_the_truth(truth):
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    LabelFlip()(logits, torch.full((1, 1, 2, 2), truth)).backward()
    stepped = (logits - logits.grad).sigmoid()
    assert ((stepped - 0.5) * (truth - 0.5) < 0).all()


def test_descending_takes_probability_from_the_true_class():
    logits = torch.zeros(1, 4, requires_grad=True)
    LabelFlip(softmax=True)(logits, torch.tensor([2])).backward()
    stepped = (logits - logits.grad).softmax(1)[0]
    assert stepped.argmin() == 2
    torch.testing.assert_close(stepped[[0, 1, 3]], stepped[0].expand(3))


def test_class_indices_of_sigmoid_outputs_are_flipped_in_every_channel():
    """One place of class 1 of two, answered surely and right: both channels are told the opposite."""
    logits = torch.tensor([-5.0, 5.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    loss = LabelFlip()(logits, torch.ones(1, 1, 2, 2)).item()
    assert loss == pytest.approx(5 + math.log1p(math.exp(-5)))  # 5.007 in each channel
