"""Choose the best of several settings of a method without test cases and without a retrained model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mu_monai.keys import FORGET, MODEL, RETAIN, STUDENT, SUBSET, TEACHER, VALIDATION
from mu_monai.metrics.membership import attack_scores, auc
from mu_monai.runs.scores import leading_metric


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The numbers that a setting is chosen by.

    Args:
        score: in [0, 1]; the setting with the highest score is chosen.
        auc: the AUC of the loss, forgotten patients against validation patients.
        retain_drop: the share of the teacher's Dice, or accuracy, on retained cases that the student lost.
        validation_drop: the same on validation cases.
    """

    score: float
    auc: float
    retain_drop: float
    validation_drop: float


def choice(scores: pd.DataFrame) -> Choice:
    r"""Score a student to choose its settings: forgotten patients look like unseen ones, and nothing else is lost.

    .. math:: (1 - 2 |A - 1/2|) \, (1 - \max(0, d_r)) \, (1 - \max(0, d_v))

    A is the AUC of the loss of forgotten against validation patients; d_r and d_v are the shares of the teacher's Dice,
    or accuracy, that are lost on retained and validation cases. A student that lost all of either scores 0, and so does
    one whose levels are not numbers. Test cases and retrained models are not used here: methods are compared by them
    afterwards.

    Args:
        scores: one row per case of teacher and student: `model`, `subset`, `patient_id`, `loss`, and `dice` or
            `accuracy`, with cases of retain, forget and validation.

    Source: ours, after the product of ToW (Zhao et al., arXiv 2406.01257), with shares of the teacher's level
        instead of gaps to a retrained model, which nobody has while unlearning.

    Example:
        >>> scores = pd.DataFrame([
        ...     {"model": model, "subset": subset, "patient_id": patient + subset, "dice": dice, "loss": loss}
        ...     for model, dice in (("teacher", 0.9), ("student", 0.8)) for subset in ("retain", "forget", "validation")
        ...     for patient, loss in (("a", 0.1), ("b", 0.2))])
        >>> round(choice(scores).score, 3)  # (8/9)^2
        0.79
    """
    metric = leading_metric(scores)
    levels = scores.groupby([MODEL, SUBSET])[metric].mean()
    drops = {subset: _lost(levels[TEACHER, subset], levels[STUDENT, subset]) for subset in (RETAIN, VALIDATION)}
    student_scores = scores[scores[MODEL] == STUDENT]
    forgotten, unseen = (
        attack_scores(student_scores[student_scores[SUBSET] == s], {"loss": -1})["loss"] for s in (FORGET, VALIDATION)
    )
    separation = auc(forgotten, unseen)
    remaining = 1 - np.maximum(0.0, list(drops.values()))  # NaN if a level is NaN
    score = float((1 - 2 * abs(separation - 0.5)) * remaining.prod())
    return Choice(
        score=0.0 if math.isnan(score) else score,
        auc=separation,
        retain_drop=drops[RETAIN],
        validation_drop=drops[VALIDATION],
    )


def _lost(teacher: float, student: float) -> float:
    """The share of a level that is lost; a level of 0 has nothing to lose."""
    return float(1 - student / teacher) if teacher else 0.0
