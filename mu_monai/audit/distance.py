"""Records of how far models are from each other in answers, features and weights, from tables of measurements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t

from mu_monai.audit.bootstrap import CONFIDENCE, N_RESAMPLES, Interval, Sample, alone, mean_interval, paired_gap
from mu_monai.audit.records import Record, as_record
from mu_monai.keys import MODEL, PATIENT_ID, RETRAINED, STUDENT, SUBSET, SUBSETS, TEACHER
from mu_monai.metrics import alignment, gram, zrf
from mu_monai.runs.numbers import TO_TEACHER, Group, Metric

_GROUPS = 40  # the most groups of patients that the jackknife leaves out in turn
_OTHER = {RETRAINED: TEACHER, TEACHER: RETRAINED}  # the model whose distance to the same model gives the scale
_SUFFIX = {RETRAINED: "", TEACHER: TO_TEACHER}
_RANDOM = "random"


def distance_records(
    cases: pd.DataFrame,
    layers: pd.DataFrame,
    weights: pd.DataFrame,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[Record]:
    """Turn the tables of `mu_monai.workflow.measure_distances` into records.

    A record without a suffix is the distance to the retrained model; with `_to_teacher`, the distance to the teacher.
    The student's distance is compared with that between teacher and retrained model, which gives the scale: below it,
    the student is closer to the retrained model than the teacher was. Two retrained models also differ from each other;
    if there are several, their mean distance is the ideal. Distances to the teacher have no ideal: a retrained model is
    far from the teacher by its seed alone.

    Args:
        cases: one row per pair of models and case: `model`, `against`, `subset`, `patient_id`, `case_id`, `js` and
            `activation_distance`. `zrf` is computed from the rows against `random`.
        layers: one row per pair of models, subset and layer: `cka` with `low`, `high`, `n_patients`, `n_cases`.
        weights: one row per pair of models, layer and kind: `distance` and `norm`.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Returns:
        `js` (nats), `activation_distance`, `cka[<layer>]`, and, with an empty subset, `weight_distance`,
        `weight_distance_relative` and `statistics_distance`, each with and without `_to_teacher`; and `zrf`. The gaps
        of CKA and of weights have no interval.

    Example:
        >>> cases = pd.DataFrame({"model": ["teacher", "student"], "against": "retrained", "subset": "forget",
        ...     "patient_id": "a", "case_id": "1", "js": [0.4, 0.1], "activation_distance": [0.5, 0.2]})
        >>> records = distance_records(cases, pd.DataFrame(), pd.DataFrame())
        >>> [(record.model, record.value, round(record.gap, 3)) for record in records if record.metric == "js"]
        [('teacher', 0.4, nan), ('student', 0.1, -0.3)]
    """
    draws = {"n_resamples": n_resamples, "seed": seed}
    return [*_answer_records(cases, draws), *_layer_records(layers), *_weight_records(weights)]


def cka_interval(first: ArrayLike, second: ArrayLike, patients: Sequence[object]) -> Interval:
    """Give the linear CKA of two sets of features with its 95 % interval over patients, by the jackknife.

    The bootstrap draws some patients twice, and two identical cases look similar to both layers, which inflates CKA.
    The jackknife instead leaves out patients, one of at most 40 groups at a time. Its interval is based on Student's t.

    Args:
        first: features of one layer `(cases, features)`.
        second: features of another `(cases, other features)`.
        patients: the patient of each case.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(8, 3))
        >>> result = cka_interval(features, features, list("aabbccdd"))
        >>> round(result.value, 6), round(result.low, 6), result.n_patients
        (1.0, 1.0, 4)
    """
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    one, other = gram(first), gram(second)
    value = alignment(one, other)
    low = high = math.nan
    if len(names) >= 2 and not math.isnan(value):
        groups = patient % _GROUPS
        subsamples = [np.flatnonzero(groups != group) for group in range(min(len(names), _GROUPS))]
        left = np.array([alignment(one[np.ix_(rows, rows)], other[np.ix_(rows, rows)]) for rows in subsamples])
        error = math.sqrt((len(left) - 1) * float(left.var()))
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(left) - 1)) * error
        low, high = max(value - half, -1.0), min(value + half, 1.0)
    return Interval(value=value, low=low, high=high, n_patients=len(names), n_cases=len(patient))


def _answer_records(cases: pd.DataFrame, draws: Mapping[str, Any]) -> Iterator[Record]:
    if cases.empty:
        return
    for against, suffix in _SUFFIX.items():
        rows = cases[cases["against"] == against]
        for metric in ("js", "activation_distance"):
            yield from _mean_records(metric, f"{metric}{suffix}", rows, _OTHER[against], draws)
    random = cases[cases["against"] == _RANDOM]
    yield from _mean_records("zrf", "zrf", random.assign(zrf=zrf(random["js"])), RETRAINED, draws)


def _mean_records(
    column: str, metric: str, rows: pd.DataFrame, reference: str, draws: Mapping[str, Any]
) -> Iterator[Record]:
    """The mean over cases of every model and subset."""
    for subset in SUBSETS:
        subset_rows = rows[rows[SUBSET] == subset].sort_values("case_id")
        samples = {
            str(model): Sample(group[column], group[PATIENT_ID].astype(str))
            for model, group in subset_rows.groupby(MODEL)
        }
        means = {model: sample.mean for model, sample in samples.items()}
        for model in (TEACHER, RETRAINED, STUDENT):
            if model in samples:
                record = _record(metric, Group(model, subset), mean_interval(samples[model], **draws), means, reference)
                gap = paired_gap(samples[model], samples[reference], **draws) if record.reference else None
                yield replace(record, gap_low=gap.low, gap_high=gap.high) if gap else record


def _layer_records(layers: pd.DataFrame) -> Iterator[Record]:
    if layers.empty:
        return
    known = layers.dropna(subset="cka")  # too few cases, or a layer with the same features for all
    for (against, subset, layer), rows in known.groupby(["against", SUBSET, "layer"], sort=False):
        intervals = {
            str(row[MODEL]): Interval(
                value=row["cka"], low=row["low"], high=row["high"], n_patients=row["n_patients"], n_cases=row["n_cases"]
            )
            for row in rows.to_dict("records")
        }
        metric = Metric(f"cka{_SUFFIX[str(against)]}", of=str(layer))
        yield from _scalars(str(metric), str(subset), intervals, _OTHER[str(against)])


def _weight_records(weights: pd.DataFrame) -> Iterator[Record]:
    """Totals over all layers: roots of sums of squares."""
    if weights.empty:
        return
    squares = weights.assign(distance=weights["distance"] ** 2, norm=weights["norm"] ** 2)
    for (against, kind), rows in squares.groupby(["against", "kind"], sort=False):
        totals = rows.groupby(MODEL)[["distance", "norm"]].sum() ** 0.5
        columns = {f"{kind}_distance".replace("weights", "weight"): totals["distance"]}
        if kind == "weights":
            columns["weight_distance_relative"] = totals["distance"] / totals["norm"]
        for metric, values in columns.items():
            intervals = {str(model): alone(float(value)) for model, value in values.items()}
            yield from _scalars(f"{metric}{_SUFFIX[str(against)]}", "", intervals, _OTHER[str(against)])


def _scalars(metric: str, subset: str, intervals: Mapping[str, Interval], reference: str) -> Iterator[Record]:
    means = {model: interval.value for model, interval in intervals.items()}
    for model in (TEACHER, RETRAINED, STUDENT):
        if model in intervals:
            yield _record(metric, Group(model, subset), intervals[model], means, reference)


def _record(metric: str, group: Group, interval: Interval, means: Mapping[str, float], reference: str) -> Record:
    """One record; the student's is compared with the model that gives the scale."""
    ideal = _ideal(means, metric)
    if group.model != STUDENT or reference not in means:
        return as_record(metric, group, interval, ideal=ideal)
    gap = alone(interval.value - means[reference])
    return as_record(metric, group, interval, Group(reference, group.subset), gap=gap, ideal=ideal)


def _ideal(means: Mapping[str, float], metric: str) -> float:
    """The retrained model's value: its ZRF, or its mean distance to models retrained with other seeds."""
    if metric == "zrf":
        return means.get(RETRAINED, math.nan)
    seeds = [value for model, value in means.items() if model.startswith(f"{RETRAINED}-")]
    return float(np.mean(seeds)) if seeds else math.nan
