"""How a program ends that something went wrong in: one line and an exit code, also under MONAI's own command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn

from mu_monai.cli.screen import show
from mu_monai.errors import InputError

INTERRUPTED = 130
_TOLD = (InputError, FloatingPointError, OSError)  # what says by itself what went wrong


def end_monai(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """End MONAI's command: `sys.excepthook`, which `mu_monai` sets where `monai.bundle` is the program.

    Exit code 2 for wrong input, 130 for Ctrl-C, 1 for anything else. MONAI wraps whatever a config raises in errors
    that hold the config as text; the first cause that speaks for itself is told, else the very first.
    """
    chain = list(_causes(error))
    if any(isinstance(cause, KeyboardInterrupt) for cause in chain):
        show("interrupted; a run goes on from its last finished epoch with --resume True", err=True)
        sys.exit(INTERRUPTED)
    told = next((cause for cause in chain if isinstance(cause, _TOLD)), None)
    show_error(told or RuntimeError(f"{type(chain[-1]).__name__}: {' '.join(str(chain[-1]).split())}"))
    sys.exit(2 if isinstance(told, InputError) else 1)


def show_error(error: Exception) -> None:
    """Print what is wrong; the problems of a wrong input stand on a line each."""
    show(f"error: {error}", lines=isinstance(error, InputError), err=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
