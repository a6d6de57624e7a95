"""How the program ends after an error: one line and an exit code, also under MONAI's command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn

from mu_monai.cli.screen import show
from mu_monai.errors import InputError

INTERRUPTED = 130
_CLEAR = (InputError, FloatingPointError, OSError)  # errors whose message is enough for a user


def end_monai(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """End MONAI's command: `sys.excepthook`, which `mu_monai` sets if `monai.bundle` is the program.

    Exit code 2 for wrong input, 130 for Ctrl-C, 1 for anything else. MONAI wraps errors of a config in others that
    contain the config as text; this shows the first cause with a clear message, or else the root cause.
    """
    chain = list(_causes(error))
    if any(isinstance(cause, KeyboardInterrupt) for cause in chain):
        show("interrupted; --resume True continues a run from its last finished epoch", err=True)
        sys.exit(INTERRUPTED)
    clear = next((cause for cause in chain if isinstance(cause, _CLEAR)), None)
    show_error(clear or RuntimeError(f"{type(chain[-1]).__name__}: {' '.join(str(chain[-1]).split())}"))
    sys.exit(2 if isinstance(clear, InputError) else 1)


def show_error(error: Exception) -> None:
    """Print an error; the problems of an `InputError` are on one line each."""
    show(f"error: {error}", lines=isinstance(error, InputError), err=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
