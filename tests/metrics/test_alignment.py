"""Linear CKA: its invariances, its bias, and a slow formula."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from mu_monai.metrics import gram, linear_cka
from mu_monai.metrics.alignment import _centered

seeds = st.integers(0, 10_000)


def features(seed, cases=12, channels=4):
    return np.random.default_rng(seed).normal(size=(cases, channels))


def slow_hsic(first, second):
    """The unbiased estimator as it is written down: sums over kernels whose diagonal is 0."""
    k, m = (x @ x.T for x in (first, second))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    n, one = len(k), np.ones(len(k))
    sums = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (sums - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


@given(seeds, seeds)
@settings(max_examples=25, deadline=None)
def test_it_is_the_unbiased_estimator(seed, other):
    x, y = features(seed), features(other, channels=7)
    expected = slow_hsic(x, y) / math.sqrt(slow_hsic(x, x) * slow_hsic(y, y))
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-9)
    assert (_centered(gram(x)) * _centered(gram(y))).sum() / (12 * 9) == pytest.approx(slow_hsic(x, y), abs=1e-9)


@given(seeds, st.floats(-100, 100).filter(lambda scale: abs(scale) > 0.01), st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_rotation_scale_and_shift_change_nothing(seed, scale, shift):
    x, y = features(seed), features(seed + 1)
    turned = scale * x @ ortho_group.rvs(4, random_state=seed) + shift
    assert linear_cka(turned, x) == pytest.approx(1)
    assert linear_cka(turned, y) == pytest.approx(linear_cka(x, y), abs=1e-6)


@given(seeds, seeds)
@settings(max_examples=25, deadline=None)
def test_it_is_symmetric_and_bounded(seed, other):
    x, y = features(seed), features(other)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x))
    assert -1 - 1e-9 <= linear_cka(x, y) <= 1 + 1e-9
    assert linear_cka(x, x) == pytest.approx(1)


def test_other_stretching_of_channels_is_seen():
    x = features(0)
    assert linear_cka(x, x * [1, 1, 1, 30]) < 0.9


def test_unrelated_features_of_few_cases_are_at_zero_on_average():
    pairs = [linear_cka(features(2 * seed, 10, 200), features(2 * seed + 1, 10, 200)) for seed in range(200)]
    assert abs(np.mean(pairs)) < 0.03  # the biased estimator is at 0.95 here


@pytest.mark.parametrize("cases", [1, 2, 3])
def test_it_takes_four_cases(cases):
    assert math.isnan(linear_cka(features(0, cases), features(1, cases)))


def test_a_layer_that_answers_all_alike_is_like_no_other():
    assert math.isnan(linear_cka(np.full((6, 3), 0.1), features(0, 6)))
    assert math.isnan(linear_cka(np.zeros((6, 3)), features(0, 6)))
