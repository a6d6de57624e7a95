"""A classifier class by class: the F1 of each, in words and formatted cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mu_monai.keys import FORGET, RETAIN, ROLES, STUDENT, TEST, VALIDATION
from mu_monai.report.sentences import between, count, number, reference_name, signed
from mu_monai.report.tables import as_rows, class_table

CLASS_SUBSETS = (FORGET, TEST, RETAIN, VALIDATION)  # the order in which classes are looked at


def class_content(records: pd.DataFrame) -> list[dict[str, Any]]:
    """F1 of every class, a table per subset; empty where the records have none."""
    table = class_table(records)
    models = [model for model in ROLES if model in set(table["model"])]
    parts: list[dict[str, Any]] = []
    for subset in CLASS_SUBSETS:
        found = table[table["subset"] == subset]
        if len(found):
            own = as_rows(found[found["model"] == STUDENT])
            rows = [_row(str(name), as_rows(of_class)) for name, of_class in found.groupby("class")]
            parts.append({"subset": subset, "models": models, "has_gap": STUDENT in models, "rows": rows})
            parts[-1]["sentence"] = class_sentence(own)
    return parts


def _row(name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "name": name,
        "size": f"{count(records[0]['n_patients'], 'patient')}, {count(records[0]['n_cases'], 'case')}",
        "models": {row["model"]: (number(row["value"]), between(row["low"], row["high"])) for row in records},
        "gap": ("", ""),
    }
    for row in records:
        if row["model"] == STUDENT and row["reference"]:
            gap, ends = row["gap"], (row["gap_low"], row["gap_high"])
            cells["gap"] = (signed(gap), between(*ends, show=signed))
    return cells


def class_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which classes differ from their reference beyond the interval; empty where nothing is compared.

    Args:
        rows: rows of `tables.class_table` of the student on one subset.

    Example:
        >>> row = {"class": "nevus", "reference": "retrained/forget", "gap": -0.2, "gap_low": -0.3, "gap_high": -0.1}
        >>> class_sentence([row, row | {"class": "melanoma", "gap_high": 0.1}])
        'Apart from the retrained model beyond the interval: nevus lower by 0.200. The other 1 cannot be told apart.'
    """
    compared = [row for row in rows if row["reference"] and not math.isnan(row["gap_low"])]
    if not compared:
        return ""
    name = reference_name(compared[0]["reference"])
    apart = [row for row in compared if row["gap_high"] < 0 or row["gap_low"] > 0]
    if not apart:
        return f"No class can be told apart from {name} here."
    listed = ", ".join(
        f"{row['class']} {'lower' if row['gap'] < 0 else 'higher'} by {number(abs(row['gap']))}" for row in apart
    )
    rest = len(compared) - len(apart)
    return f"Apart from {name} beyond the interval: {listed}." + (
        f" The other {rest} cannot be told apart." if rest else ""
    )
