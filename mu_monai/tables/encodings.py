"""The text of a file that somebody else wrote, whatever the encoding; or why it is not text."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import special_problem

_BINARY = {  # how files begin that are taken for tables, and what they are
    b"PK\x03\x04": "a workbook (.xlsx, .ods) or another zip archive",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel (.xls)",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a compressed file (.gz)",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "a database",
}
_MARKS = {  # byte order marks; that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_HALF = 0.4  # share of NUL bytes at every second place that only UTF-16 has


def foreign_text(source: str | os.PathLike[str]) -> tuple[str, str]:
    """Read a text file of any usual encoding: UTF-8 or UTF-16 with or without a byte order mark, or cp1252.

    A file that is UTF-8 but for a few bytes is damaged, and is not taken for cp1252.

    Returns:
        the text, with the line ends of the file, and the name of its encoding.

    Raises:
        InputError: if it is missing, cannot be read, is not an ordinary file, is empty, or is not text.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = file.write_bytes("Zürich".encode("cp1252"))
        >>> foreign_text(file)
        ('Zürich', 'cp1252')
    """
    data = _bytes(source)
    kind = next((kind for start, kind in _BINARY.items() if data.startswith(start)), None)
    if kind is not None:
        raise InputError(f"'{source}' is {kind} and not a CSV file; open it and save the table as 'CSV UTF-8'")
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{source}' is not text in UTF-8, UTF-16 or cp1252 ({error.reason} at byte {error.start}, line "
            f"{data.count(10, 0, error.start) + 1}); the file is damaged: restore it, or save it as UTF-8"
        ) from None
    raise_if_any(
        f"'{source}' is not text: line {text.count(chr(10), 0, odd.start()) + 1} holds the control character "
        f"{odd[0]!a}; restore the file, or save it as UTF-8"
        for odd in [_CONTROL.search(text)]
        if odd
    )
    text = text.lstrip("\ufeff")  # a mark that says the encoding, with which even an empty file may begin
    if not text.strip():
        raise InputError(f"'{source}' is empty; save the table again as CSV")
    return text, "utf-8" if encoding == "utf-8-sig" else encoding


def _bytes(source: str | os.PathLike[str]) -> bytes:
    raise_if_any(filter(None, [special_problem(source)]))
    try:
        return Path(source).read_bytes()
    except FileNotFoundError:
        raise InputError(f"'{source}' does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"'{source}' cannot be read ({error}); check the path and its permissions") from error


def _encoding(data: bytes) -> str:
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if marked:
        return marked
    for name, start in (("utf-16-le", 1), ("utf-16-be", 0)):
        if data[start::2].count(0) > _HALF * len(data) / 2:
            return name
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        valid = data.decode("utf-8", errors="ignore")
        return "cp1252" if valid.isascii() else "utf-8"  # letters that are whole in UTF-8 show that it is damaged
    return "utf-8"
