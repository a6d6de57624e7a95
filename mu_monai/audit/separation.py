"""How well scores separate two groups of patients, with intervals: the basis of every membership attack."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from mu_monai.audit.bootstrap import CONFIDENCE, N_RESAMPLES, Interval, ends
from mu_monai.audit.records import Record, as_record
from mu_monai.errors import raise_if_any
from mu_monai.keys import FORGET, RETRAINED, ROLES
from mu_monai.metrics import allowed_errors, auc, tpr_at_fpr
from mu_monai.runs.numbers import AUC, TPR, Group, Metric

FPRS = (0.01, 0.001)
_CHANCE = 0.5  # the AUC of guessing
_Z = float(norm.ppf((1 + CONFIDENCE) / 2))
_COUNTS_AT_ONCE = 1 << 20  # bounds memory (8 MiB per array) for very many patients

Array = NDArray[np.float64]


class Groups(NamedTuple):
    """An attack's scores of one model's patients; higher means more like a member."""

    members: pd.Series[float]  # by patient
    non_members: pd.Series[float]
    n_cases: int  # of the members


class Separation:
    """AUC and true-positive rates of scores, and the same for patients resampled with replacement.

    Members and non-members are drawn independently, and their numbers stay the same. The same seed draws the same
    patients, so two models on the same patients can be subtracted draw by draw.

    Args:
        groups: the scores of members and non-members.
        n_resamples: how many times to draw, at least 1.
        seed: seed of the draws.

    Example:
        >>> separation = Separation(Groups(pd.Series([3.0, 2.0]), pd.Series([1.0, 0.0]), 2))
        >>> low, high = separation.interval("auc")  # fully separated, often by chance with so few patients
        >>> separation.values["auc"], round(low, 2), high
        (1.0, 0.39, 1.0)
    """

    def __init__(self, groups: Groups, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> None:
        self._scores = groups.members.to_numpy(float), groups.non_members.to_numpy(float)
        self._n_resamples, self._seed = n_resamples, seed

    @cached_property
    def values(self) -> dict[str, float]:
        """The values for all patients: `auc`, and `tpr@<fpr>` for each rate that the non-members can resolve."""
        rates = {_rate(fpr): tpr_at_fpr(*self._scores, fpr) for fpr in FPRS}
        return {AUC: auc(*self._scores)} | {name: rate for name, rate in rates.items() if not math.isnan(rate)}

    @cached_property
    def resampled(self) -> dict[str, Array]:
        """The same for every draw, `(n_resamples,)` each."""
        parts = [self._measure(*counts) for counts in self._counts()]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.values}

    def interval(self, name: str) -> tuple[float, float]:
        """The ends of the 95 % interval; NaN if a group has fewer than 2 patients.

        It is the interval of the draws, widened to what the numbers of patients allow (`_score_interval`): groups that
        are fully separated are so in every draw, which would give a width of zero.
        """
        if min(map(len, self._scores)) < 2:
            return math.nan, math.nan
        drawn, scored = ends(self.resampled[name]), self._score_interval(name)
        return min(drawn[0], scored[0]), max(drawn[1], scored[1])

    def gap_interval(self, other: Separation, name: str, *, widened: bool = True) -> tuple[float, float]:
        """The ends of the 95 % interval of the difference from another model on the same patients.

        If either value is 0 or 1, or the same in every draw, the draws do not show its uncertainty, so both models'
        intervals are combined. A model that gives every case the same loss has an AUC of 0.5 in every draw; unless
        `widened`, only 0 and 1 count, as in records signed by earlier versions.
        """
        if min(map(len, self._scores)) < 2:
            return math.nan, math.nan
        low, high = ends(self.resampled[name] - other.resampled[name])
        one, two = self.values[name], other.values[name]
        constant = widened and any(np.ptp(model.resampled[name]) == 0 for model in (self, other))
        if constant or {one, two} & {0.0, 1.0}:
            (first_low, first_high), (second_low, second_high) = self.interval(name), other.interval(name)
            low = min(low, one - two - math.hypot(one - first_low, second_high - two))
            high = max(high, one - two + math.hypot(first_high - one, two - second_low))
        return low, high

    def _score_interval(self, name: str) -> tuple[float, float]:
        value, (n_members, n_others) = self.values[name], map(len, self._scores)
        if name == AUC:
            return _auc_low(value, n_members, n_others), 1 - _auc_low(1 - value, n_members, n_others)
        proportion = binomtest(round(value * n_members), n_members).proportion_ci(CONFIDENCE, method="wilson")
        return float(proportion.low), float(proportion.high)

    def _counts(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """How many members and non-members each draw has at each score value, `(draws, values)`."""
        _, places = np.unique(np.concatenate(self._scores), return_inverse=True)
        n_values, n_members = int(places.max()) + 1, len(self._scores[0])
        step = max(1, _COUNTS_AT_ONCE // len(places))
        streams = [np.random.default_rng(source) for source in np.random.SeedSequence(self._seed).spawn(2)]
        for start in range(0, self._n_resamples, step):
            draws = min(step, self._n_resamples - start)
            first, second = (
                _histograms(group[rng.integers(0, len(group), (draws, len(group)))], n_values)
                for group, rng in zip((places[:n_members], places[n_members:]), streams, strict=True)
            )
            yield first, second

    def _measure(self, members: NDArray[np.int64], others: NDArray[np.int64]) -> dict[str, Array]:
        n_members, n_others = map(len, self._scores)
        up_to = others.cumsum(axis=1)
        not_below = n_others - up_to + others
        measured: dict[str, Array] = {AUC: (members * (up_to - others / 2)).sum(axis=1) / (n_members * n_others)}
        for fpr in FPRS:
            detected = members * (not_below <= allowed_errors(n_others, fpr))
            measured[_rate(fpr)] = detected.sum(axis=1) / n_members
        return measured


def separation_records(
    signal: str, models: Mapping[str, Groups], *, n_resamples: int = N_RESAMPLES, seed: int = 0, widened: bool = True
) -> list[Record]:
    """The records of one attack on every model: `auc[<signal>]` and `tpr@<fpr>[<signal>]`.

    Each is compared with the retrained model on the same drawn patients, whose value is the ideal. Without a retrained
    model, and for the retrained model itself, the ideal is chance: 0.5, or the false-positive rate.

    Args:
        signal: the signal that the attack uses.
        models: the scores by role.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.
        widened: whether the gaps of models that answer everybody alike are uncertain; see `Separation.gap_interval`.

    Raises:
        InputError: if the models were scored on different patients.

    Example:
        >>> groups = Groups(pd.Series([0.3, 0.2]), pd.Series([0.1, 0.4]), 2)
        >>> [(record.metric, record.value, record.ideal) for record in separation_records("loss", {"student": groups})]
        [('auc[loss]', 0.5, 0.5)]
    """
    raise_if_any(_problems(models))
    separations = {
        model: Separation(models[model], n_resamples=n_resamples, seed=seed) for model in ROLES if model in models
    }
    return [
        _record(name, signal, model, models[model], separations, widened)
        for name in dict.fromkeys(name for separation in separations.values() for name in separation.values)
        for model in separations
    ]


def _record(
    name: str, signal: str, model: str, groups: Groups, separations: Mapping[str, Separation], widened: bool
) -> Record:
    separation, reference = separations[model], None if model == RETRAINED else separations.get(RETRAINED)
    value, (low, high) = separation.values[name], separation.interval(name)
    interval = Interval(value=value, low=low, high=high, n_patients=len(groups.members), n_cases=groups.n_cases)
    metric, group = replace(Metric.parse(name), of=signal), Group(model, FORGET)
    if reference is None:
        return as_record(str(metric), group, interval, ideal=_CHANCE if metric.rate is None else metric.rate)
    ideal, (low, high) = reference.values[name], separation.gap_interval(reference, name, widened=widened)
    gap = replace(interval, value=value - ideal, low=low, high=high)
    return as_record(str(metric), group, interval, Group(RETRAINED, FORGET), gap=gap, ideal=ideal)


def _problems(models: Mapping[str, Groups]) -> Iterator[str]:
    first, *others = models
    for model in others:
        for one, other in zip(models[first][:2], models[model][:2], strict=True):
            differ = one.index.symmetric_difference(other.index)
            if len(differ):
                yield (
                    f"{len(differ)} patients, such as '{differ[0]}', have scores of the {first} or of the {model} but "
                    "not of both; score all models on the same split"
                )


def _auc_low(value: float, n_members: int, n_others: int) -> float:
    """The smallest AUC whose 95 % range still contains `value`: Newcombe, Statistics in Medicine 25, 2006, method 5."""
    if value <= 0:
        return 0.0
    more = (n_members + n_others) / 2 - 1

    def misfit(auc: float) -> float:
        spread = 1 + more * ((1 - auc) / (2 - auc) + auc / (1 + auc))
        return (value - auc) ** 2 - _Z**2 * auc * (1 - auc) * spread / (n_members * n_others)

    return float(brentq(misfit, 0, min(value, 1 - 1e-9)))


def _histograms(places: NDArray[np.int64], n_values: int) -> NDArray[np.int64]:
    """How often each value occurs in each row."""
    rows = np.arange(len(places))[:, None] * n_values
    return np.bincount((places + rows).ravel(), minlength=len(places) * n_values).reshape(len(places), n_values)


def _rate(fpr: float) -> str:
    return str(Metric(TPR, rate=fpr))
