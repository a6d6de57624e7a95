"""The report: from run folders and audit records to one self-contained HTML page; needs no torch."""

from __future__ import annotations

from mu_monai.report.audit_sentences import metric_name, metric_sentence, patient_sentence
from mu_monai.report.comparison import comparison_table, write_comparison
from mu_monai.report.page import write_report

__all__ = [
    "comparison_table",
    "metric_name",
    "metric_sentence",
    "patient_sentence",
    "write_comparison",
    "write_report",
]
