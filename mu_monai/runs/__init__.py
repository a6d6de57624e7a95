"""A run folder from outside: what it says of itself, and whether its files are still those that it was written for."""

from __future__ import annotations

from mu_monai.runs.record import add_files, changed_files, file_digests, open_run, read_record, write_record
from mu_monai.runs.stamped import read_stamped, write_stamped

__all__ = [
    "add_files",
    "changed_files",
    "file_digests",
    "open_run",
    "read_record",
    "read_stamped",
    "write_record",
    "write_stamped",
]
