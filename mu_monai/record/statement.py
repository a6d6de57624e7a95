"""An in-toto Statement: which files a record is about, each by its SHA-256, and what it states about them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:mu-monai:unlearning-record:v1"
FORMAT = 2
READABLE = (1, FORMAT)  # formats
RECORD_JSON = "record.dsse.json"
EVIDENCE = "evidence/scores.csv"
_NO_FILE = "no plain file"  # instead of a digest: the target of a link may change after signing


def statement(
    folder: str | os.PathLike[str],
    predicate: Mapping[str, Any],
    *,
    added: Mapping[str, str | os.PathLike[str]] | None = None,
) -> dict[str, Any]:
    """A Statement about all files of a folder, including hidden ones, except the record itself.

    Args:
        folder: the folder to hand over.
        predicate: what the record states about it.
        added: files from elsewhere that are about to be put into the folder, by their names in it.

    Source: in-toto attestation framework, Statement layer, version 1.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("a")
        >>> subject = statement(folder, {})["subject"][0]
        >>> subject["name"], subject["digest"]["sha256"][:8]
        ('a.txt', 'ca978112')
    """
    digests = _digests(folder) | {name: _digest(Path(path)) for name, path in (added or {}).items()}
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": dict(predicate),
    }


def type_problem(content: Any) -> str:
    """Why content is not a Statement with an unlearning record; empty if it is.

    Example:
        >>> type_problem({"_type": STATEMENT_TYPE, "predicateType": "https://slsa.dev/provenance/v1"})
        "predicateType is 'https://slsa.dev/provenance/v1', not 'urn:mu-monai:unlearning-record:v1'"
    """
    fields = content if isinstance(content, Mapping) else {}
    for key, needed in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if fields.get(key) != needed:
            return f"{key} is {fields.get(key)!r}, not {needed!r}"
    number = fields["predicate"].get("format") if isinstance(fields.get("predicate"), Mapping) else None
    if type(number) is int and number in READABLE:
        return ""
    return f"the record has format {number!r}; this version reads the formats {', '.join(map(str, READABLE))}"


def file_problems(
    folder: str | os.PathLike[str], subject: Sequence[Mapping[str, Any]], *, absent: Sequence[str] = ()
) -> list[str]:
    """Every file that does not match a Statement: changed, missing or extra.

    Args:
        folder: the folder that was handed over.
        subject: the Statement's subjects.
        absent: names of subjects that may be missing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("a")
        >>> subject = statement(folder, {})["subject"]
        >>> _ = (folder / "a.txt").write_text("b"), (folder / "b.txt").write_text("b")
        >>> file_problems(folder, subject)
        ["'a.txt' was changed after signing", "'b.txt' was added after signing"]
    """
    signed = {entry["name"]: entry["digest"]["sha256"] for entry in subject}
    twice = ["the record names a file twice"] if len(signed) < len(subject) else []
    return [*twice, *_differences(_digests(folder), signed, absent)]


def _differences(now: Mapping[str, str], signed: Mapping[str, str], absent: Sequence[str]) -> Iterator[str]:
    for name in sorted(now.keys() | signed.keys()):
        if name not in signed:
            yield f"'{name}' was added after signing"
        elif name not in now:
            if name not in absent:
                yield f"'{name}' is missing"
        elif now[name] != signed[name] or now[name] == _NO_FILE:
            yield f"'{name}' was changed after signing"


def _digests(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The SHA-256 of every file; a link is listed as a link, and never matches a digest."""
    root = Path(folder)
    paths = [path for path in sorted(root.rglob("*")) if path.is_symlink() or not path.is_dir()]
    names = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: _digest(path) for name, path in names.items() if name != RECORD_JSON}


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return _NO_FILE
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
