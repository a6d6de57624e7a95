"""Audit records of utility: every model on every subset, with its gap to the reference."""

from __future__ import annotations

import math
from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES, Interval, Sample, independent_gap, mean_interval, paired_gap
from mu_monai.audit.classwise import ResampledF1
from mu_monai.errors import raise_if_any
from mu_monai.keys import (
    CASE_ID,
    CLASSIFICATION,
    FORGET,
    LABEL,
    MODEL,
    PATIENT_ID,
    RETRAINED,
    ROLES,
    STUDENT,
    SUBSET,
    SUBSETS,
    TEACHER,
    TEST,
)
from mu_monai.metrics import class_f1, structure_metrics, structure_scores
from mu_monai.runs.numbers import DROP, F1, Group, Metric
from mu_monai.runs.scores import (
    CLASS_NAMES,
    DICE,
    PREDICTED,
    SCORE_KEYS,
    STRUCTURE_METRICS,
    VOLUME,
    per_class_columns,
    structures,
    task_of,
    utility_metrics,
)

_SHOWN = 5
_SHARES = ("dice", "iou", "accuracy")  # which lie in [0, 1]


_Samples = dict[Group, Sample]
_Draws = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One number of the audit with its interval over patients, its reference and its ideal.

    Args:
        model: `teacher`, `retrained` or `student`.
        metric: `dice`, `iou`, `accuracy` (in [0, 1]) or `loss` (nats); `<metric>_drop` is teacher minus student, the
            criterion of the Erase to Retain paper; `f1[<class>]` is the F1 of one class, in [0, 1]. For one class of a
            mask: `dice[<class>]`, `hd95[<class>]` (mm), `volume[<class>]` as predicted and `volume_error[<class>]`,
            the absolute error of the volume (ml).
        subset: `retain`, `forget`, `validation` or `test`.
        value: the mean over cases, or the F1.
        low: lower end of its 95 % interval; NaN with fewer than 2 patients.
        high: upper end of its 95 % interval.
        n_patients: patients of the subset; for an F1, those with cases of the class.
        n_cases: cases of the subset; for an F1, those of the class.
        reference: what the value is compared with, as `<model>/<subset>`; empty if there is nothing to compare with.
        gap: value minus the reference's value.
        gap_low: lower end of the gap's 95 % interval.
        gap_high: upper end of the gap's 95 % interval.
        ideal: the target value; NaN if it is not known. Without a retrained model, the ideal Dice of a class that was
            to be forgotten is 0.
        attack: the attack after which the model was measured, such as `relearning`; empty without an attack.
    """

    model: str
    metric: str
    subset: str
    value: float
    low: float
    high: float
    n_patients: int
    n_cases: int
    reference: str
    gap: float
    gap_low: float
    gap_high: float
    ideal: float
    attack: str = ""


def utility_records(
    scores: pd.DataFrame,
    *,
    forget_classes: Sequence[str] = (),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    widened: bool = True,
) -> list[Record]:
    """Compute the utility records of all models of a score table.

    The gap is to the retrained model on the same subset (paired by patient) if there is one. Otherwise `forget` is
    compared with `test` of the same model (independent patients), and every other subset with the teacher. The
    retrained model is the reference; only its own `forget` is compared, with its own `test`.

    A classifier gets an F1 for every class that a subset has cases of. F1 depends on the mix of classes, so it is
    compared on the same cases only: `forget` without a retrained model has no reference.

    Masks of several classes get a record for every class and quantity, with volumes compared on the same cases only. If
    classes were to be forgotten in every case, no case was to be forgotten: `forget` is compared with the teacher like
    any other subset, the paper's drops are left out, `dice` is the mean over the other classes, and a forgotten class
    is compared with a retrained model or not at all.

    Args:
        scores: the tables `scores.csv` of all runs, one row per case and model: `model`, `subset`, `patient_id`,
            `case_id`, `loss`, and `dice` and `iou` or, for a classifier, `accuracy`, `label` and `predicted`.
        forget_classes: the classes of a mask that were to be forgotten in every case.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.
        widened: whether intervals are at least Student's t intervals; those signed by earlier versions are not so.

    Raises:
        InputError: if columns or numbers are missing, a forgotten class has no scores, a case has two rows of one
            model, or the models disagree about the cases, their subset, their patient or their class.

    Example:
        >>> scores = pd.DataFrame({"model": "student", "subset": ["forget", "forget", "test", "test"],
        ...     "patient_id": ["a", "b", "c", "d"], "case_id": ["1", "2", "3", "4"],
        ...     "dice": [0.5, 0.5, 0.7, 0.7], "iou": 0.5, "loss": 0.1})
        >>> record = utility_records(scores)[0]
        >>> record.subset, record.reference, round(record.gap, 3), record.ideal
        ('forget', 'student/test', -0.2, 0.7)
    """
    raise_if_any(_problems(scores, forget_classes))
    ordered = structure_scores(scores, forget_classes).sort_values(CASE_ID)
    drawn_by = {"n_resamples": n_resamples, "seed": seed}
    draws: _Draws = {**drawn_by, "widened": widened}
    gone = {str(Metric(metric, name)) for metric in STRUCTURE_METRICS for name in forget_classes}
    if forget_classes and set(structures(scores)) <= set(forget_classes):
        gone.add(DICE)  # the mean over forgotten classes only
    utility = [metric for metric in utility_metrics(scores) if metric != "iou" or not forget_classes]
    records: list[Record] = []
    for metric in [*utility, *structure_metrics(ordered)]:
        samples = {
            Group(str(model), str(subset)): Sample(rows[metric], rows[PATIENT_ID].astype(str))
            for (model, subset), rows in ordered.groupby([MODEL, SUBSET])
        }
        forgotten, drawn = metric in gone, Metric.parse(metric).quantity == DICE
        candidates = {group for group in samples if group.model != TEACHER} if forgotten else set(samples)
        for group in _in_order(samples):
            reference = _reference(group, candidates, by_case=not forget_classes)
            ideal = 0.0 if forgotten and drawn and group.model == STUDENT else math.nan
            records.append(_record(metric, group, samples, reference, draws, ideal))
        if metric in utility_metrics(scores) and not forget_classes:
            records += _drops(metric, samples, draws)
    if PREDICTED in scores.columns:
        records += _f1_records(ordered, drawn_by)
    return records


def records_table(records: Sequence[Record]) -> pd.DataFrame:
    """The records as a table with one column per field, as `report` expects it.

    Example:
        >>> list(records_table([]).columns[:4])
        ['model', 'metric', 'subset', 'value']
    """
    return pd.DataFrame([asdict(record) for record in records], columns=[field.name for field in fields(Record)])


def _in_order(samples: Iterable[Group]) -> list[Group]:
    return sorted(samples, key=lambda group: (ROLES.index(group.model), SUBSETS.index(group.subset)))


def _record(
    metric: str, group: Group, samples: _Samples, reference: Group | None, draws: _Draws, ideal: float
) -> Record:
    """One record; `ideal` is used if there is no reference."""
    mean = mean_interval(samples[group], **draws)
    of_cases = (
        Metric.parse(metric).quantity == VOLUME
    )  # the true volume differs by case, so other cases are not comparable
    if reference is None or (of_cases and reference.subset != group.subset):
        return as_record(metric, group, mean, ideal=ideal)
    compare = paired_gap if reference.subset == group.subset else independent_gap
    gap = compare(samples[group], samples[reference], **draws)
    return as_record(metric, group, mean, reference, gap=gap, ideal=samples[reference].mean)


def _reference(group: Group, samples: Container[Group], *, by_case: bool = True) -> Group | None:
    retrained = Group(RETRAINED, group.subset)
    unseen = Group(group.model, TEST)
    if group.model != RETRAINED and retrained in samples:
        return retrained
    if group.subset == FORGET and by_case:
        return unseen if unseen in samples else None
    teacher = Group(TEACHER, group.subset)
    return teacher if group.model == STUDENT and teacher in samples else None


def _drops(metric: str, samples: _Samples, draws: _Draws) -> Iterator[Record]:
    """The paper's criterion, teacher minus student: `forget` should drop much more than the other subsets."""
    for group in _in_order(samples):
        teacher = Group(TEACHER, group.subset)
        if group.model == STUDENT and teacher in samples:
            drop = paired_gap(samples[teacher], samples[group], **draws)
            ideal = math.nan if group.subset == FORGET else 0.0
            yield as_record(f"{metric}{DROP}", group, drop, teacher, ideal=ideal)


