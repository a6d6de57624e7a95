"""The section about a composed model: both runs that it was made of, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.errors import InputError
from mu_monai.keys import CLASSIFICATION, MODEL, RETRAINED, SCORES_CSV, STUDENT, SUBSET, SUBSETS, TEACHER
from mu_monai.report.sentences import count, listed, number
from mu_monai.report.tables import as_rows, measurements
from mu_monai.runs import open_run
from mu_monai.runs.run import Runs
from mu_monai.runs.scores import read_scores

_NAMES = {"good_retain": "retains well", "good_forget": "forgets well"}


def composed_content(runs: Runs) -> dict[str, Any] | None:
    """The section by the names that the template uses; none where the student was not composed of two runs."""
    found = measurements(runs).get("composition")
    if not found:
        return None
    table = composed_table(runs)
    subsets = [name for name in SUBSETS if name in table]
    rows = [row | {"cells": [number(row[name]) for name in subsets]} for row in as_rows(table)]
    missing = [found[name]["run"] for name in _NAMES if _scores(found[name]) is None]
    label = "accuracy" if runs.main.task == CLASSIFICATION else "Dice"
    return {"sentence": composed_sentence(runs), "subsets": subsets, "rows": rows, "missing": missing, "label": label}


def composed_table(runs: Runs) -> pd.DataFrame:
    """Mean Dice or accuracy per subset of both runs and the composed model: `model`, `method`, and the subsets.

    Teacher and retrained model stand beside them, as far as they were scored. A run that is no longer where it was, or
    has other weights by now, has no row; without a composition there is none.
    """
    found = measurements(runs).get("composition")
    if not found:
        return pd.DataFrame()
    metric = "accuracy" if runs.main.task == CLASSIFICATION else "dice"
    tables: dict[str, pd.DataFrame | None] = {
        role: runs.scores[runs.scores[MODEL] == role] for role in (TEACHER, RETRAINED)
    }
    tables |= {name: _scores(found[key]) for key, name in _NAMES.items()}
    tables |= {"composed": runs.scores[runs.scores[MODEL] == STUDENT]}
    methods = {name: found[key]["method"] for key, name in _NAMES.items()}
    rows = [
        {"model": name, "method": methods.get(name, "")} | table.groupby(SUBSET)[metric].mean().to_dict()
        for name, table in tables.items()
        if table is not None and len(table)
    ]
    return pd.DataFrame(rows)


def composed_sentence(runs: Runs) -> str:
    """What was put together, and what was trained afterwards."""
    found, method = measurements(runs)["composition"], runs.main.record.method
    assert method is not None  # what was composed has one
    settings = method.settings
    share, first, second = settings["share"], found["good_retain"]["run"], found["good_forget"]["run"]
    made = {
        "head": f"has the features of '{first}' and the head of '{second}' ({listed(found['transplanted'])})",
        "weights": f"lies between the weights of '{first}' ({1 - share:g}) and '{second}' ({share:g})",
        "adapters": f"has the adapters of '{first}' and {share:g} times those of '{second}' added up",
    }[settings["how"]]
    trained = "all its weights were" if settings["fine_tune"] == "all" else "its head alone was"
    epochs = count(len(runs.main.curve), "epoch")
    return f"The student {made}. Then {trained} fine-tuned on retained cases for {epochs}."


def _scores(parent: Mapping[str, Any]) -> pd.DataFrame | None:
    """The scores of one of the two runs; none where it is gone, or another run has taken its place."""
    folder = Path(parent["run"])
    try:
        if open_run(folder, SCORES_CSV).record.sha256.weights != parent["weights"]:
            return None
        table = read_scores(folder / SCORES_CSV)
    except (OSError, KeyError, InputError):
        return None
    return table[table[MODEL] == STUDENT]
