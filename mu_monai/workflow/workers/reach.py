"""Whether a worker has this version of the package, and sees the files of the command."""

from __future__ import annotations

import os
import platform
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mu_monai import __version__
from mu_monai.files import file_sha256


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a worker must have.

    Args:
        version: of the package.
        files: by the option that they belong to: an absolute path, and its SHA-256; empty for a folder.
    """

    version: str
    files: tuple[tuple[str, Path, str], ...]


@contextmanager
def expected(folder: Path, places: Mapping[str, Path | None]) -> Iterator[Expected]:
    """What workers must have, with a file in a folder that can only be found there.

    Args:
        folder: the folder that workers write to; made if it is missing.
        places: what workers read, by the name of the option.
    """
    missing = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".reached-")
    token = Path(name).absolute()
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(16))
        os.chmod(token, 0o644)  # workers may belong to another user
        given = [
            ("the working folder", Path.cwd()),
            *((name, path) for name, path in places.items() if path is not None),
        ]
        files = [(name, path.absolute(), _digest(path)) for name, path in [("--out", token), *given]]
        yield Expected(version=__version__, files=tuple(files))
    finally:
        token.unlink(missing_ok=True)
        if missing:
            with suppress(OSError):  # it holds something by now
                folder.rmdir()


def reached(seen: Expected) -> list[str]:
    """What a worker lacks, as sentences; called on the worker."""
    node = platform.node()
    if __version__ != seen.version:
        return [
            f"a worker on '{node}' has mu-monai {__version__}, and this command is {seen.version}; install the same "
            "version on all"
        ]
    return [
        f"a worker on '{node}' does not see the {'file' if digest else 'folder'} of {name} ('{path}') as this command "
        "does; use a path that all workers share"
        for name, path, digest in seen.files
        if not path.exists() or _digest(path) != digest
    ]


def _digest(path: Path) -> str:
    return file_sha256(path) if path.is_file() else ""
