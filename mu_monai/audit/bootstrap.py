"""Bootstrap intervals that resample patients, never single cases, as wide as few patients require."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

N_RESAMPLES = 2000
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2  # the share of the draws below an interval, and that above it
_tail: ContextVar[float] = ContextVar("tail", default=TAIL)
_DRAWS_AT_ONCE = 1 << 22  # bounds memory (32 MiB of indices) for very many patients

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean, or a gap between two means, with its 95 % interval.

    Args:
        value: the mean over all cases (or the gap between two means), in the score's own unit.
        low: lower end of the interval; NaN with fewer than 2 patients.
        high: upper end of the interval; NaN with fewer than 2 patients.
        n_patients: how many patients were resampled; for a gap between two groups, the size of the smaller one.
        n_cases: how many cases they have; for a gap between two groups, those of the smaller one.
    """

    value: float
    low: float
    high: float
    n_patients: int
    n_cases: int

    def within(self, least: float, most: float) -> Interval:
        """The same, without what lies beyond the values that are possible."""
        low, high = (float(np.clip(end, least, most)) for end in (self.low, self.high))
        return replace(self, low=low, high=high)

    @property
    def note(self) -> str:
        """Why there is no interval; empty if there is one."""
        return (
            "" if self.n_patients >= 2 else f"no interval: it needs at least 2 patients, and there is {self.n_patients}"
        )


def alone(value: float, *, n_patients: int = 0, n_cases: int = 0) -> Interval:
    """A number that has no interval."""
    return Interval(value=value, low=math.nan, high=math.nan, n_patients=n_patients, n_cases=n_cases)


class Sample:
    """One score for every case of a group, with the patient of each case.

    Args:
        values: the scores `(n_cases,)`, finite.
        patients: the patient of each case `(n_cases,)`.

    Raises:
        ValueError: if the sample is empty, not finite, or the lengths differ.
    """

    def __init__(self, values: ArrayLike, patients: ArrayLike | Sequence[object]) -> None:
        self.values: Array = np.asarray(values, dtype=np.float64)
        names, self.patient_index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        self.n_patients, self.n_cases = len(names), len(self.values)
        if self.n_cases != len(self.patient_index):
            raise ValueError(
                f"{self.n_cases} values for {len(self.patient_index)} patients: give one patient per value"
            )
        if self.n_cases == 0 or not np.isfinite(self.values).all():
            raise ValueError("a sample needs at least one value and finite values only; drop or fix the others")

    @property
    def mean(self) -> float:
        """The mean over cases."""
        return float(self.values[0] + (self.values - self.values[0]).mean())


def mean_interval(sample: Sample, *, n_resamples: int = N_RESAMPLES, seed: int = 0, widened: bool = True) -> Interval:
    """Give the mean of a score with its 95 % interval over patients.

    Each draw takes n of the n patients with replacement, with all their cases; the interval spans the 2.5 % and the
    97.5 % quantile of the means of `n_resamples` draws. Draws of few patients vary too little: with 3 patients, they
    cover the true mean in 70 % of cases. So the interval is widened to Student's t interval over patients where that
    is wider.

    Args:
        sample: the scores and their patients.
        n_resamples: how many times to draw, at least 1.
        seed: seed of the draws; the same seed draws the same patients.
        widened: whether it is at least Student's t interval; records signed by earlier versions are not so.

    Raises:
        ValueError: if `n_resamples` is below 1.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; drawing whole patients keeps the
        cases of one patient, which resemble each other, from counting as independent.

    Example:
        >>> result = mean_interval(Sample([0.7, 0.8, 0.9], ["a", "b", "c"]))
        >>> round(result.value, 3), round(result.low, 3), round(result.high, 3), result.n_patients
        (0.8, 0.552, 1.048, 3)
    """
    low, high = _ends(lambda: _resampled_means(sample, n_resamples, seed), sample.mean, _Error.of(sample), widened)
    return Interval(value=sample.mean, low=low, high=high, n_patients=sample.n_patients, n_cases=sample.n_cases)


def paired_gap(
    first: Sample, second: Sample, *, n_resamples: int = N_RESAMPLES, seed: int = 0, widened: bool = True
) -> Interval:
    """Give mean(first) - mean(second) of two models on the same cases; both are resampled with the same patients.

    Args:
        first: the scores of one model.
        second: the scores of the other, case by case in the same order.
        n_resamples: how many times to draw, at least 1.
        seed: seed of the draws.
        widened: whether it is at least Student's t interval; records signed by earlier versions are not so.

    Raises:
        ValueError: if the two samples are not of the same cases.

    Example:
        >>> result = paired_gap(Sample([0.6, 0.7], ["a", "b"]), Sample([0.8, 0.9], ["a", "b"]))
        >>> round(result.value, 3), round(result.low, 3), round(result.high, 3)
        (-0.2, -0.2, -0.2)
    """
    if not np.array_equal(first.patient_index, second.patient_index):
        raise ValueError(
            "a paired gap needs the same cases in the same order; for different groups use independent_gap"
        )
    difference = Sample(first.values - second.values, first.patient_index)
    return mean_interval(difference, n_resamples=n_resamples, seed=seed, widened=widened)


