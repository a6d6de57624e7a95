"""Records of how close a model is to the retrained one overall, from score tables: average gap, ToW and KLoM."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES, Array, Interval, draw_patients, ends
from mu_monai.audit.records import Record, as_record
from mu_monai.errors import InputError
from mu_monai.keys import FORGET, MODEL, PATIENT_ID, RETAIN, RETRAINED, STUDENT, SUBSET, SUBSETS, TEACHER, TEST
from mu_monai.metrics import attack_scores, average_gap, tow
from mu_monai.runs.numbers import Group
from mu_monai.runs.scores import leading_metric

_JUDGED = (FORGET, RETAIN, TEST)
# computed from the gaps on forget, retain and test, and the gap of the AUC
_MEASURES: dict[str, Callable[[Array], Array]] = {
    "average_gap": average_gap,
    "tow": lambda gaps: tow(gaps[:, [0, 1, 2]]),
    "tow_mia": lambda gaps: tow(gaps[:, [3, 1, 2]]),
}
_AT = {"average_gap": 0.0, "tow": 1.0, "tow_mia": 1.0}
_QUANTILE = 0.95


def closeness_records(
    scores: pd.DataFrame,
    *,
    others: Sequence[pd.DataFrame] = (),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[Record]:
    """Summarize how close teacher and student are to the retrained model, over all subsets.

    The gaps are those of Dice or accuracy on forget, retain and test, and of the membership AUC of the loss. Patients
    are resampled within every subset, the same for all models. Absolute gaps are never below 0, so chance makes an
    average gap larger and ToW smaller, and an interval may lie entirely on one side of the value.

    Args:
        scores: one row per case and model: `model`, `subset`, `patient_id`, `case_id`, `loss`, and `dice` or
            `accuracy`.
        others: score tables of models that were retrained with other seeds, on the same split. Their level is the
            ideal; without them it is the retrained model itself, which no other model can match exactly.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Returns:
        `average_gap`, `tow` and `tow_mia` of teacher and student, with the subset empty; the student's gap is to the
        teacher. Empty without a retrained model, or if forget, retain or test has no cases.

    Raises:
        InputError: if the models were scored on different patients.

    Example:
        >>> scores = pd.DataFrame([
        ...     {"model": model, "subset": subset, "patient_id": patient + subset, "dice": dice, "loss": 1 - dice}
        ...     for model, dice in (("retrained", 0.8), ("student", 0.7))
        ...     for subset in ("retain", "forget", "test") for patient in "ab"])
        >>> [(record.metric, round(record.value, 3)) for record in closeness_records(scores)]
        [('average_gap', 0.075), ('tow', 0.729), ('tow_mia', 0.81)]
    """
    models = {str(model): rows for model, rows in scores.groupby(MODEL)}
    if RETRAINED not in models or not all((models[RETRAINED][SUBSET] == subset).any() for subset in _JUDGED):
        return []
    patients = {
        str(subset): pd.Index(sorted(rows[PATIENT_ID].astype(str).unique()))
        for subset, rows in models[RETRAINED].groupby(SUBSET)
        if subset in _JUDGED
    }
    draws = {
        subset: _counts(len(names), n_resamples, seed + place)
        for place, (subset, names) in enumerate(sorted(patients.items()))
    }
    metric = leading_metric(scores)
    base = _levels(models[RETRAINED], metric, patients, draws)
    gaps = {
        model: _levels(models[model], metric, patients, draws) - base for model in (TEACHER, STUDENT) if model in models
    }
    tables = [table[table[MODEL] == RETRAINED] if MODEL in table else table for table in others]
    seeds = [_levels(table, metric, patients, draws) - base for table in tables]
    cases = int(models[RETRAINED][SUBSET].isin(_JUDGED).sum())
    enough = min(map(len, patients.values())) >= 2
    size = (sum(map(len, patients.values())), cases)
    return [record for name in _MEASURES for record in _records(name, gaps, seeds, size, enough=enough)]


def klom_records(table: pd.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> list[Record]:
    """Summarize how differently unlearned and retrained models answer: the 95th percentile over each subset's cases.

    Args:
        table: the table that `mu_monai.metrics.klom` returns.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws; patients are drawn with all their cases, and the models stay the same.

    Returns:
        `klom` and `klom_gaussian` of the student on every subset. If there is a floor (the effect of other seeds
        alone), it is the ideal, and the gap is to it.

    Example:
        >>> table = pd.DataFrame({"subset": "forget", "patient_id": ["a", "b"], "case_id": ["1", "2"],
        ...     "klom": [1.0, 2.0], "klom_floor": 0.5, "klom_gaussian": 1.0, "klom_gaussian_floor": 1.0})
        >>> [(record.metric, record.value, record.ideal) for record in klom_records(table)]
        [('klom', 1.95, 0.5), ('klom_gaussian', 1.0, 1.0)]
    """
    groups = {str(subset): rows for subset, rows in table.groupby(SUBSET)}
    return [
        _klom_record(name, subset, groups[subset], n_resamples, seed)
        for name in ("klom", "klom_gaussian")
        for subset in SUBSETS
        if subset in groups
    ]


def klom_note(n_students: int, n_retrained: int) -> str:
    """How many models KLoM was computed from, and what that means for reading it; one sentence.

    Example:
        >>> klom_note(3, 3)
        'KLoM is computed from 3 unlearned and 3 retrained models: with so few, read klom_gaussian, and with 4 retrained
        models its floor; histograms (klom) of fewer than about 100 models hardly overlap, whatever the models are'
    """
    text = f"KLoM is computed from {n_students} unlearned and {n_retrained} retrained models"
    if min(n_students, n_retrained) >= 100:
        return text
    floor = "" if n_retrained >= 4 else ", and with 4 retrained models its floor"
    return (
        f"{text}: with so few, read klom_gaussian{floor}; histograms (klom) of fewer than about 100 models hardly "
        "overlap, whatever the models are"
    )


def _counts(n_patients: int, n_resamples: int, seed: int) -> Array:
    """How often each patient occurs in each draw, `(1 + draws, patients)`; the first row has every patient once."""
    rows: list[Array] = [np.ones((1, n_patients))]
    for drawn in draw_patients(n_patients, n_resamples, seed):
        places = drawn + n_patients * np.arange(len(drawn))[:, None]
        rows.append(np.reshape(np.bincount(places.ravel(), minlength=drawn.size), drawn.shape).astype(float))
    return np.concatenate(rows)


def _levels(rows: pd.DataFrame, metric: str, patients: Mapping[str, pd.Index], draws: Mapping[str, Array]) -> Array:
    """One model's utility on forget, retain and test, and its AUC, in each draw `(1 + draws, 4)`."""
    rows = rows.assign(**{PATIENT_ID: rows[PATIENT_ID].astype(str)})
    subset_rows = {subset: rows[rows[SUBSET] == subset] for subset in _JUDGED}
    levels = []
    for subset in _JUDGED:
        of_patients = subset_rows[subset].groupby(PATIENT_ID)[metric].agg(["sum", "size"])
        if not of_patients.index.equals(patients[subset]):
            raise InputError(f"the models were scored on different patients of {subset}; score all on the same split")
        sums, sizes = (of_patients[name].to_numpy(float) for name in ("sum", "size"))
        levels.append((draws[subset] @ sums) / (draws[subset] @ sizes))
    members, unseen = (attack_scores(subset_rows[subset], {"loss": -1})["loss"].to_numpy() for subset in (FORGET, TEST))
    wins = (members[:, None] > unseen) + (members[:, None] == unseen) / 2
    pairs = len(members) * len(unseen)
    levels.append(((draws[FORGET] @ wins) * draws[TEST]).sum(axis=1) / pairs)
    return np.stack(levels, axis=1)


