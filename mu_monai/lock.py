"""One command at a time writes a folder or file: a lock for as long as it is written."""

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

from mu_monai.errors import InputError

_MINE: ContextVar[frozenset[Path]] = ContextVar("_MINE", default=frozenset())
_SHARED = 0o666  # so that another user of the machine can take a lock file that a killed process left
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
logger = logging.getLogger(__name__)


def writes(*names: str) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Decorate a function so that it holds the locks of what it writes while it runs.

    Args:
        names: the arguments that say where; of `out|run` the first that is given.
    """

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def held(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            given = signature.bind(*args, **kwargs).arguments
            found = (next((given[name] for name in choice.split("|") if given.get(name)), None) for choice in names)
            with ExitStack() as stack:
                for place in found:
                    if place is not None:
                        stack.enter_context(writing(place))
                return function(*args, **kwargs)

        return held

    return decorate


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a folder or file that is written, which need not exist yet; parts of the holder hold it too.

    The operating system gives the lock up when its process ends, however it ends. The lock file lies beside `target`
    (`.name.lock`), never in it, and is removed afterwards; where nothing can be written beside it, in the temporary
    folder of the machine. On a file system without locks there is none, and the log says so.

    Raises:
        InputError: where another process, or another thread of this one, holds it.

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
    if place in mine:
        yield
        return
    with _locked(place, target):
        _MINE.set(mine | {place})
        try:
            yield
        finally:
            _MINE.set(_MINE.get() - {place})


def _resolved(target: str | os.PathLike[str]) -> Path:
    """One path for all names of a place."""
    try:
        return Path(target).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, or a path with a NUL
        raise InputError(f"{str(target)!r} cannot be written ({error}); give another path") from None


@contextmanager
def _locked(place: Path, target: str | os.PathLike[str]) -> Iterator[None]:
    missing = [folder for folder in place.parents if not folder.exists()]
    lock = _acquired(place, target)
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):
                os.unlink(lock.lock_file)  # while it is held: who waits for this file finds it gone, and is refused
            lock.release()
        with suppress(OSError):  # made for the lock alone, where nothing was written after all
            for folder in missing:
                folder.rmdir()


def _acquired(place: Path, target: str | os.PathLike[str]) -> FileLock | None:
    refused: OSError | None = None
    for file in _lock_files(place):
        lock = FileLock(file, blocking=False, mode=_SHARED, fallback_to_soft=False)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f"'{target}' is being written by another command ({_holder(file)}); wait for it or give another folder"
            ) from None
        except OSError as error:  # nothing can be written there, or the file system has no locks
            refused = error
        else:
            _sign(file)
            return lock
    logger.warning("'%s' has no lock (%s): see to it that no other command writes it meanwhile", target, refused)
    return None


def _lock_files(place: Path) -> tuple[Path, Path]:
    """Where the lock of a place lies: beside it, else in the machine's temporary folder."""
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
    return place.parent / f".{place.name}.lock", Path(tempfile.gettempdir()) / f"mu-monai-{digest}.lock"


def _sign(file: Path) -> None:
    """Say in a lock file that is held who holds it."""
    with suppress(OSError):
        descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"process {os.getpid()} on {platform.node()}")


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:200] or "which has just begun"
    except OSError:
        return "which is about to end"
