"""A job for a worker, and what the worker does with it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mu_monai.bundle.config import sharing_data
from mu_monai.errors import InputError, RunError

_KNOWN = (InputError, FloatingPointError, RunError)
_kept = ExitStack()  # what a worker keeps until it ends


@dataclass(frozen=True, kw_only=True)
class Job:
    """A call of a function that leaves its result in a folder, and may be made again after a worker is lost.

    Args:
        name: what the log calls it, such as `scrub, trial 1, seed 0`.
        place: the folder or file that it writes.
        function: a function of a module, which a worker imports.
        arguments: its arguments, which are copied to the worker.
        folder: the working folder that its relative paths start from.
        argv: the command that it is a part of, which its run records.
    """

    name: str
    place: Path
    function: Callable[..., object]
    arguments: tuple[Any, ...] = ()
    folder: Path = field(default_factory=Path.cwd)
    argv: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))


@dataclass(frozen=True, kw_only=True)
class Done:
    """A job that has ended.

    Args:
        job: the job.
        error: why it failed; None if it did not.
        seconds: how long it took.
        warnings: what was warned of meanwhile.
    """

    job: Job
    error: Exception | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def work(job: Job) -> Done:
    """Do a job in the process of a worker, in the command's folder; images are read once for all jobs of a worker."""
    _share_data()
    sys.argv[:] = job.argv
    os.chdir(job.folder)
    logging.basicConfig(level=logging.CRITICAL)  # nobody reads what the libraries of each worker say
    logging.captureWarnings(True)
    return perform(job)


def perform(job: Job) -> Done:
    """Make the call of a job; an error is a result like any other.

    Example:
        >>> perform(Job(name="a sum", place=Path("sum"), function=int, arguments=("two",))).error
        RunError("ValueError: invalid literal for int() with base 10: 'two'")
    """
    began, error = time.monotonic(), None
    with _warnings() as warnings:
        try:
            job.function(*job.arguments)
        except Exception as raised:
            error = raised if type(raised) in _KNOWN else RunError(told(raised))
    return Done(job=job, error=error, seconds=time.monotonic() - began, warnings=tuple(warnings))


def told(error: Exception) -> str:
    """Why something failed, in one line.

    Example:
        >>> told(InputError(["a is missing", "b is missing"])), told(KeyError("a"))
        ('2 problems: - a is missing - b is missing', "KeyError: 'a'")
    """
    text = str(error).strip().splitlines() or [""]
    if isinstance(error, _KNOWN):
        return " ".join(part.strip() for part in text)
    return f"{type(error).__name__}: {text[0]}"


@cache
def _share_data() -> None:
    _kept.enter_context(sharing_data())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what the package warns of: the command shows it, and a worker's own output may be nobody's."""
    found: list[str] = []
    logger, handler = logging.getLogger("mu_monai"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    propagate, level = logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.WARNING)  # whatever the process says of its own
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