def _records(
    name: str, gaps: Mapping[str, Array], seeds: Sequence[Array], size: tuple[int, int], *, enough: bool
) -> Iterator[Record]:
    measure = _MEASURES[name]
    results = {model: measure(model_gaps) for model, model_gaps in gaps.items()}
    ideal = float(np.mean([measure(seed_gaps[:1]) for seed_gaps in seeds])) if seeds else _AT[name]
    for model, values in results.items():
        group, interval = Group(model), _interval(values, size, enough=enough)
        if model == STUDENT and TEACHER in results:
            gap = _interval(values - results[TEACHER], size, enough=enough)
            yield as_record(name, group, interval, Group(TEACHER), gap=gap, ideal=ideal)
        else:
            yield as_record(name, group, interval, ideal=ideal)


def _klom_record(name: str, subset: str, rows: pd.DataFrame, n_resamples: int, seed: int) -> Record:
    _, patient = np.unique(rows[PATIENT_ID].astype(str), return_inverse=True)
    n_patients = int(patient.max()) + 1
    counts = _counts(n_patients, n_resamples, seed)[:, patient]
    values = _quantiles(rows[name].to_numpy(float), counts)
    floors = rows[f"{name}_floor"].to_numpy(float)
    size, enough = (n_patients, len(rows)), n_patients >= 2
    group, interval = Group(STUDENT, subset), _interval(values, size, enough=enough)
    if np.isnan(floors).any():
        return as_record(name, group, interval)
    gap = _interval(values - _quantiles(floors, counts), size, enough=enough)
    return as_record(name, group, interval, Group(RETRAINED, subset), gap=gap, ideal=interval.value - gap.value)


def _quantiles(values: Array, counts: Array) -> Array:
    """The 95th percentile of the cases of each draw."""
    return np.array([np.quantile(np.repeat(values, row.astype(int)), _QUANTILE) for row in counts])


def _interval(values: Array, size: tuple[int, int], *, enough: bool) -> Interval:
    """The first value, and the interval of the others if there are enough patients for one."""
    n_patients, n_cases = size
    low, high = ends(values[1:]) if enough else (math.nan, math.nan)
    return Interval(value=float(values[0]), low=low, high=high, n_patients=n_patients, n_cases=n_cases)
