"""One page about an unlearning run, from run folders alone, and the signed record of what was released of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mu_monai.audit import records_table, utility_records
from mu_monai.errors import InputError
from mu_monai.lock import writes
from mu_monai.report import write_report
from mu_monai.runs import open_runs
from mu_monai.workflow.handover.signing import seal


@writes("out", "record")
def report(
    runs: Sequence[str | Path],
    *,
    out: str | Path,
    images: bool = True,
    record: str | Path | None = None,
    key: str | Path | None = None,
) -> Path:
    """Write `index.html` with its figures and tables, and a signed record into a released folder, its salt beside it.

    Args:
        runs: folders of finished runs on one split: an unlearning run and, where there are, its teacher's run and the
            retrained model's.
        out: the folder to write; an earlier report there is replaced.
        images: show example images of patients.
        record: the folder that `release` wrote; None for no record.
        key: the private key to sign the record with.

    Returns:
        the path of `index.html`.

    Raises:
        InputError: every problem of the runs, such as different splits; nothing is written then. What `seal` refuses;
            nothing is signed then.
    """
    if (record is None) != (key is None):
        raise InputError("a record is signed: give --record FOLDER and --key FILE together, or neither")
    found = open_runs(runs)
    records = records_table(utility_records(found.scores, forget_classes=found.forget_classes))
    page = write_report(found, records, out, images=images)
    if record is not None and key is not None:
        seal(found, record, key=key)
    return page
