"""The cost of forgetting by subgroup: the change on retained and unseen cases, group by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES, Sample, paired_gap
from mu_monai.errors import InputError, did_you_mean
from mu_monai.keys import CASE_ID, IMAGE, LABEL, MODEL, PATIENT_ID, RETAIN, STUDENT, SUBSET, TEACHER, TEST
from mu_monai.runs.scores import leading_metric

MARGIN = 0.02
COLUMNS = (
    "column",
    "group",
    SUBSET,
    "metric",
    TEACHER,
    STUDENT,
    "change",
    "low",
    "high",
    "n_patients",
    "n_cases",
    "flag",
)
UNKNOWN = "not recorded"
_GROUPS = range(2, 21)
_NO_GROUPS = (CASE_ID, PATIENT_ID, IMAGE, SUBSET)
_BAND = 20  # years


def subgroup_table(
    scores: pd.DataFrame,
    cases: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the change from teacher to student on cases that were not to be forgotten, for every subgroup.

    Groups are the values of the further columns of the split, such as device, sex or diagnosis; ages are grouped into
    bands of 20 years. A group is flagged if the whole 95 % interval of its change lies below -0.02. The intervals are
    not corrected for multiple comparisons: among groups without a change, about one in forty has an interval below 0,
    and fewer have one below -0.02. With few patients it is as many, since intervals are widened to Student's t; then a
    group can have lost much without being flagged.

    Args:
        scores: the score tables of all models.
        cases: `case_id` and the further columns of the split.
        by: the columns to group by; by default every column with 2 to 20 values.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Returns:
        a row per column, group and subset (`retain`, `test`) with the columns `COLUMNS`; `teacher` and `student` are
        means of Dice or accuracy, `change` is student minus teacher, `low` and `high` are NaN with a single patient.
        Flagged groups come first, then the largest loss. Empty without a teacher or a column to group by.

    Raises:
        InputError: for columns in `by` that the cases do not have or that do not vary.

    Example:
        >>> scores = pd.DataFrame({"model": ["teacher"] * 2 + ["student"] * 2, "subset": "retain",
        ...     "patient_id": ["a", "b"] * 2, "case_id": ["1", "2"] * 2, "dice": [0.9, 0.9, 0.9, 0.5],
        ...     "iou": 0.5, "loss": 0.1})
        >>> table = subgroup_table(scores, pd.DataFrame({"case_id": ["1", "2"], "device": ["x", "y"]}))
        >>> table[["group", "change"]].to_dict("list")
        {'group': ['y', 'x'], 'change': [-0.4, 0.0]}
    """
    groups = case_groups(cases, by, classes=LABEL in scores.columns)
    metric = leading_metric(scores)
    pairs = scores[scores[SUBSET].isin((RETAIN, TEST))].pivot(
        index=[SUBSET, PATIENT_ID, CASE_ID], columns=MODEL, values=metric
    )
    if not {TEACHER, STUDENT} <= set(pairs.columns):
        return pd.DataFrame(columns=COLUMNS)
    table = pairs.reset_index().merge(groups, on=CASE_ID, how="left").sort_values(CASE_ID)
    rows = [
        {"column": column, "group": group, SUBSET: subset, "metric": metric} | _change(part, n_resamples, seed)
        for column in groups.columns.drop(CASE_ID)
        for (group, subset), part in table.groupby([column, SUBSET])
    ]
    changes = pd.DataFrame(rows, columns=COLUMNS)
    return changes.sort_values(["flag", "change"], ascending=[False, True], kind="stable", ignore_index=True)


def _change(rows: pd.DataFrame, n_resamples: int, seed: int) -> dict[str, Any]:
    samples = (Sample(rows[model], rows[PATIENT_ID].astype(str)) for model in (STUDENT, TEACHER))
    change = paired_gap(*samples, n_resamples=n_resamples, seed=seed).within(-1.0, 1.0)
    cells = {model: float(rows[model].mean()) for model in (TEACHER, STUDENT)}
    cells |= {"change": change.value, "low": change.low, "high": change.high}
    return cells | {"n_patients": change.n_patients, "n_cases": change.n_cases, "flag": change.high < -MARGIN}


def case_groups(cases: pd.DataFrame, by: Sequence[str] = (), *, classes: bool = False) -> pd.DataFrame:
    """The group that every case belongs to, by column.

    Args:
        cases: `case_id` and the further columns of the split.
        by: the columns to group by; by default every column with 2 to 20 values.
        classes: whether `label` is the class of a case rather than a file.

    Returns:
        `case_id` and a column of text for each column to group by.

    Raises:
        InputError: for columns in `by` that the cases do not have or that do not vary.

    Example:
        >>> case_groups(pd.DataFrame({"case_id": ["1", "2"], "age": [34, 61]})).to_dict("list")
        {'case_id': ['1', '2'], 'age': ['20 to 39', '60 to 79']}
    """
    left_out = _NO_GROUPS if classes else (*_NO_GROUPS, LABEL)
    columns = {str(name): _named(cases[name]) for name in cases.columns if name not in left_out}
    varied = {name: values for name, values in columns.items() if values[values != UNKNOWN].nunique() in _GROUPS}
    problems = list(_by_problems(by, columns, varied))
    if problems:
        raise InputError(problems)
    chosen = {name: varied[name] for name in (by or varied)}
    return pd.DataFrame({CASE_ID: cases[CASE_ID].astype(str), **chosen})


def _by_problems(by: Sequence[str], columns: dict[str, Any], varied: dict[str, Any]) -> Iterator[str]:
    for name in by:
        if name not in columns:
            yield (
                f"--by {name} is not a column of the split "
                f"({', '.join(columns) or 'none'}){did_you_mean(name, columns)}"
            )
        elif name not in varied:
            number = columns[name][columns[name] != UNKNOWN].nunique()
            yield f"--by {name} has {number} values; a column to group by needs 2 to {_GROUPS[-1]}"


def _named(values: pd.Series[Any]) -> pd.Series[str]:
    """Values as text, with ages in bands."""
    if str(values.name).lower() in ("age", "patient_age", "age_approx"):
        years = pd.to_numeric(values.astype(str).str.rstrip("Yy"), errors="coerce")
        low = (years // _BAND * _BAND).astype("Int64")
        values = low.astype(str) + " to " + (low + _BAND - 1).astype(str)
        return values.where(years.notna(), UNKNOWN)
    text = values.astype(str).str.strip()
    return text.where(values.notna() & (text != ""), UNKNOWN)
