"""The mean-probability term: squared distance of an image's mean from even odds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.losses import MeanProbability


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize("softmax", [False, True])
def test_it_is_the_squared_distance_of_each_cases_mean(shape, softmax):
    z = torch.randn(shape, dtype=torch.double)
    p = z.softmax(1) if softmax else z.sigmoid()
    even = 1 / 3 if softmax else 1 / 2
    expected = [(p[b, c].mean() - even).item() ** 2 for b in range(2) for c in range(3)]
    assert MeanProbability(softmax)(z).item() == pytest.approx(sum(expected) / 6)


@pytest.mark.parametrize(("softmax", "greatest"), [(False, 1 / 4), (True, 2 / 9)])
def test_its_extremes(softmax, greatest):
    sure = torch.full((2, 3, 4, 4), -1e4)
    if softmax:
        sure[:, 0] = 1e4
    assert MeanProbability(softmax)(sure).item() == pytest.approx(greatest)
    assert MeanProbability(softmax)(torch.zeros(2, 3, 4, 4)).item() == pytest.approx(0, abs=1e-12)


def test_half_sure_of_each_is_as_good_as_doubt():
    assert MeanProbability()(torch.tensor([[[[9.0, -9.0]]]])).item() == pytest.approx(0, abs=1e-12)


def test_the_mean_is_that_of_an_image_not_of_the_batch():
    batch = torch.tensor([1e4, -1e4]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    assert MeanProbability()(batch).item() == pytest.approx(0.25)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_the_order_of_pixels_does_not_matter(seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(1, 1, 12, generator=generator)
    shuffled = z[..., torch.randperm(12, generator=generator)]
    torch.testing.assert_close(MeanProbability()(z), MeanProbability()(shuffled))


@pytest.mark.parametrize(("z", "moves"), [(2.0, -1), (-2.0, 1)])
def test_descending_moves_the_mean_to_one_half(z, moves):
    logits = torch.full((1, 1, 2, 2), z, requires_grad=True)
    MeanProbability()(logits).backward()
    assert (-logits.grad * moves > 0).all()
