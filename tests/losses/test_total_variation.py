"""The total-variation term: mean absolute difference of neighboring probabilities."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.losses import TotalVariation


@pytest.mark.parametrize("space", [(3, 4), (2, 3, 4)])
@pytest.mark.parametrize("softmax", [False, True])
def test_it_is_the_mean_over_pairs_of_neighbours(space, softmax):
    z = torch.randn(2, 2, *space, dtype=torch.double)
    p = z.softmax(1) if softmax else z.sigmoid()
    steps = []
    for b, c in itertools.product(range(2), range(2)):
        for place in itertools.product(*map(range, space)):
            for axis in range(len(space)):
                after = tuple(x + (i == axis) for i, x in enumerate(place))
                if after[axis] < space[axis]:
                    steps.append(abs(p[(b, c, *after)] - p[(b, c, *place)]).item())
    assert TotalVariation(softmax)(z).item() == pytest.approx(sum(steps) / len(steps))


@pytest.mark.parametrize("space", [(4, 4), (2, 4, 4)])
def test_it_is_zero_for_any_even_answer_and_one_for_a_checkerboard(space):
    for z in (-1e4, 0.0, 3.0, 1e4):
        assert TotalVariation()(torch.full((1, 1, *space), z)).item() == 0
    board = sum(torch.meshgrid(*map(torch.arange, space), indexing="ij")) % 2
    assert TotalVariation()((board * 2.0 - 1)[None, None] * 1e4).item() == 1


def test_an_image_without_neighbours_gives_zero_with_a_gradient():
    logits = torch.randn(1, 1, 1, 1, requires_grad=True)
    value = TotalVariation()(logits)
    value.backward()
    assert value.item() == 0
    assert logits.grad.item() == 0


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_mirrored_turned_and_inverted_images_are_as_rough(seed):
    z = torch.randn(1, 1, 4, 5, generator=torch.Generator().manual_seed(seed))
    for other in (z.flip(2), z.flip(3), z.mT, -z):
        torch.testing.assert_close(TotalVariation()(z), TotalVariation()(other))


def test_descending_brings_neighbours_together():
    logits = torch.tensor([[[[-1.0, 1.0]]]], requires_grad=True)
    TotalVariation()(logits).backward()
    low, high = (logits - logits.grad).flatten().tolist()
    assert -1 < low < high < 1
