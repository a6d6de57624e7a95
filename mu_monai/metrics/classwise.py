"""How well each model distinguishes every class from the others."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from mu_monai.keys import LABEL, MODEL, PATIENT_ID, SUBSET
from mu_monai.metrics.utility import in_order
from mu_monai.runs.scores import PREDICTED


def class_f1(scores: pd.DataFrame) -> pd.DataFrame:
    """Compute precision, recall and F1 of every class for every model and subset.

    F1 = 2 TP / (2 TP + FP + FN), with the class against all others; in [0, 1], 1 is best. It is NaN if the subset has
    no case of the class and none was predicted. Precision is NaN if no case was predicted to be of the class, recall if
    no case is.

    Args:
        scores: the score table of a classifier, one row per case and model: `model`, `subset`, `patient_id`, `label`
            and `predicted`.

    Returns:
        one row per model, subset and class that occurs anywhere in the table: `model`, `subset`, `class`, `precision`,
        `recall`, `f1`, the number of `cases` of the class, and the number of their `patients`.

    Source: Figure 3 of Erase to Retain, arXiv 2511.16574, shows the F1 of every class.

    Example:
        >>> scores = pd.DataFrame({"model": "student", "subset": "test", "patient_id": ["a", "a", "b"],
        ...                        "label": ["nevus", "nevus", "melanoma"],
        ...                        "predicted": ["nevus", "melanoma", "melanoma"]})
        >>> class_f1(scores)[["class", "precision", "recall", "f1", "cases", "patients"]].round(3).to_dict("records")
        [{'class': 'melanoma', 'precision': 0.5, 'recall': 1.0, 'f1': 0.667, 'cases': 1, 'patients': 1},
         {'class': 'nevus', 'precision': 1.0, 'recall': 0.5, 'f1': 0.667, 'cases': 2, 'patients': 1}]
    """
    classes = np.unique(scores[[LABEL, PREDICTED]])
    tables = []
    for (model, subset), rows in scores.groupby([MODEL, SUBSET]):
        precision, recall, f1, cases = precision_recall_fscore_support(
            rows[LABEL], rows[PREDICTED], labels=classes, zero_division=math.nan
        )
        patients = rows.groupby(LABEL)[PATIENT_ID].nunique().reindex(classes, fill_value=0).to_numpy()
        columns = {"class": classes, "precision": precision, "recall": recall, "f1": f1, "cases": cases.astype(int)}
        tables.append(pd.DataFrame({MODEL: model, SUBSET: subset, **columns, "patients": patients}))
    return in_order(pd.concat(tables))
