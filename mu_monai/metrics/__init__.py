"""Pure functions on the score table."""

from __future__ import annotations

from mu_monai.metrics.utility import UTILITY_METRICS, subset_means

__all__ = ["UTILITY_METRICS", "subset_means"]