def paired_ratio(first: Sample, second: Sample, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Interval:
    """Give mean(first) / mean(second) of two models on the same cases; both are resampled with the same patients.

    Args:
        first: the scores of one model.
        second: the scores of the other, case by case in the same order; not negative, with a mean above 0.
        n_resamples: how many times to draw, at least 1.
        seed: seed of the draws; those in which the second mean is 0 are left out.

    Raises:
        ValueError: if the two samples are not of the same cases.

    Example:
        >>> result = paired_ratio(Sample([0.6, 0.7], ["a", "b"]), Sample([0.3, 0.35], ["a", "b"]))
        >>> round(result.value, 3), round(result.low, 3), round(result.high, 3)
        (2.0, 2.0, 2.0)
    """
    if not np.array_equal(first.patient_index, second.patient_index):
        raise ValueError("a paired ratio needs the same cases in the same order")

    def ratios() -> Array:
        over, under = (_resampled_means(sample, n_resamples, seed) for sample in (first, second))
        return over[under > 0] / under[under > 0]

    value = first.mean / second.mean
    rest = _Error.of(Sample(first.values - value * second.values, first.patient_index))
    low, high = _ends(ratios, value, replace(rest, size=rest.size / second.mean))
    return Interval(
        value=value,
        low=low if math.isnan(low) else max(low, 0.0),
        high=high,
        n_patients=first.n_patients,
        n_cases=first.n_cases,
    )


def independent_gap(
    first: Sample, second: Sample, *, n_resamples: int = N_RESAMPLES, seed: int = 0, widened: bool = True
) -> Interval:
    """Give mean(first) - mean(second) of two groups of different patients; each is resampled independently.

    Args:
        first: the scores of one group.
        second: the scores of the other.
        n_resamples: how many times to draw, at least 1.
        seed: seed of the draws.
        widened: whether it is at least Student's t interval; records signed by earlier versions are not so.

    Example:
        >>> result = independent_gap(Sample([0.5, 0.5], ["a", "b"]), Sample([0.7, 0.7], ["c", "d"]))
        >>> round(result.value, 3), round(result.low, 3), round(result.high, 3)
        (-0.2, -0.2, -0.2)
    """
    one, other = (np.random.default_rng(source) for source in np.random.SeedSequence(seed).spawn(2))
    smaller = min(first, second, key=lambda sample: sample.n_patients)
    value = first.mean - second.mean
    low, high = _ends(
        lambda: _resampled_means(first, n_resamples, one) - _resampled_means(second, n_resamples, other),
        value,
        _Error.of(first).and_of(_Error.of(second)),
        widened,
    )
    return Interval(value=value, low=low, high=high, n_patients=smaller.n_patients, n_cases=smaller.n_cases)


def draw_patients(n_patients: int, n_resamples: int, seed: int | np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The numbers of the patients that each resample draws, `(resamples, patients)`, in chunks that fit into memory."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples} is not allowed; give at least 1, preferably {N_RESAMPLES}")
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // n_patients)
    for start in range(0, n_resamples, step):
        yield rng.integers(0, n_patients, (min(step, n_resamples - start), n_patients))


def ends(resampled: Array) -> tuple[float, float]:
    """The ends of the percentile interval; resamples whose value is undefined (NaN) are left out."""
    tail = _tail.get()
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


@contextmanager
def other_tail(share: float) -> Iterator[None]:
    """Within it, intervals leave out another share of the draws on each side, to learn how far draws vary by chance.

    Args:
        share: the share, in (0, 0.5).

    Example:
        >>> with other_tail(0.25):
        ...     ends(np.arange(5.0))
        (1.0, 3.0)
    """
    before = _tail.set(share)
    try:
        yield
    finally:
        _tail.reset(before)


@dataclass(frozen=True)
class _Error:
    """The standard error of a mean over patients, and its degrees of freedom: fewer than 1 where it is not known."""

    size: float
    freedom: float

    @classmethod
    def of(cls, sample: Sample) -> _Error:
        """That of a mean over cases, where patients may differ in how many they have."""
        n = sample.n_patients
        if n < 2:  # a single patient drawn again and again would claim a width of zero
            return cls(math.nan, 0)
        apart = np.bincount(sample.patient_index, weights=sample.values - sample.mean) * n / sample.n_cases
        return cls(math.sqrt(float((apart**2).sum()) / (n * (n - 1))), n - 1)

    def and_of(self, other: _Error) -> _Error:
        """That of a difference between two groups, by Welch."""
        if min(self.freedom, other.freedom) < 1:
            return _Error(math.nan, 0)
        size = math.hypot(self.size, other.size)
        if size == 0:
            return self
        shares = sum((error.size / size) ** 4 / error.freedom for error in (self, other))
        return _Error(size, 1 / shares)


def _ends(draws: Callable[[], Array], value: float, error: _Error, widened: bool = True) -> tuple[float, float]:
    """The ends of the interval of the draws, widened to Student's t interval; NaN with fewer than 2 patients."""
    if error.freedom < 1:
        return math.nan, math.nan
    low, high = ends(draws())
    if not widened:
        return low, high
    half = float(t.ppf((1 + CONFIDENCE) / 2, error.freedom)) * error.size
    return min(low, value - half), max(high, value + half)


def _resampled_means(sample: Sample, n_resamples: int, seed: int | np.random.Generator) -> Array:
    shift = sample.values[0]  # sums of differences from one value stay exact if all values are the same
    sums = np.bincount(sample.patient_index, weights=sample.values - shift)
    counts = np.bincount(sample.patient_index)
    means = [
        shift + sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        for drawn in draw_patients(sample.n_patients, n_resamples, seed)
    ]
    return np.concatenate(means)
