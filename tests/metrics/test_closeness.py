"""Average gap, tug of war and ZRF, by hand and by their properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.metrics import average_gap, tow, zrf

gaps = st.lists(st.floats(-1, 1), min_size=3, max_size=3)


def test_by_hand():
    assert average_gap([[0.1, -0.3], [0.0, 0.0]]).tolist() == pytest.approx([0.2, 0.0])
    assert tow([[0.1, -0.2, 0.5], [0.0, 0.0, 0.0]]).tolist() == pytest.approx([0.9 * 0.8 * 0.5, 1.0])
    assert zrf([0.0, math.log(2) / 4]).tolist() == pytest.approx([1.0, 0.75])
    assert zrf([0.25], compat=True).tolist() == [0.75]


@given(gaps)
def test_they_are_bounded_and_blind_to_signs(values):
    signs = [-value for value in values]
    assert 0 <= average_gap(values) == average_gap(signs) <= 1
    assert 0 <= tow(values) == tow(signs) <= 1


@given(gaps)
def test_going_too_far_is_as_bad_as_not_far_enough(values):
    further = [value + math.copysign((1 - abs(value)) / 2, value) for value in values]
    assert tow(further) <= tow(values)
    assert average_gap(further) >= average_gap(values)
