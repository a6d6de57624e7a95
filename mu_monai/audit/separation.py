"""How well scores part two groups of patients, with intervals: what every membership attack comes down to."""

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
_COUNTS_AT_ONCE = 1 << 20  # bounds memory (8 MiB an array) where there are very many patients

Array = NDArray[np.float64]


class Groups(NamedTuple):
    """What an attack says of one model's patients: the higher a score, the more like a member."""

    members: pd.Series[float]  # by patient
    non_members: pd.Series[float]
    n_cases: int  # of the members


class Separation:
    """AUC and true-positive rates of scores, and the same of patients drawn again with replacement.

    Members and non-members are drawn independently, as many of each as there are. The same seed draws the same
    patients, so two models on the same patients can be subtracted draw by draw.

    Args:
        groups: the scores of members and non-members.
        n_resamples: how many times to draw, at least 1.
        seed: seed of the draws.

    Example:
        >>> found = Separation(Groups(pd.Series([3.0, 2.0]), pd.Series([1.0, 0.0]), 2))
        >>> low, high = found.interval("auc")  # entirely parted, which so few patients often are by chance
        >>> found.values["auc"], round(low, 2), high
        (1.0, 0.39, 1.0)
    """

    def __init__(self, groups: Groups, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> None:
        self._scores = groups.members.to_numpy(float), groups.non_members.to_numpy(float)
        self._n_resamples, self._seed = n_resamples, seed

    @cached_property
    def values(self) -> dict[str, float]:
        """Of the patients as they are: `auc`, and `tpr@<fpr>` of each rate that so many non-members can show."""
        rates = {_rate(fpr): tpr_at_fpr(*self._scores, fpr) for fpr in FPRS}
        return {AUC: auc(*self._scores)} | {name: rate for name, rate in rates.items() if not math.isnan(rate)}

    @cached_property
    def resampled(self) -> dict[str, Array]:
        """The same of every draw, `(n_resamples,)` each."""
        parts = [self._measure(*counts) for counts in self._counts()]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.values}

    def interval(self, name: str) -> tuple[float, float]:
        """The ends of the 95 % interval; NaN where a group has fewer than 2 patients.

        It is that of the draws, and never narrower than what the numbers of patients allow (`_score_interval`): where
        the groups are parted entirely, so they are in every draw, which would claim a width of zero.
        """
        if min(map(len, self._scores)) < 2:
            return math.nan, math.nan
        drawn, scored = ends(self.resampled[name]), self._score_interval(name)
        return min(drawn[0], scored[0]), max(drawn[1], scored[1])

    def gap_interval(self, other: Separation, name: str) -> tuple[float, float]:
        """The ends of the 95 % interval of the difference to another model on the same patients.

        Where one of both is 0 or 1, and draws do not tell how certain that is, it is made of both models' intervals.
        """
        if min(map(len, self._scores)) < 2:
            return math.nan, math.nan
        low, high = ends(self.resampled[name] - other.resampled[name])
        one, two = self.values[name], other.values[name]
        if {one, two} & {0.0, 1.0}:
            (first_low, first_high), (second_low, second_high) = self.interval(name), other.interval(name)
            low = min(low, one - two - math.hypot(one - first_low, second_high - two))
            high = max(high, one - two + math.hypot(first_high - one, two - second_low))
        return low, high

    def _score_interval(self, name: str) -> tuple[float, float]:
        value, (n_members, n_others) = self.values[name], map(len, self._scores)
        if name == AUC:
            return _auc_low(value, n_members, n_others), 1 - _auc_low(1 - value, n_members, n_others)
        found = binomtest(round(value * n_members), n_members).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    def _counts(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """How many members and non-members each draw has at each value that occurs, `(draws, values)`."""
        _, places = np.unique(np.concatenate(self._scores), return_inverse=True)
        n_values, n_members = int(places.max()) + 1, len(self._scores[0])
        step = max(1, _COUNTS_AT_ONCE // len(places))
        streams = [np.random.default_rng(source) for source in np.random.SeedSequence(self._seed).spawn(2)]
        for start in range(0, self._n_resamples, step):
            draws = min(step, self._n_resamples - start)
            first, second = (
                _histograms(own[rng.integers(0, len(own), (draws, len(own)))], n_values)
                for own, rng in zip((places[:n_members], places[n_members:]), streams, strict=True)
            )
            yield first, second

    def _measure(self, members: NDArray[np.int64], others: NDArray[np.int64]) -> dict[str, Array]:
        n_members, n_others = map(len, self._scores)
        up_to = others.cumsum(axis=1)
        not_below = n_others - up_to + others
        measured: dict[str, Array] = {AUC: (members * (up_to - others / 2)).sum(axis=1) / (n_members * n_others)}
        for fpr in FPRS:
            found = members * (not_below <= allowed_errors(n_others, fpr))
            measured[_rate(fpr)] = found.sum(axis=1) / n_members
        return measured


def separation_records(
    signal: str, models: Mapping[str, Groups], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> list[Record]:
    """The records of one attack on every model: `auc[<signal>]` and `tpr@<fpr>[<signal>]`.

    Each is compared with the retrained model, on the same drawn patients, and should be where that model is. Without
    one, and for that model itself, it should be at chance: 0.5, or the false-positive rate.

    Args:
        signal: what the attack looks at.
        models: the scores by role.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Raises:
        InputError: if the models were scored on different patients.

    Example:
        >>> made = Groups(pd.Series([0.3, 0.2]), pd.Series([0.1, 0.4]), 2)
        >>> [(record.metric, record.value, record.ideal) for record in separation_records("loss", {"student": made})]
        [('auc[loss]', 0.5, 0.5)]
    """
    raise_if_any(_problems(models))
    found = {model: Separation(models[model], n_resamples=n_resamples, seed=seed) for model in ROLES if model in models}
    return [
        _record(name, signal, model, models[model], found)
        for name in dict.fromkeys(name for separation in found.values() for name in separation.values)
        for model in found
    ]


def _record(name: str, signal: str, model: str, groups: Groups, found: Mapping[str, Separation]) -> Record:
    own, reference = found[model], None if model == RETRAINED else found.get(RETRAINED)
    value, (low, high) = own.values[name], own.interval(name)
    made = Interval(value=value, low=low, high=high, n_patients=len(groups.members), n_cases=groups.n_cases)
    metric, group = replace(Metric.parse(name), of=signal), Group(model, FORGET)
    if reference is None:
        return as_record(str(metric), group, made, ideal=_CHANCE if metric.rate is None else metric.rate)
    ideal, (low, high) = reference.values[name], own.gap_interval(reference, name)
    gap = replace(made, value=value - ideal, low=low, high=high)
    return as_record(str(metric), group, made, Group(RETRAINED, FORGET), gap=gap, ideal=ideal)


def _problems(models: Mapping[str, Groups]) -> Iterator[str]:
    first, *others = models
    for model in others:
        for one, other in zip(models[first][:2], models[model][:2], strict=True):
            differ = one.index.symmetric_difference(other.index)
            if len(differ):
                yield (
                    f"{len(differ)} patients, such as '{differ[0]}', have scores of the {first} or of the {model} but "
                    "not of both; score all models on one split"
                )


def _auc_low(value: float, n_members: int, n_others: int) -> float:
    """The smallest AUC whose 95 % range still holds `value`: Newcombe, Statistics in Medicine 25, 2006, method 5."""
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
