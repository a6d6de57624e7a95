"""`error.log`: the traceback of what ended a run, for whoever looks into it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mu_monai.printable import printable_traceback
from mu_monai.runs.record import is_run

ERROR_LOG = "error.log"


def log_error(folder: str | os.PathLike[str] | None, error: BaseException) -> Path | None:
    """Write the traceback of an error into a run folder; None if it is not one yet, or cannot be written to."""
    if folder is None or not is_run(folder):
        return None
    with suppress(OSError):
        file = Path(folder) / ERROR_LOG
        file.write_text(f"{printable_traceback(error)}\n", encoding="utf-8")
        return file
    return None


def forget_error(folder: str | os.PathLike[str] | None) -> None:
    """Remove the traceback of an earlier attempt from a run folder."""
    if folder is not None:
        (Path(folder) / ERROR_LOG).unlink(missing_ok=True)
