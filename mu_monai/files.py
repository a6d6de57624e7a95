"""Files that are written whole or not at all, JSON of a known shape, and the SHA-256 of ordinary files."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import shutil
import stat
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any

from mu_monai.errors import InputError, raise_if_any

ARCHIVE_ERRORS = (  # what readers of archives and arrays raise for damaged bytes
    ValueError, TypeError, OSError, EOFError, KeyError, IndexError, AttributeError, RuntimeError, MemoryError,
    OverflowError, SyntaxError, AssertionError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
    struct.error,
)  # fmt: skip

MOST_UNPACKED = 8 << 30  # bytes that a compressed file may hold: 2^30 voxels of 8 bytes

Shape = type | UnionType | Mapping[str, Any] | list[Any]

_BATCH = 1000  # entries of JSON that are encoded at once
_PLAIN = {str, int, float, bool, type(None)}
_NOT_FILES = ("/proc", "/sys", "/dev")  # entries here belong to the system, even if they look like files
_MEMORY = "/dev/shm"  # ordinary files, kept in memory
_JSON_WORDS = {
    dict: "a mapping", list: "a list", str: "text", int: "a whole number", float: "a number",
    bool: "true or false", type(None): "null",
}  # fmt: skip


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to `target`; on success it replaces `target`, on any exception it is removed.

    The content is flushed to disk before the rename, so that a power cut leaves either the old file or the new one.

    Raises:
        OSError: if it cannot be written, with the name of `target`.

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
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        if error.errno is None:
            raise OSError(f"'{target}' cannot be written ({error})") from error
        if error.filename in (None, name, temporary):  # the temporary name means nothing to a user
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `target`; on success it becomes `target`, on any exception it is removed.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "whole"
        >>> with whole_folder(target) as folder:
        ...     _ = (folder / "a.txt").write_text("a")
        >>> [path.name for path in target.iterdir()], [path.name for path in target.parent.iterdir()]
        (['a.txt'], ['whole'])
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        whole = temporary / target.name  # made by mkdir, with the usual permissions
        whole.mkdir()
        yield whole
        os.rename(whole, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Flush a new name to disk, if the system supports it: Windows and some network file systems do not."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(target: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON, atomically; an iterator in it becomes a list, and is never held as a whole."""
    with atomic_path(target) as path, path.open("w", encoding="utf-8") as stream:
        stream.writelines(_json_text(content))
        stream.write("\n")


def _json_text(value: Any, inner: str = "\n  ") -> Iterator[str]:
    """What `json.dumps(value, indent=2, ensure_ascii=False)` gives, in pieces.

    That is slow, since Python's fast encoder cannot indent. It can separate entries by a line break and spaces, though,
    and most content is in mappings and lists that hold no others.
    """
    mapping = isinstance(value, dict)
    if not mapping and not isinstance(value, list | tuple | Iterator):
        yield json.dumps(value, ensure_ascii=False)
        return
    between, entries = "{" if mapping else "[", iter(value.items() if mapping else value)
    encode = _encoder("," + inner)
    while batch := list(islice(entries, _BATCH)):
        if _PLAIN.issuperset(map(type, (part for _, part in batch) if mapping else batch)):
            yield between + inner + encode(dict(batch) if mapping else batch)[1:-1]
        else:
            for number, entry in enumerate(batch):
                start = (between if number == 0 else ",") + inner
                if mapping:
                    yield from _json_part(start + encode({entry[0]: None})[1:-5], entry[1], inner + "  ")
                else:
                    yield from _json_part(start, entry, inner + "  ")
        between = ","
    yield (inner[:-2] if between == "," else between) + ("}" if mapping else "]")


def _json_part(start: str, value: Any, inner: str) -> Iterator[str]:
    """A value within others, in one piece if it is a small mapping of plain ones, as most are."""
    if isinstance(value, dict) and 0 < len(value) <= _BATCH and _PLAIN.issuperset(map(type, value.values())):
        yield f"{start}{{{inner}{_encoder(',' + inner)(value)[1:-1]}{inner[:-2]}}}"
    else:
        yield start
        yield from _json_text(value, inner)


