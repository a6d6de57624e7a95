"""Class by class, in formatted cells: F1 for a classifier's classes; Dice, distance and volume for those of masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from mu_monai.keys import FORGET, RETAIN, ROLES, STUDENT, TEST, VALIDATION
from mu_monai.report.sentences import between, count, number, reference_name, signed
from mu_monai.report.tables import as_rows, leading
from mu_monai.runs.numbers import F1
from mu_monai.runs.scores import PER_CLASS

CLASS_SUBSETS = (FORGET, TEST, RETAIN, VALIDATION)  # the order in which subsets are shown


def class_subsets(forget_classes: Sequence[str]) -> tuple[str, ...]:
    """The order in which subsets are shown: forgotten cases first, or unseen ones first if classes are forgotten."""
    return (TEST, RETAIN, FORGET, VALIDATION) if forget_classes else CLASS_SUBSETS


def class_content(table: pd.DataFrame, forget_classes: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A table of every class per subset; empty if there is none.

    Args:
        table: the table that `tables.class_table` returns.
        forget_classes: the classes of masks that were to be forgotten.
    """
    models = [model for model in ROLES if model in set(table["model"])]
    parts: list[dict[str, Any]] = []
    for subset in class_subsets(forget_classes):
        subset_rows = table[table["subset"] == subset]
        if subset_rows.empty:
            continue
        student_rows = as_rows(leading(subset_rows[subset_rows["model"] == STUDENT]))
        rows = [
            _row(as_rows(part), forget_classes) for _, part in subset_rows.groupby(["class", "quantity"], sort=False)
        ]
        if F1 in set(subset_rows["quantity"]):
            title, rows = f"F1 per class: {subset}", sorted(rows, key=lambda row: str(row["name"]))
        else:
            size = subset_rows.iloc[0]
            title = f"Classes: {subset}, {count(size['n_patients'], 'patient')}, {count(size['n_cases'], 'case')}"
        parts.append({"subset": subset, "title": title, "models": models, "has_gap": STUDENT in models, "rows": rows})
        sentences = [
            forgotten_sentence(row, _teacher(leading(subset_rows), row))
            for row in student_rows
            if row["class"] in forget_classes
        ]
        remaining = [row for row in student_rows if row["class"] not in forget_classes]
        parts[-1]["sentence"] = " ".join(
            filter(None, [*sentences, class_sentence(remaining, others=bool(forget_classes))])
        )
    return parts


def _teacher(subset_rows: pd.DataFrame, row: Mapping[str, Any]) -> float:
    values = subset_rows[(subset_rows["model"] == "teacher") & (subset_rows["class"] == row["class"])]["value"]
    return float(values.iloc[0]) if len(values) else math.nan


def _row(records: list[dict[str, Any]], forget_classes: Sequence[str]) -> dict[str, Any]:
    name, quantity = str(records[0]["class"]), PER_CLASS[records[0]["quantity"]]
    show, show_gap = (partial(write, digits=quantity.digits) for write in (number, signed))
    size = f"{count(records[0]['n_patients'], 'patient')}, {count(records[0]['n_cases'], 'case')}"
    cells: dict[str, Any] = {
        "name": f"{name} (forgotten)" if name in forget_classes else name,
        "size": size if quantity.name == F1 else quantity.label,
        "models": {row["model"]: (show(row["value"]), between(row["low"], row["high"], show=show)) for row in records},
        "gap": ("", ""),
    }
    for row in records:
        if row["model"] != STUDENT:
            continue
        if row["reference"]:
            cells["gap"] = (show_gap(row["gap"]), between(row["gap_low"], row["gap_high"], show=show_gap))
        elif not math.isnan(row["ideal"]):
            cells["gap"] = ("", f"should be {row['ideal']:g}")
    return cells


def class_sentence(rows: Sequence[Mapping[str, Any]], *, others: bool = False) -> str:
    """Which classes have a gap whose interval excludes 0; empty if nothing is compared.

    Args:
        rows: the student's rows of `tables.class_table` on one subset.
        others: whether forgotten classes are left out of the rows.

    Example:
        >>> row = {"class": "nevus", "reference": "retrained/forget", "gap": -0.2, "gap_low": -0.3, "gap_high": -0.1}
        >>> class_sentence([row, row | {"class": "melanoma", "gap_high": 0.1}])
        'Different from the retrained model, intervals exclude 0: nevus lower by 0.200. The other 1 cannot be told
        apart.'
    """
    compared = [row for row in rows if row["reference"] and not math.isnan(row["gap_low"])]
    if not compared:
        return ""
    name = reference_name(compared[0]["reference"])
    apart = [row for row in compared if row["gap_high"] < 0 or row["gap_low"] > 0]
    if not apart:
        return f"No {'other ' if others else ''}class can be told apart from {name} here."
    listed = ", ".join(
        f"{row['class']} {'lower' if row['gap'] < 0 else 'higher'} by {number(abs(row['gap']))}" for row in apart
    )
    rest = len(compared) - len(apart)
    return f"Different from {name}, intervals exclude 0: {listed}." + (
        f" The other {rest} cannot be told apart." if rest else ""
    )


def forgotten_sentence(row: Mapping[str, Any], teacher: float) -> str:
    """The Dice of a class that was to be forgotten, and what it should be.

    Args:
        row: the student's row of `tables.class_table`.
        teacher: the teacher's Dice; NaN if it is not known.

    Example:
        >>> row = {"class": "lesion", "value": 0.02, "reference": "", "gap_low": float("nan"), "ideal": 0.0}
        >>> forgotten_sentence(row, 0.8)
        'lesion was to be forgotten: its Dice went from 0.800 to 0.020, and should be near 0.'
    """
    way = number(row["value"]) if math.isnan(teacher) else f"{number(teacher)} to {number(row['value'])}"
    text = f"{row['class']} was to be forgotten: its Dice {'is' if math.isnan(teacher) else 'went from'} {way}"
    if not row["reference"]:
        return f"{text}, and should be near 0."
    text += f"; it is {number(row['ideal'])} for the retrained model"
    if math.isnan(row["gap_low"]):
        return f"{text}."
    if row["gap_low"] <= 0 <= row["gap_high"]:
        return f"{text}, and the two cannot be told apart."
    return f"{text}, and the student draws it {'worse' if row['gap'] < 0 else 'better'} by {number(abs(row['gap']))}."
