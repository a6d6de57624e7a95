"""Metrics: pure functions of the score table and of features."""

from __future__ import annotations

from mu_monai.metrics.alignment import alignment, gram, linear_cka
from mu_monai.metrics.choice import Choice, choice
from mu_monai.metrics.classwise import class_f1
from mu_monai.metrics.closeness import average_gap, tow, zrf
from mu_monai.metrics.divergence import gaussian_kl, histogram_kl, klom
from mu_monai.metrics.membership import (
    LEAST_PATIENTS,
    allowed_errors,
    attack_scores,
    auc,
    logistic_scores,
    membership_signals,
    missing_signals,
    smallest_fpr,
    tpr_at_fpr,
)
from mu_monai.metrics.shadow import FEW_SHADOWS, likelihood_ratios, shadow_counts
from mu_monai.metrics.structures import structure_metrics, structure_scores
from mu_monai.metrics.utility import subset_means

__all__ = [
    "FEW_SHADOWS",
    "LEAST_PATIENTS",
    "Choice",
    "alignment",
    "allowed_errors",
    "attack_scores",
    "auc",
    "average_gap",
    "choice",
    "class_f1",
    "gaussian_kl",
    "gram",
    "histogram_kl",
    "klom",
    "likelihood_ratios",
    "linear_cka",
    "logistic_scores",
    "membership_signals",
    "missing_signals",
    "shadow_counts",
    "smallest_fpr",
    "structure_metrics",
    "structure_scores",
    "subset_means",
    "tow",
    "tpr_at_fpr",
    "zrf",
]