def _f1_records(scores: pd.DataFrame, draws: dict[str, int]) -> Iterator[Record]:
    """The F1 of each class; a class without a case in a subset has no record there."""
    table = class_f1(scores)
    values = {(Group(row[MODEL], row[SUBSET]), row["class"]): row for row in table.to_dict("records")}
    classes = list(table["class"].unique())
    resampled = {
        Group(str(model), str(subset)): ResampledF1(rows, classes, **draws)
        for (model, subset), rows in scores.groupby([MODEL, SUBSET])
    }
    for name, group in product(classes, _in_order(resampled)):
        metric, row, sample = str(Metric(F1, str(name))), values[group, name], resampled[group]
        if not row["cases"]:
            continue
        mean = _interval(row["f1"], sample.interval(name), row)
        reference = _reference(group, resampled)
        if reference is None or reference.subset != group.subset:
            yield as_record(metric, group, mean)
            continue
        ideal = values[reference, name]["f1"]
        gap = _interval(row["f1"] - ideal, sample.gap_interval(resampled[reference], name), row)
        yield as_record(metric, group, mean, reference, gap=gap, ideal=ideal)


def _interval(value: float, ends: tuple[float, float], row: dict[Hashable, Any]) -> Interval:
    return Interval(value=value, low=ends[0], high=ends[1], n_patients=row["patients"], n_cases=row["cases"])


