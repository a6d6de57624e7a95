"""The F1 of every class under the bootstrap over patients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES, Array, draw_patients, ends
from mu_monai.keys import LABEL, PATIENT_ID
from mu_monai.runs.scores import PREDICTED


class ResampledF1:
    """The F1 of every class in bootstrap draws of a group's patients.

    Each draw takes n of the n patients with replacement, with all their cases. Draws without a case of a class say
    nothing about it and are left out of its interval; with fewer than 2 patients of the class there is no interval.

    Args:
        rows: the scores of one model on one group of cases: `patient_id`, `label` and `predicted`.
        classes: the classes.
        n_resamples: how many times to draw, at least 1.
        seed: seed of the draws; the same seed draws the same patients, so two models on the same cases are paired.

    Raises:
        ValueError: if `n_resamples` is below 1.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13, as for the means of scores.

    Example:
        >>> rows = pd.DataFrame({"patient_id": ["a", "b", "c"], "label": ["nevus", "nevus", "melanoma"],
        ...                      "predicted": ["nevus", "nevus", "melanoma"]})
        >>> ResampledF1(rows, ["melanoma", "nevus"]).interval("nevus")
        (1.0, 1.0)
    """

    def __init__(
        self, rows: pd.DataFrame, classes: Sequence[object], *, n_resamples: int = N_RESAMPLES, seed: int = 0
    ) -> None:
        self.classes = list(classes)
        _, patient = np.unique(rows[PATIENT_ID].astype(str), return_inverse=True)
        true, predicted = (rows[[name]].to_numpy() == np.asarray(self.classes) for name in (LABEL, PREDICTED))
        of_patients = np.zeros((patient.max() + 1, 3, len(self.classes)))
        np.add.at(of_patients, patient, np.stack([true & predicted, true, predicted], axis=1))
        counts = of_patients.swapaxes(0, 1)
        self.patients = (counts[1] > 0).sum(axis=0)  # of each class
        self.draws = np.concatenate(
            [_f1(_weights(drawn) @ counts) for drawn in draw_patients(counts.shape[1], n_resamples, seed)]
        )

    def interval(self, name: object) -> tuple[float, float]:
        """The ends of the 95 % interval of a class's F1; NaN with fewer than 2 patients of the class."""
        return self._ends(self.draws, name)

    def gap_interval(self, other: ResampledF1, name: object) -> tuple[float, float]:
        """The ends of the 95 % interval of the gap to another model on the same cases, paired draw by draw."""
        return self._ends(self.draws - other.draws, name)

    def _ends(self, draws: Array, name: object) -> tuple[float, float]:
        place = self.classes.index(name)
        if self.patients[place] < 2:
            return math.nan, math.nan
        return ends(draws[:, place])


def _weights(drawn: np.ndarray) -> Array:
    """How often each patient occurs in each draw, `(draws, patients)`."""
    rows, patients = drawn.shape
    places = drawn + patients * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=drawn.size).reshape(rows, patients).astype(float)


def _f1(counts: Array) -> Array:
    """F1 from hits, true and predicted cases `(3, draws, classes)`; NaN without a true case."""
    hits, true, predicted = counts
    return np.divide(2 * hits, true + predicted, out=np.full_like(hits, math.nan), where=true > 0)
