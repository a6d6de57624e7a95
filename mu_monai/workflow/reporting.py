"""A report on an unlearning run, made from run folders alone, and the signed record of its release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mu_monai.audit import records_table, utility_records
from mu_monai.errors import InputError
from mu_monai.lock import writes
from mu_monai.report import write_report
from mu_monai.runs import open_runs


@writes("out", "record")
def report(
    runs: Sequence[str | Path],
    *,
    out: str | Path,
    images: bool = True,
    record: str | Path | None = None,
    key: str | Path | None = None,
) -> Path:
    """Write `index.html` with figures and tables, and if asked, sign a record of a released folder.

    Args:
        runs: folders of finished runs on one split: an unlearning run and, if there are any, the runs of its teacher
            and of the retrained model.
        out: the folder to write; an earlier report there is replaced.
        images: show example images of patients.
        record: the folder that `release` wrote, to sign a record into, with its salt next to it; None for no record.
        key: the private key to sign the record with.

    Returns:
        the path of `index.html`.

    Raises:
        InputError: every problem of the runs, such as different splits; nothing is written then. Also whatever `seal`
            refuses; nothing is signed then.
    """
    if (record is None) != (key is None):
        raise InputError(
            "a record needs a key to be signed with; give --record FOLDER and --key FILE together, or neither"
        )
    opened = open_runs(runs)
    records = records_table(utility_records(opened.scores, forget_classes=opened.forget_classes))
    page = write_report(opened, records, out, images=images)
    if record is not None and key is not None:
        from mu_monai.workflow.handover.signing import seal  # loads torch, which a report does not need

        seal(opened, record, key=key)
    return page