def as_record(
    metric: str,
    group: Group,
    mean: Interval,
    reference: Group | None = None,
    *,
    gap: Interval | None = None,
    ideal: float = math.nan,
) -> Record:
    """The record of an interval and, if there is a reference, of the gap to it; without what is not possible."""
    quantity = Metric.parse(metric).quantity
    if quantity.removesuffix(DROP) in _SHARES:
        mean = mean.within(-1.0 if quantity.endswith(DROP) else 0.0, 1.0)
        gap = None if gap is None else gap.within(-1.0, 1.0)
    return Record(
        model=group.model,
        metric=metric,
        subset=group.subset,
        value=mean.value,
        low=mean.low,
        high=mean.high,
        n_patients=mean.n_patients,
        n_cases=mean.n_cases,
        reference="" if reference is None else str(reference),
        gap=math.nan if gap is None else gap.value,
        gap_low=math.nan if gap is None else gap.low,
        gap_high=math.nan if gap is None else gap.high,
        ideal=ideal,
    )


def _problems(scores: pd.DataFrame, forget_classes: Sequence[str]) -> Iterator[str]:
    metrics = utility_metrics(scores)
    names = CLASS_NAMES if task_of(scores) == CLASSIFICATION else ()
    needed = (*SCORE_KEYS, *metrics, *names)
    absent = [name for name in needed if name not in scores.columns]
    if absent:
        yield f"the score table has no column {', '.join(map(repr, absent))}; it needs {', '.join(needed)}"
        return
    if scores.empty:
        yield "the score table has no rows; score at least one case"
        return
    for column, allowed in ((MODEL, ROLES), (SUBSET, SUBSETS)):
        strange = sorted(set(scores[column].astype(str)) - set(allowed))
        if strange:
            yield f"{column} {', '.join(map(repr, strange))} is unknown; allowed: {', '.join(allowed)}"
    unknown = [name for name in forget_classes if name not in structures(scores)]
    if unknown:
        scored = ", ".join(map(repr, structures(scores))) or "no classes"
        yield f"the forgotten class {', '.join(map(repr, unknown))} has no scores; the score table has {scored}"
    numbers = scores[[*metrics, *per_class_columns(scores)]].apply(pd.to_numeric, errors="coerce")
    bad = scores[~np.isfinite(numbers).all(axis=1) | scores[list(names)].isna().any(axis=1)]
    if len(bad):
        yield f"{len(bad)} rows have missing or infinite scores (cases {_some(bad[CASE_ID])}); score these cases again"
    yield from _disagreements(scores)


def _disagreements(scores: pd.DataFrame) -> Iterator[str]:
    twice = scores[scores.duplicated([MODEL, CASE_ID])]
    if len(twice):
        names = [f"{model}: {case}" for model, case in zip(twice[MODEL], twice[CASE_ID], strict=True)]
        yield f"{len(twice)} cases have several rows of one model ({_some(names)}); keep one row per model and case"
    for column in (name for name in (SUBSET, PATIENT_ID, LABEL) if name in scores.columns):
        several = scores.groupby(CASE_ID)[column].nunique()
        torn = several[several > 1].index
        if len(torn):
            yield (
                f"the models disagree on the {column} of {len(torn)} cases ({_some(torn)}); score all models on the "
                "same split"
            )
    cases = {str(model): set(rows[CASE_ID]) for model, rows in scores.groupby(MODEL)}
    every = set().union(*cases.values())
    for model, scored in cases.items():
        if scored != every:
            yield (
                f"the {model} has no scores of {len(every - scored)} cases that another model has "
                f"({_some(sorted(every - scored))}); score all models on the same split"
            )


def _some(names: Sequence[str] | pd.Series[str] | pd.Index[str]) -> str:
    shown = [f"'{name}'" for name in list(names)[:_SHOWN]]
    return ", ".join(shown) + (" and more" if len(names) > _SHOWN else "")
