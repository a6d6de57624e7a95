"""How well each model performs on each subset: means of per-case scores."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mu_monai.keys import CASE_ID, MODEL, PATIENT_ID, ROLES, SUBSET, SUBSETS
from mu_monai.runs.scores import utility_metrics


def subset_means(scores: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Average the per-case scores of every model and subset; every case counts once, whatever the batches were.

    Args:
        scores: the score table, one row per case and model: `model`, `subset`, `patient_id`, `case_id` and `metrics`.
        metrics: the score columns to average; by default those of the table's task.

    Returns:
        one row per model and subset in the order of `keys.ROLES` and `keys.SUBSETS`: `model`, `subset`, `patients`,
        `cases` and the mean of each metric, in the metric's own unit.

    Example:
        >>> scores = pd.DataFrame({"model": "student", "subset": "test", "patient_id": ["a", "a", "b"],
        ...                        "case_id": ["1", "2", "3"], "dice": [0.5, 0.7, 0.9]})
        >>> subset_means(scores, ["dice"]).round(3).to_dict("records")
        [{'model': 'student', 'subset': 'test', 'patients': 2, 'cases': 3, 'dice': 0.7}]
    """
    means = {metric: (metric, "mean") for metric in (utility_metrics(scores) if metrics is None else metrics)}
    table = (
        scores.groupby([MODEL, SUBSET])
        .agg(patients=(PATIENT_ID, "nunique"), cases=(CASE_ID, "size"), **means)
        .reset_index()
    )
    return in_order(table)


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The rows by model and subset in the order of `keys.ROLES` and `keys.SUBSETS`; ties keep their order."""
    rank = {name: place for names in (ROLES, SUBSETS) for place, name in enumerate(names)}
    return table.sort_values([MODEL, SUBSET], key=lambda column: column.map(rank), ignore_index=True, kind="stable")
