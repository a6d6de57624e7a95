"""The bootstrap over patients, against a slow loop and by its properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.audit import Sample, bootstrap, independent_gap, mean_interval, paired_gap


@st.composite
def samples(draw):
    patients = [name for name in "abcdefgh"[: draw(st.integers(2, 8))] for _ in range(draw(st.integers(1, 5)))]
    return Sample(draw(st.lists(st.floats(0, 1), min_size=len(patients), max_size=len(patients))), patients)


def slow_means(values, patients, n_resamples, seed):
    """Draw patients, take all cases of each, average the cases: as one would explain it."""
    names = sorted(set(patients))
    drawn = np.random.default_rng(seed).integers(0, len(names), (n_resamples, len(names)))
    means = []
    for row in drawn:
        cases = [
            value for index in row for value, patient in zip(values, patients, strict=True) if patient == names[index]
        ]
        means.append(sum(cases) / len(cases))
    return means


@given(samples(), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_patients_are_drawn_with_all_their_cases(sample, seed):
    patients = [f"p{index}" for index in sample.patient_index]
    low, high = np.quantile(slow_means(sample.values, patients, 60, seed), [0.025, 0.975])
    narrow = bootstrap._Error(0.0, sample.n_patients - 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bootstrap._Error, "of", lambda sample: narrow)
        result = mean_interval(sample, n_resamples=60, seed=seed)
    low, high = min(low, result.value), max(high, result.value)
    assert result.value == pytest.approx(sum(sample.values) / len(sample.values))
    assert (result.low, result.high) == pytest.approx((low, high))


@given(samples())
@settings(max_examples=50, deadline=None)
def test_the_interval_holds_the_mean(sample):
    result = mean_interval(sample)
    assert result.low - 1e-9 <= result.value <= result.high + 1e-9


@given(samples(), st.floats(-10, 10))
@settings(max_examples=25, deadline=None)
def test_constant_scores_have_an_interval_without_width(sample, value):
    result = mean_interval(Sample(np.full(sample.n_cases, value), sample.patient_index), n_resamples=50)
    assert result.value == result.low == result.high == value


@given(samples(), st.floats(-1, 1))
@settings(max_examples=25, deadline=None)
def test_a_shift_of_every_case_is_a_gap_without_doubt(sample, shift):
    other = Sample(sample.values + shift, sample.patient_index)
    result = paired_gap(other, sample, n_resamples=50)
    assert (result.value, result.low, result.high) == pytest.approx((shift, shift, shift), abs=1e-9)


@given(samples(), samples())
@settings(max_examples=25, deadline=None)
def test_the_independent_gap_turns_its_sign_with_the_order(one, other):
    forward, backward = independent_gap(one, other), independent_gap(other, one)
    assert forward.value == pytest.approx(-backward.value)
    assert forward.low - 1e-9 <= forward.value <= forward.high + 1e-9
    assert forward.n_patients == min(one.n_patients, other.n_patients)


def test_cases_of_one_patient_are_not_evidence_of_their_own():
    rng = np.random.default_rng(0)
    levels = rng.normal(0.8, 0.1, 10)
    few = mean_interval(Sample(levels, range(10)))
    many = mean_interval(Sample(np.repeat(levels, 50), np.repeat(range(10), 50)))
    assert many.high - many.low == pytest.approx(few.high - few.low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        result = mean_interval(Sample(rng.normal(0, 1, 40), range(40)), n_resamples=400, seed=trial)
        hits += result.low <= 0 <= result.high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize("patients", [2, 3, 5, 10])
def test_with_few_patients_it_covers_the_truth_as_often_as_well(patients):
    rng = np.random.default_rng(patients)
    gaps = [
        lambda values, other: mean_interval(Sample(values, range(patients)), n_resamples=100),
        lambda values, other: independent_gap(
            Sample(values, range(patients)), Sample(other, range(patients)), n_resamples=100
        ),
    ]
    for gap in gaps:
        found = [gap(*rng.normal(0, 0.05, (2, patients))) for _ in range(400)]
        assert np.mean([result.low <= 0 <= result.high for result in found]) >= 0.92
        assert np.mean([result.high < 0 for result in found]) < 0.05


def test_a_mean_of_few_patients_has_the_interval_of_students_t():
    result = mean_interval(Sample([0.7, 0.8, 0.9], [*"abc"]))
    assert (result.low, result.high) == pytest.approx((0.8 - 4.30265 * 0.1 / 3**0.5, 0.8 + 4.30265 * 0.1 / 3**0.5))
    ratio = bootstrap.paired_ratio(Sample([2.0, 2.2, 1.8], [*"abc"]), Sample([1.0, 1.0, 1.0], [*"abc"]))
    assert (ratio.low, ratio.high) == pytest.approx((2 - 4.30265 * 0.2 / 3**0.5, 2 + 4.30265 * 0.2 / 3**0.5))


def test_pairing_sees_a_small_gap_among_very_different_patients():
    rng = np.random.default_rng(2)
    values = rng.uniform(0, 1, 20)
    one, other = Sample(values - 0.02, range(20)), Sample(values, range(20))
    assert paired_gap(one, other).high < 0
    apart = independent_gap(one, other)
    assert apart.low < 0 < apart.high


@pytest.mark.parametrize("gap", [mean_interval, lambda s: paired_gap(s, s), lambda s: independent_gap(s, s)])
def test_one_patient_gives_no_interval_and_says_so(gap):
    result = gap(Sample([0.1, 0.9], ["a", "a"]))
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert "at least 2 patients" in result.note
    assert mean_interval(Sample([0.1, 0.9], ["a", "b"])).note == ""


def test_the_memory_bound_changes_nothing(monkeypatch):
    sample = Sample(np.linspace(0, 1, 30), np.arange(30) // 2)
    whole = mean_interval(sample, seed=3)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 64)
    assert mean_interval(sample, seed=3) == whole


def test_wrong_inputs():
    with pytest.raises(ValueError, match="2 values for 1 patients: give one patient per value"):
        Sample([1, 2], ["a"])
    with pytest.raises(ValueError, match="at least one value and finite values only"):
        Sample([], [])
    with pytest.raises(ValueError, match="at least one value and finite values only"):
        Sample([math.nan], ["a"])
    with pytest.raises(ValueError, match="n_resamples=0 is not allowed"):
        mean_interval(Sample([1, 2], ["a", "b"]), n_resamples=0)
    with pytest.raises(ValueError, match="the same cases in the same order"):
        paired_gap(Sample([1, 2], ["a", "b"]), Sample([1, 2, 3], ["a", "b", "b"]))
