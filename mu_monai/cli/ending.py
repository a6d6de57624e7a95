"""How the program ends after an error: one line and an exit code, also under MONAI's command."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from mu_monai.cli.screen import show
from mu_monai.errors import InputError, RunError
from mu_monai.printable import printable_traceback
from mu_monai.reasons import causes, reason_for, unexpected

INTERRUPTED = 130
_AGAIN = "'mu-monai --debug ...' shows where"
_LOG = "a run that had begun has the traceback in its error.log"


def end_monai(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """End MONAI's command: `sys.excepthook`, which `mu_monai` sets if `monai.bundle` is the program.

    Exit code 2 for wrong input, 130 for Ctrl-C, 1 for anything else. MONAI wraps errors of a config in others that
    contain the config as text; this shows the reason behind them.
    """
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes(error)):
        show("interrupted; --resume True continues a run from its last finished epoch", err=True)
        sys.exit(INTERRUPTED)
    from mu_monai.workflow.launching import keep_reason  # not needed for help

    keep_reason(reason_for(error) or unexpected(error))
    sys.exit(show_error(error, hint=_LOG))


def show_error(error: BaseException, *, debug: bool = False, hint: str = _AGAIN) -> int:
    """Print the reason of an error; the problems of an `InputError` are on one line each.

    Args:
        error: what ended the command.
        debug: also print the traceback.
        hint: where the traceback is to be found, for errors without a reason of a known kind.

    Returns:
        the exit code: 2 for wrong input, 1 for anything else.
    """
    if debug:
        show(printable_traceback(error), lines=True, err=True)
    known = reason_for(error)
    reason = known or unexpected(error)
    if isinstance(reason, RunError) and reason.log is not None and Path(reason.log).is_file():
        reason = RunError(f"{reason} (traceback: '{reason.log}')")
    elif known is None and not debug:
        reason = RunError(f"{reason} ({hint})")
    show(f"error: {reason}", lines=isinstance(reason, InputError), err=True)
    return 2 if isinstance(reason, InputError) else 1


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which schedulers end a job, be what Ctrl-C is, unless the program handles it otherwise."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
