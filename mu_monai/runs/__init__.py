"""A run folder: its record, scores and example images, and whether its files are still those that the run wrote."""

from __future__ import annotations

from mu_monai.runs.folder import (
    add_files,
    changed_files,
    file_digests,
    has_scores,
    is_complete,
    is_finished,
    scores_file,
)
from mu_monai.runs.record import RunRecord, is_run, read_record, run_of, write_record
from mu_monai.runs.run import Run, Runs, open_run, open_runs
from mu_monai.runs.stamped import read_stamped, write_stamped

__all__ = [
    "Run",
    "RunRecord",
    "Runs",
    "add_files",
    "changed_files",
    "file_digests",
    "has_scores",
    "is_complete",
    "is_finished",
    "is_run",
    "open_run",
    "open_runs",
    "read_record",
    "read_stamped",
    "run_of",
    "scores_file",
    "write_record",
    "write_stamped",
]
