"""Pure functions on the score table."""

from __future__ import annotations

from mu_monai.metrics.classwise import PREDICTED, class_f1
from mu_monai.metrics.structures import STRUCTURE_METRICS, structure_metrics, structure_scores
from mu_monai.metrics.utility import UTILITY_METRICS, subset_means, utility_metrics

__all__ = [
    "PREDICTED",
    "STRUCTURE_METRICS",
    "UTILITY_METRICS",
    "class_f1",
    "structure_metrics",
    "structure_scores",
    "subset_means",
    "utility_metrics",
]
