"""The section about a composed model: the two runs that it was composed of, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mu_monai.keys import SUBSETS
from mu_monai.report.sentences import count, listed, number
from mu_monai.report.tables import COMPOSED_OF, ReportTables, as_rows
from mu_monai.runs.run import Runs
from mu_monai.runs.scores import LEADING


def composed_content(tables: ReportTables) -> dict[str, Any] | None:
    """The section's content by the template's names; None if the student was not composed of two runs."""
    composition = tables.measurements.get("composition")
    if not composition:
        return None
    table = tables.composed
    subsets = [name for name in SUBSETS if name in table]
    rows = [row | {"cells": [number(row[name]) for name in subsets]} for row in as_rows(table)]
    missing = [composition[name]["run"] for name in COMPOSED_OF if name not in tables.parents]
    label, sentence = LEADING[tables.runs.main.task].in_text, composed_sentence(tables.runs, composition)
    return {"sentence": sentence, "subsets": subsets, "rows": rows, "missing": missing, "label": label}


def composed_sentence(runs: Runs, found: Mapping[str, Any]) -> str:
    """What was combined, and what was trained afterward.

    Args:
        runs: the runs of the report.
        found: `measurements.composition` of `run.json`.
    """
    method = runs.main.record.method
    assert method is not None  # a composed model has one
    settings = method.settings
    share, first, second = settings["share"], found["good_retain"]["run"], found["good_forget"]["run"]
    composition = {
        "head": f"has the features of '{first}' and the head of '{second}' ({listed(found['transplanted'])})",
        "weights": f"lies between the weights of '{first}' ({1 - share:g}) and '{second}' ({share:g})",
        "adapters": f"has the sum of the adapters of '{first}' and {share:g} times those of '{second}'",
    }[settings["how"]]
    trained = "all its weights were" if settings["fine_tune"] == "all" else "only its head was"
    epochs = count(len(runs.main.curve), "epoch")
    return f"The student {composition}. Then {trained} fine-tuned on retained cases for {epochs}."
