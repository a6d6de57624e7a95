"""Files that are either whole or absent, and their SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it replaces `target`, on any exception it is removed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as path:
        ...     _ = path.write_text("whole")
        >>> (folder / "a.txt").read_text()
        'whole'
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())  # mkstemp makes private files; a run is shared like any other file
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(target: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic_path(target) as path:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(source: str | os.PathLike[str]) -> Any:
    """Read a JSON file."""
    return json.loads(Path(source).read_text(encoding="utf-8"))


def file_sha256(source: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits; of a folder (a DICOM series) that of its files' digests.

    A `.gz` file counts as what it holds, since compressing it again changes its bytes; one that is damaged as it is.
    Names and order of the files in a folder do not count, nor do hidden ones: a renamed copy of a series is a copy.
    """
    if os.path.isdir(source):
        files = (entry.path for entry in os.scandir(source) if entry.is_file() and not entry.name.startswith("."))
        return hashlib.sha256("".join(sorted(map(file_sha256, files))).encode()).hexdigest()
    if str(source).lower().endswith(".gz"):
        try:
            with gzip.open(source) as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except (OSError, EOFError, zlib.error):
            pass
    with open(source, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
