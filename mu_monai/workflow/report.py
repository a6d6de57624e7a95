"""One page about an unlearning run, from run folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mu_monai.audit import records_table, utility_records
from mu_monai.report import read_runs, write_report


def report(runs: Sequence[str | Path], *, out: str | Path, images: bool = True) -> Path:
    """Write `index.html` with its figures and tables.

    Args:
        runs: folders of finished runs on one split: an unlearning run and, where there are, its teacher's run and the
            retrained model's.
        out: the folder to write; an earlier report there is replaced.
        images: show example images of patients.

    Returns:
        the path of `index.html`.

    Raises:
        InputError: every problem of the runs, such as different splits; nothing is written then.
    """
    found = read_runs(runs)
    records = records_table(utility_records(found.scores, forget_classes=found.forget_classes))
    return write_report(found, records, out, images=images)
