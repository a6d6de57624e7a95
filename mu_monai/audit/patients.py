"""Forgotten patients one by one, most exposed first."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, FORGET, LOSS, MODEL, PATIENT_ID, RETRAINED, ROLES, STUDENT, SUBSET, TEST


def patient_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Rank every forgotten patient's loss among the losses of unseen patients, for every model.

    A patient's loss is the mean over the images. The rank is the share of `test` patients whose loss is lower, ties
    counting half: near 0 the patient is known better than unseen ones, near 1 worse; for an unseen patient every rank
    is equally likely. `gap` is the ideal rank minus the student's rank: above 0 the patient is answered better than it
    should be, below 0 worse. One rank may be chance. Its mean over the patients is the gap of the AUC of the loss.

    Args:
        scores: the score tables of all models: `model`, `subset`, `patient_id`, `case_id`, `loss`.

    Returns:
        a row per forgotten patient, largest `exposure` first: `patient_id`, `n_cases`, a column per model with ranks in
        [0, 1], `gap` from the retrained model's rank (0.5 if there is no retrained model), and `exposure`, the absolute
        gap.

    Raises:
        InputError: if the student has no scores on forgotten or unseen cases.

    Example:
        >>> scores = pd.DataFrame({"model": "student", "subset": ["forget", "forget", "test", "test"],
        ...     "patient_id": ["a", "b", "c", "d"], "case_id": ["1", "2", "3", "4"], "loss": [0.5, 0.1, 0.4, 0.6]})
        >>> patient_table(scores)[["patient_id", "student", "gap"]].to_dict("list")
        {'patient_id': ['b', 'a'], 'student': [0.0, 0.5], 'gap': [0.5, 0.0]}
    """
    models = [role for role in ROLES if role in set(scores[MODEL])]
    table = scores[scores[SUBSET] == FORGET].groupby(PATIENT_ID)[CASE_ID].nunique().rename("n_cases").to_frame()
    for model in models:
        table[model] = _ranks(scores[scores[MODEL] == model])
    if STUDENT not in models or table[STUDENT].isna().any() or table.empty:
        raise InputError(
            "the score table lacks the student's cases of 'forget' or 'test', and patients are ranked among the unseen "
            "ones of the same model; score the run again: mu-monai evaluate RUN"
        )
    table["gap"] = (table[RETRAINED] if RETRAINED in models else 0.5) - table[STUDENT]
    table["exposure"] = table["gap"].abs()
    return table.reset_index().sort_values(["exposure", PATIENT_ID], ascending=[False, True], ignore_index=True)


def _ranks(scores: pd.DataFrame) -> pd.Series[float]:
    """The rank of each forgotten patient among the unseen ones of the same model; NaN without unseen patients."""
    losses = scores.groupby([SUBSET, PATIENT_ID])[LOSS].mean()
    forgotten, unseen = (
        losses[losses.index.get_level_values(SUBSET) == name].droplevel(SUBSET) for name in (FORGET, TEST)
    )
    if unseen.empty:
        return pd.Series(np.nan, index=forgotten.index)
    ordered = np.sort(unseen.to_numpy())
    places = sum(np.searchsorted(ordered, forgotten, side=side) for side in ("left", "right"))
    return pd.Series(places / (2 * len(ordered)), index=forgotten.index)
