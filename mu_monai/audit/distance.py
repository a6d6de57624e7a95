"""Records of how far models are from each other in answers, features and weights, from tables of what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t

from mu_monai.audit.bootstrap import CONFIDENCE, N_RESAMPLES, Interval, Sample, alone, mean_interval, paired_gap
from mu_monai.audit.records import Record, as_record
from mu_monai.keys import MODEL, PATIENT_ID, RETRAINED, STUDENT, SUBSET, SUBSETS, TEACHER
from mu_monai.metrics import alignment, gram, zrf
from mu_monai.runs.numbers import TO_TEACHER, Group, Metric

_GROUPS = 40  # of patients that the jackknife leaves out, one after the other
_OTHER = {RETRAINED: TEACHER, TEACHER: RETRAINED}  # whose distance to the same model is the scale
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

    Without a suffix a record is of the distance to the retrained model, with `_to_teacher` of that to the teacher. The
    student's is compared with the distance between teacher and retrained model, which is the scale: below it, the
    student is nearer to the retrained model than the teacher was. Two retrained models are apart as well; where there
    are several, their mean distance is the ideal. No distance to the teacher is: a retrained model is far from it by
    its seed alone.

    Args:
        cases: one row per pair of models and case: `model`, `against`, `subset`, `patient_id`, `case_id`, `js` and
            `activation_distance`. The rows against `random` make `zrf`.
        layers: one row per pair of models, subset and layer: `cka` with `low`, `high`, `n_patients`, `n_cases`.
        weights: one row per pair of models, layer and kind: `distance` and `norm`.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Returns:
        `js` (nats), `activation_distance`, `cka[<layer>]`, and of no subset `weight_distance`,
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

    The bootstrap draws patients twice, and two equal cases are a similarity that both layers share; the jackknife
    leaves patients out instead, in at most 40 groups, one after the other. Its interval is that of Student's t.

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
        kept = [np.flatnonzero(groups != group) for group in range(min(len(names), _GROUPS))]
        left = np.array([alignment(one[np.ix_(rows, rows)], other[np.ix_(rows, rows)]) for rows in kept])
        error = math.sqrt((len(left) - 1) * float(left.var()))
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(left) - 1)) * error
        low, high = max(value - half, -1.0), min(value + half, 1.0)
    return Interval(value=value, low=low, high=high, n_patients=len(names), n_cases=len(patient))


def _answer_records(cases: pd.DataFrame, draws: Mapping[str, int]) -> Iterator[Record]:
    if cases.empty:
        return
    for against, suffix in _SUFFIX.items():
        rows = cases[cases["against"] == against]
        for metric in ("js", "activation_distance"):
            yield from _mean_records(metric, f"{metric}{suffix}", rows, _OTHER[against], draws)
    random = cases[cases["against"] == _RANDOM]
    yield from _mean_records("zrf", "zrf", random.assign(zrf=zrf(random["js"])), RETRAINED, draws)


def _mean_records(
    column: str, metric: str, rows: pd.DataFrame, reference: str, draws: Mapping[str, int]
) -> Iterator[Record]:
    """The mean over cases of every model and subset."""
    for subset in SUBSETS:
        own = rows[rows[SUBSET] == subset].sort_values("case_id")
        samples = {
            str(model): Sample(group[column], group[PATIENT_ID].astype(str)) for model, group in own.groupby(MODEL)
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
    known = layers.dropna(subset="cka")  # too few cases, or a layer that answers all alike
    for (against, subset, layer), rows in known.groupby(["against", SUBSET, "layer"], sort=False):
        found = {
            str(row[MODEL]): Interval(
                value=row["cka"], low=row["low"], high=row["high"], n_patients=row["n_patients"], n_cases=row["n_cases"]
            )
            for row in rows.to_dict("records")
        }
        metric = Metric(f"cka{_SUFFIX[str(against)]}", of=str(layer))
        yield from _scalars(str(metric), str(subset), found, _OTHER[str(against)])


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
            found = {str(model): alone(float(value)) for model, value in values.items()}
            yield from _scalars(f"{metric}{_SUFFIX[str(against)]}", "", found, _OTHER[str(against)])


def _scalars(metric: str, subset: str, found: Mapping[str, Interval], reference: str) -> Iterator[Record]:
    means = {model: interval.value for model, interval in found.items()}
    for model in (TEACHER, RETRAINED, STUDENT):
        if model in found:
            yield _record(metric, Group(model, subset), found[model], means, reference)


def _record(metric: str, group: Group, found: Interval, means: Mapping[str, float], reference: str) -> Record:
    """One record; a student's is compared with the model that gives the scale."""
    ideal = _ideal(means, metric)
    if group.model != STUDENT or reference not in means:
        return as_record(metric, group, found, ideal=ideal)
    gap = alone(found.value - means[reference])
    return as_record(metric, group, found, Group(reference, group.subset), gap=gap, ideal=ideal)


def _ideal(means: Mapping[str, float], metric: str) -> float:
    """What a retrained model reaches: as far from random weights, or from a model retrained with another seed."""
    if metric == "zrf":
        return means.get(RETRAINED, math.nan)
    seeds = [value for model, value in means.items() if model.startswith(f"{RETRAINED}-")]
    return float(np.mean(seeds)) if seeds else math.nan