@cache
def _encoder(between: str) -> Callable[[Any], str]:
    return json.JSONEncoder(ensure_ascii=False, separators=(between, ": ")).encode


def read_json(source: str | os.PathLike[str], shape: Shape = object) -> Any:
    """Read a JSON file and check its shape.

    Args:
        source: the file, UTF-8.
        shape: the expected shape, see `shape_problems`; anything by default.

    Raises:
        InputError: if the file is missing, cannot be read, is not JSON, or has another shape.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.json"
        >>> write_json(file, {"rows": [{"seed": 1}]})
        >>> read_json(file, {"rows": [{"seed": int}]})["rows"]
        [{'seed': 1}]
    """
    text = read_text(source)
    try:
        content = json.loads(text)
        if "\\u" in text:
            json.dumps(content, ensure_ascii=False).encode()  # a lone surrogate could never be printed or written
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise InputError(
            f"'{source}' is not valid JSON ({why}); the file is damaged: restore it, or make it again"
        ) from error
    raise_if_any(
        f"'{source}': {problem}; the file is damaged or is not the right one: restore it, or make it again"
        for problem in shape_problems(content, shape)
    )
    return content


def read_text(source: str | os.PathLike[str]) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: if it is missing, cannot be read, is not an ordinary file, or is not text.
    """
    raise_if_any(filter(None, [special_problem(source)]))
    try:
        return Path(source).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"'{source}' does not exist; check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{source}' is not UTF-8 text ({error.reason} at byte {error.start}); the file is damaged: restore it, or "
            "save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"'{source}' cannot be read ({error}); check the path and its permissions") from error


def shape_problems(content: Any, shape: Shape, place: str = "it") -> list[str]:
    """List where content does not have the expected shape, one sentence each.

    Args:
        content: the content of a JSON file.
        shape: a type or a union of types; a mapping from required keys to their shapes (more keys are allowed); or a
            list with one shape, that of every entry.
        place: the name of the content in the sentences.

    Example:
        >>> shape_problems({"rows": [{"seed": "1"}]}, {"rows": [{"seed": int}], "status": str})
        ["rows, entry 1, seed holds text ('1') instead of a whole number", "it has no key 'status'"]
    """
    kind = dict if isinstance(shape, Mapping) else list if isinstance(shape, list) else shape
    if not _is_a(content, kind):
        return [f"{place} holds {_in_words(content)} instead of {_kind_in_words(kind)}"]
    inside = "" if place == "it" else f"{place}, "
    if isinstance(shape, Mapping):
        return [
            problem
            for key, value in shape.items()
            for problem in (
                shape_problems(content[key], value, f"{inside}{key}")
                if key in content
                else [f"{place} has no key {key!r}"]
            )
        ]
    if isinstance(shape, list):
        return [
            problem
            for number, value in enumerate(content, start=1)
            for problem in shape_problems(value, shape[0], f"{inside}entry {number}")
        ]
    return []


def _is_a(content: Any, kind: Any) -> bool:
    kinds = kind.__args__ if isinstance(kind, UnionType) else (kind,)
    if isinstance(content, bool):  # bool is a subclass of int
        return bool in kinds or object in kinds
    return isinstance(content, kinds) or (float in kinds and isinstance(content, int))


def _kind_in_words(kind: Any) -> str:
    kinds = kind.__args__ if isinstance(kind, UnionType) else (kind,)
    return " or ".join(_JSON_WORDS.get(each, each.__name__) for each in kinds)


def _in_words(content: Any) -> str:
    words = _JSON_WORDS[type(content)]
    if content is None or isinstance(content, dict | list):
        return words
    shown = repr(content)
    return f"{words} ({shown if len(shown) <= 40 else shown[:40] + '...'})"


def is_utf8(name: str | os.PathLike[str]) -> bool:
    r"""Whether a name or path can be written into a file; file systems allow bytes that are not UTF-8.

    Example:
        >>> is_utf8("Zürich"), is_utf8(os.fsdecode(b"Z\xfcrich"))
        (True, False)
    """
    return not any("\ud800" <= letter <= "\udfff" for letter in str(name))


def absence(path: str | os.PathLike[str]) -> str:
    """Why a path is not that of a file: it does not exist, or is a folder."""
    return "is not a file" if os.path.exists(path) else "does not exist"


def special_problem(source: str | os.PathLike[str]) -> str | None:
    """Why a path must not be opened; None if it may be opened, or does not exist.

    Reading a device, a pipe or a socket may never end, and everything under `/proc`, `/sys` and `/dev` belongs to the
    system. Links are followed.

    Example:
        >>> special_problem("/dev/zero")
        "'/dev/zero' is not an ordinary file (it is under /dev); give a file that holds the data, or a copy of it"
    """
    try:
        mode, real = os.stat(source).st_mode, os.path.realpath(source)
    except (OSError, ValueError):
        return None
    why = next((f"it is under {place}" for place in _NOT_FILES if f"{real}/".startswith(f"{place}/")), "")
    if f"{real}/".startswith(f"{_MEMORY}/"):
        why = ""
    if not why and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        why = "it is a device, a pipe or a socket"
    return (
        f"'{source}' is not an ordinary file ({why}); give a file that holds the data, or a copy of it" if why else None
    )


def link_problems(folder: str | os.PathLike[str]) -> list[str]:
    """The links in a folder, one problem each: an untrusted folder could use them to point anywhere.

    Args:
        folder: the folder; it may be a link itself, since the user who names it knows where it leads.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "runs").symlink_to("/")
        >>> len(link_problems(folder))
        1
    """
    links = [
        os.path.join(place, name)
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if os.path.islink(os.path.join(place, name))
    ]
    return [
        f"'{name}' is a link, and its target was chosen by the maker of '{folder}'; replace the link by the file or "
        "folder itself"
        for name in sorted(links)
    ]


def has_sha256(source: Path, digest: str | None) -> bool:
    """Whether a file is there and has a digest.

    Example:
        >>> has_sha256(Path("nowhere.json"), "a1")
        False
    """
    return source.is_file() and file_sha256(source) == digest


def file_sha256(source: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits; for a folder (a DICOM series), that of its files' digests.

    A `.gz` file is hashed by its decompressed content, since compressing it again changes its bytes. In a folder,
    hidden files are skipped, and the names and order of files do not matter: a renamed copy of a series is a copy.

    Raises:
        InputError: if it is not an ordinary file, or is a damaged `.gz` file.
    """
    raise_if_any(filter(None, [special_problem(source)]))
    if os.path.isdir(source):
        files = (entry.path for entry in os.scandir(source) if entry.is_file() and not entry.name.startswith("."))
        return hashlib.sha256("".join(sorted(map(file_sha256, files))).encode()).hexdigest()
    if str(source).lower().endswith(".gz"):
        return _content_sha256(source)
    try:
        with open(source, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except ValueError as error:  # such as a NUL in its name
        raise InputError(f"{str(source)!r} is not a path ({error}); give the path of a file") from error


def _content_sha256(source: str | os.PathLike[str]) -> str:
    """The SHA-256 of the decompressed content, read to the end, where gzip checks checksum and length."""
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(source) as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
                size += len(part)
                if size > MOST_UNPACKED:
                    raise InputError(
                        f"'{source}' unpacks to more than {MOST_UNPACKED:,} bytes, which is not a volume; leave it out"
                    )
        return digest.hexdigest()
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"'{source}' is damaged ({error}): its content is not what was compressed; replace it by an intact copy"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
