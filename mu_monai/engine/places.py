"""The output folder of a command: a new one each time."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from mu_monai.engine.checkpoint import has_checkpoint
from mu_monai.errors import InputError
from mu_monai.keys import CHECKPOINTS_DIR
from mu_monai.processes import made_by_first

logger = logging.getLogger(__name__)


def own_folder(name: str | Path, *, resume: bool = False) -> str:
    """Make the first of `name`, `name-2`, `name-3` ... that does not exist, for a config without an output folder.

    It is created immediately, so that two commands never share it, and removed at the end of the program if nothing was
    written into it.

    Args:
        name: the folder, relative to the working directory.
        resume: give the newest of these folders that holds a checkpoint instead.

    Returns:
        the folder.

    Raises:
        InputError: if there is nothing to resume.

    Example:
        >>> import tempfile
        >>> name = Path(tempfile.mkdtemp()) / "run"
        >>> [Path(own_folder(name)).name for _ in range(3)]
        ['run', 'run-2', 'run-3']
    """
    folder = made_by_first(lambda: _newest_to_resume(Path(name)) if resume else _new(Path(name)))
    logger.info("%s '%s'", "resuming" if resume else "writing into", folder)
    return str(folder)


def _numbered(name: Path) -> Iterator[Path]:
    yield name
    yield from (name.with_name(f"{name.name}-{number}") for number in count(2))


def _new(name: Path) -> Path:
    name.parent.mkdir(parents=True, exist_ok=True)
    for folder in _numbered(name):
        with suppress(FileExistsError):
            folder.mkdir()
            atexit.register(_remove_empty, folder.absolute())
            return folder
    raise AssertionError("numbers do not end")


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something
        os.rmdir(folder)


def _newest_to_resume(name: Path) -> Path:
    numbers = (path.name.removeprefix(f"{name.name}-") for path in name.parent.glob("*"))
    last = max((int(number) for number in numbers if number.isdecimal()), default=1)
    folders = [folder for folder, _ in zip(_numbered(name), range(last), strict=False)]
    resumable = [folder for folder in folders if has_checkpoint(folder / CHECKPOINTS_DIR)]
    if not resumable:
        raise InputError(
            f"none of '{name}', '{name}-2' ... holds a checkpoint to resume from: no run was started here, all are "
            "finished, or their first epoch never ended; leave out --resume, or name the folder with --run_dir"
        )
    return resumable[-1]
