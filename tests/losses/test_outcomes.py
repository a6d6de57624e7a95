"""Outcomes: one view of sigmoid and softmax outputs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from mu_monai.errors import InputError
from mu_monai.losses.outcomes import (
    cross_entropy,
    divergence,
    label_outcomes,
    log_probabilities,
    others,
    outcome_count,
    probabilities,
    shifted,
    uniform,
)

logit = st.floats(-50, 50)
rows = st.integers(2, 6).flatmap(lambda k: st.lists(st.lists(logit, min_size=k, max_size=k), min_size=2, max_size=2))


@pytest.mark.parametrize(
    ("shape", "softmax", "expected"),
    [
        ((2, 3), True, (2, 3)),
        ((2, 3, 4, 5), True, (2, 3, 4, 5)),
        ((2, 3, 4, 5, 6), False, (2, 2, 3, 4, 5, 6)),
        ((2, 1, 4, 5), False, (2, 2, 1, 4, 5)),
    ],
)
def test_outcomes_lie_in_dimension_1_and_sum_to_one(shape, softmax, expected):
    log_p = log_probabilities(torch.randn(shape), softmax)
    assert log_p.shape == expected
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones_like(log_p[:, 0]))
    assert probabilities(torch.randn(shape), softmax).shape == shape


def test_sigmoid_outcomes_are_absent_and_present():
    z = torch.randn(2, 3, 4)
    log_p = log_probabilities(z, softmax=False)
    torch.testing.assert_close(log_p[:, 1].exp(), z.sigmoid())
    torch.testing.assert_close(log_p[:, 0].exp(), 1 - z.sigmoid())
    torch.testing.assert_close(probabilities(z, softmax=False), z.sigmoid())


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_half_precision_is_raised_and_double_kept(given_dtype, dtype):
    for softmax in (False, True):
        assert log_probabilities(torch.zeros(1, 2, dtype=given_dtype), softmax).dtype == dtype


def test_labels_come_as_indices_with_or_without_a_channel_or_one_hot():
    index = torch.tensor([[[0, 2], [1, 1]]])
    logits = torch.zeros(1, 3, 2, 2)
    one_hot = torch.nn.functional.one_hot(index, 3).movedim(-1, 1).float()
    for label in (index, index[:, None], index[:, None].float(), one_hot):
        torch.testing.assert_close(label_outcomes(label, logits, softmax=True), index)


def test_labels_of_classes_and_of_sigmoid_masks_are_outcomes_already():
    torch.testing.assert_close(label_outcomes(torch.tensor([3, 1]), torch.zeros(2, 4), True), torch.tensor([3, 1]))
    mask = torch.tensor([[[[0.0, 1.0]]]])
    torch.testing.assert_close(label_outcomes(mask, torch.zeros(1, 1, 1, 2), False), mask.long())


@given(rows)
@settings(deadline=None)
def test_a_divergence_is_not_negative_and_zero_at_equality(pair):
    p, q = (log_probabilities(torch.tensor([row], dtype=torch.double), softmax=True) for row in pair)
    assert divergence(p, q).item() >= -1e-12
    assert divergence(p, p).item() == 0.0


@given(rows)
@settings(deadline=None)
def test_cross_entropy_is_entropy_plus_divergence(pair):
    p, q = (log_probabilities(torch.tensor([row], dtype=torch.double), softmax=True) for row in pair)
    entropy = cross_entropy(p.exp(), p)
    torch.testing.assert_close(cross_entropy(p.exp(), q).mean(), (entropy + divergence(p, q)).mean())


@given(rows)
@settings(deadline=None)
def test_the_opposite_is_a_distribution_that_reverses_the_order(pair):
    p = torch.tensor(pair, dtype=torch.double).softmax(1)
    torch.testing.assert_close(others(p).sum(1), torch.ones(2, dtype=torch.double))
    assert (others(p).gather(1, p.argsort(1)).diff(dim=1) <= 1e-12).all()


def test_the_opposite_of_a_coin_is_the_other_side():
    torch.testing.assert_close(others(torch.tensor([[0.3, 0.7]])), torch.tensor([[0.7, 0.3]]))


def test_even_odds_are_their_own_opposite():
    even = uniform(torch.zeros(1, 5))
    torch.testing.assert_close(even, torch.full((1, 5), -math.log(5)))
    torch.testing.assert_close(others(even.exp()), even.exp())


def test_a_shifted_label_keeps_its_form():
    mask, logits, shift = torch.randint(3, (2, 1, 4, 4)), torch.zeros(2, 3, 4, 4), torch.tensor([1, 2])
    wrong = shifted(mask.to(torch.uint8), logits, True, shift)
    assert wrong.dtype == torch.uint8
    hot = shifted(one_hot(mask[:, 0], 3).movedim(-1, 1).float(), logits, True, shift)
    assert torch.equal(hot.argmax(1), wrong[:, 0].long())
    assert outcome_count(logits, softmax=False) == 2


def test_class_indices_of_sigmoid_outputs_are_a_mask_each_and_other_shapes_are_refused():
    index = torch.tensor([[[[0.0, 1.0], [2.0, 1.0]]]])
    logits = torch.zeros(1, 3, 2, 2)
    masks = one_hot(index[:, 0].long(), 3).movedim(-1, 1)
    torch.testing.assert_close(label_outcomes(index, logits, softmax=False), masks)
    torch.testing.assert_close(label_outcomes(masks.float(), logits, softmax=False), masks)
    with pytest.raises(InputError, match=r"shape \(1, 2, 2, 2\) and the outputs \(1, 3, 2, 2\)"):
        label_outcomes(masks[:, :2], logits, softmax=False)
