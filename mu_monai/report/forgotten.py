"""The texts of a report on classes that were forgotten in every case, when no case was to be forgotten."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mu_monai.keys import FORGET, RETAIN, RETRAINED, ROLES, TEST
from mu_monai.report.sentences import MEANING, listed, number
from mu_monai.report.tables import as_rows
from mu_monai.runs.numbers import Metric
from mu_monai.runs.run import Runs
from mu_monai.runs.scores import DICE

_SEEN = {TEST: "unseen", RETAIN: "retained"}


def lead(runs: Runs, cases: str) -> str:
    """The sentence below the title.

    Args:
        runs: the runs of the report.
        cases: the numbers of scored patients and cases.
    """
    gone, remaining = (_named(names) for names in (runs.forget_classes, runs.kept_classes))
    keep = f" and to keep {remaining}" if remaining else ""
    return f"A trained model was asked to forget {gone} in every case{keep}. It is judged on {cases}."


def meaning(subset: str) -> str:
    """What a subset contains."""
    if subset == FORGET:
        return "Cases that the split marks as forget. Classes were forgotten here, not cases: read them like retain."
    return MEANING[subset]


def tiles(runs: Runs, records: pd.DataFrame) -> list[dict[str, Any]]:
    """The Dice of each forgotten class, on unseen cases if there are any, and of the other classes.

    Args:
        runs: the runs of the report.
        records: the audit records.
    """
    dice = {(row["metric"], row["subset"], row["model"]): row["value"] for row in as_rows(records)}
    scored = [subset for subset in _SEEN if subset in set(records["subset"])]
    aim = "the retrained model's, near 0" if RETRAINED in runs.by_role else "near 0"
    title = f"Other {'class' if len(runs.kept_classes) == 1 else 'classes'}"
    kept_aim = f"Dice of {listed(runs.kept_classes)}; it should not drop."
    entries = [
        (
            f"Forgotten class: {name}",
            str(Metric(DICE, name)),
            subset,
            f"Dice on {_SEEN[subset]} cases; the aim is {aim}.",
        )
        for name in runs.forget_classes
        for subset in scored[:1]
    ]
    entries += [(f"{title}, {_SEEN[subset]} cases", DICE, subset, kept_aim) for subset in scored if runs.kept_classes]
    return [
        {
            "title": title,
            "values": [
                (role, number(dice[metric, subset, role], 2)) for role in ROLES if (metric, subset, role) in dice
            ],
            "aim": text,
        }
        for title, metric, subset, text in entries
    ]


def _named(names: list[str]) -> str:
    return f"the class{'' if len(names) == 1 else 'es'} {listed(names)}" if names else ""
