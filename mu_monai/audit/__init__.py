"""Scores in, audit records with bootstrap intervals over patients out."""

from __future__ import annotations

from mu_monai.audit.bootstrap import Interval, Sample, independent_gap, mean_interval, paired_gap
from mu_monai.audit.classwise import ResampledF1
from mu_monai.audit.records import Record, records_table, utility_records

__all__ = [
    "Interval",
    "Record",
    "ResampledF1",
    "Sample",
    "independent_gap",
    "mean_interval",
    "paired_gap",
    "records_table",
    "utility_records",
]
