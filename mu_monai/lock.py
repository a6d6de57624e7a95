"""Locks that let only one command at a time write a folder or file."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from filelock import FileLock, Timeout

from mu_monai.errors import InputError, raise_if_any

_MINE: ContextVar[frozenset[Path]] = ContextVar("_MINE", default=frozenset())
HELD = "MU_MONAI_HELD"  # what a command writes through processes that it starts: they need not lock it again
_POLL = 0.01  # seconds between two attempts
_SHARED = 0o666  # so that another user of the machine can take over a lock file that a killed process left behind
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
logger = logging.getLogger(__name__)


def writes(*names: str) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Decorate a function so that it holds the locks of the places it writes to while it runs.

    Args:
        names: the arguments that name these places; `out|run` means `out`, or `run` if `out` is missing.
    """

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def held(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            values = signature.bind(*args, **kwargs).arguments
            places = (next((values[name] for name in choice.split("|") if values.get(name)), None) for choice in names)
            with ExitStack() as stack:
                for place in places:
                    if place is not None:
                        stack.enter_context(writing(place))
                return function(*args, **kwargs)

        return held

    return decorate


@contextmanager
def writing(target: str | os.PathLike[str], wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder or file while it is written. It need not exist yet, and nested calls share the lock.

    The operating system releases the lock when the process ends, however it ends. The lock file (`.name.lock`) is next
    to `target`, never inside it, and is removed afterwards. If nothing can be written there, it is in the machine's
    temporary folder. On a file system without locks, nothing is locked, and the log says so.

    Args:
        target: the folder or file.
        wait: for how many seconds to wait for whoever holds it, for files that take no longer to write.

    Raises:
        InputError: if another process, or another thread of this one, holds the lock, or nothing can be written there.

    Example:
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> with writing(folder), writing(folder):
        ...     os.listdir(folder.parent)
        ['.run.lock']
        >>> os.listdir(folder.parent)
        []
    """
    place = _resolved(target)
    mine = _MINE.get()
    if place in mine or str(place) == os.environ.get(HELD):
        yield
        return
    raise_if_any(_refusals(place, target))
    with _locked(place, target, wait):
        _MINE.set(mine | {place})
        try:
            yield
        finally:
            _MINE.set(_MINE.get() - {place})


def _resolved(target: str | os.PathLike[str]) -> Path:
    """The same path for all names of a place."""
    try:
        return Path(target).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a path with a NUL
        raise InputError(f"{str(target)!r} cannot be written ({error}); give another path") from None


def _refusals(place: Path, target: str | os.PathLike[str]) -> Iterator[str]:
    """Why nothing can be written at a place, which is known before any work is done."""
    inside = place if os.path.isdir(place) else place.parent
    nearest = next(folder for folder in (inside, *inside.parents) if os.path.lexists(folder))
    if not os.path.isdir(nearest):
        yield f"'{target}' cannot be written: '{nearest}' is not a folder; give another path"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield f"'{target}' cannot be written: nothing can be written in '{nearest}'; give another path"


@contextmanager
def _locked(place: Path, target: str | os.PathLike[str], wait: float) -> Iterator[None]:
    missing = [folder for folder in place.parents if not folder.exists()]
    lock = _acquired(place, target, wait)
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):
                os.unlink(lock.lock_file)  # while it is held: a process waiting for it finds it gone, and is refused
            lock.release()
        with suppress(OSError):  # folders made only for the lock, if nothing was written after all
            for folder in missing:
                folder.rmdir()


def _acquired(place: Path, target: str | os.PathLike[str], wait: float) -> FileLock | None:
    refused: OSError | None = None
    for file in _lock_files(place):
        lock = FileLock(file, timeout=wait, blocking=wait > 0, mode=_SHARED, fallback_to_soft=False)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(poll_interval=_POLL)
        except Timeout:
            raise InputError(
                f"'{target}' is being written by another command ({_holder(file)}); wait for it or give another folder"
            ) from None
        except OSError as error:  # nothing can be written there, or the file system has no locks
            refused = error
        else:
            _sign(file)
            return lock
    logger.warning("'%s' cannot be locked (%s): make sure that no other command writes to it", target, refused)
    return None


def _lock_files(place: Path) -> tuple[Path, Path]:
    """The possible lock files of a place: next to it, or else in the machine's temporary folder."""
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
    return place.parent / f".{place.name}.lock", Path(tempfile.gettempdir()) / f"mu-monai-{digest}.lock"


def _sign(file: Path) -> None:
    """Write into a held lock file who holds it."""
    with suppress(OSError):
        descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"process {os.getpid()} on {platform.node()}")


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:200] or "which has just started"
    except OSError:
        return "which is about to finish"
