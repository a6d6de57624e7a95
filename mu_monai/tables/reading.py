"""The one reader of CSV tables, which detects damaged files and says what it had to find out."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_text
from mu_monai.tables.cells import COMMA, Cells, parsed, parsed_as_it_is
from mu_monai.tables.encodings import foreign_text
from mu_monai.tables.likeness import title

_log = logging.getLogger(__name__)

_ADVICE = "restore the file, or make it again; a table is comma-separated UTF-8 text with a header line"
_CODE = re.compile(r"0\d+|\d{16,}")  # whole numbers that lose digits as numbers: 007, and long accession numbers


def read_table(
    source: str | os.PathLike[str],
    columns: Sequence[str] = (),
    *,
    numbers: bool = False,
    text: Sequence[str] = (),
    foreign: bool = False,
) -> pd.DataFrame:
    """Read a table with a header line; text columns stay exactly as they are.

    Args:
        source: the CSV file: UTF-8 with commas, unless it is foreign.
        columns: the required columns; a required text column must not have empty cells.
        numbers: whether all columns except text columns must hold numbers.
        text: text columns: `007` keeps its zeros, `NA`, `null` and `None` are names, and only an empty cell is missing.
            The types of the other columns are inferred, and numbers are read to the last digit.
        foreign: whether other people or programs wrote it. Then encoding (UTF-8, UTF-16, cp1252) and separator (comma,
            semicolon, tab, vertical bar) are found, and logged if they are not ours; spaces around names and cells are
            removed; a column of codes such as `007` is text as well; and words such as `NA` and `None` are missing
            values only among numbers, or among true and false, which is logged.

    Raises:
        InputError: if it cannot be read, is not a table, names a column twice, lacks a required column or cell, or has
            a row with more or fewer cells than the header, with its line.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/scores.csv"
        >>> pd.DataFrame({"case_id": ["007", "NA"], "dice": [0.5, None]}).to_csv(file, index=False)
        >>> read_table(file, ["case_id"], numbers=True, text=["case_id"])["case_id"].tolist()
        ['007', 'NA']
    """
    cells, content = foreign_cells(source, [*columns, *text]) if foreign else _own_cells(source)
    declared = text
    if foreign:
        text = [*text, *_codes(cells)]
    try:
        raw = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False, na_values=[""], index_col=False)
        table = pd.read_csv(
            io.StringIO(content), float_precision="round_trip", index_col=False, low_memory=False, dtype=_dtype(text)
        )
    except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"'{source}' is not a readable table ({str(error).strip()}); {_ADVICE}") from error
    if foreign:
        text = [*text, *_words(table.drop(columns=[name for name in declared if name in table]), raw, source)]
    text_columns: dict[str, Any] = {name: raw[name] for name in text if name in raw}
    table = table.assign(**text_columns)
    table = table.loc[:, [bool(name) for name in cells.header]]  # those without a name are empty
    raise_if_any(f"'{source}' {problem}; {_ADVICE}" for problem in _column_problems(table, columns, numbers, text))
    return table


def foreign_cells(source: str | os.PathLike[str], wanted: Sequence[str]) -> tuple[Cells, str]:
    """The cells of a table that somebody else wrote, and the table as text with commas; see `read_table`.

    Raises:
        InputError: as `read_table` does; also if the header nearly has a column that is wanted.
    """
    content, encoding = foreign_text(source)
    cells = _checked(source, lambda: parsed_as_it_is(content, wanted))
    raise_if_any(f"'{source}' {problem}" for check in (_nearly_wanted, _broken_ids) for problem in check(cells, wanted))
    if encoding == "cp1252":
        letters = sorted(set(re.findall(r"\w*[^\x00-\x7f]\w*", content)), key=len)
        _log.warning("'%s' is not UTF-8 and is read as cp1252 (Windows); check names such as '%s'", source, letters[-1])
    elif encoding != "utf-8":
        _log.info("'%s' is read as %s", source, encoding)
    if cells.separator != COMMA:
        _log.info("'%s' has %s between its cells", source, cells.separated_by)
    return cells, cells.text()


def _own_cells(source: str | os.PathLike[str]) -> tuple[Cells, str]:
    content = read_text(source)
    if "\0" in content:
        raise InputError(f"'{source}' is not a readable table (it holds NUL bytes); {_ADVICE}")
    return _checked(source, lambda: parsed(content)), content


def _checked(source: str | os.PathLike[str], read: Callable[[], Cells]) -> Cells:
    try:
        cells = read()
    except csv.Error as error:
        raise InputError(f"'{source}' is not a readable table ({error}); {_ADVICE}") from None
    problems = list(cells.problems()) if cells.header else [f"it is empty; {_ADVICE}"]
    raise_if_any(f"'{source}' is not a readable table: {problem}" for problem in problems)
    return cells


def _dtype(text: Sequence[str]) -> dict[str, type[str]]:
    return dict.fromkeys(text, str)


def _codes(cells: Cells) -> list[str]:
    """The columns with a whole number that would lose digits if it was read as a number."""
    columns = zip(cells.header, zip(*cells.rows, strict=True), strict=False)
    return [name for name, column in columns if name and any(map(_CODE.fullmatch, column))]


def _words(table: pd.DataFrame, raw: pd.DataFrame, source: str | os.PathLike[str]) -> list[str]:
    """The columns of words, where `NA` is one of them, such as the country; those of numbers lack a value there."""
    words = []
    for name in table:
        values, dropped = table[name].dropna(), raw[name][table[name].isna() & raw[name].notna()]
        numbers = pd.api.types.is_numeric_dtype(table[name]) or all(isinstance(value, bool) for value in values)
        words += [] if numbers else [str(name)]
        if len(dropped):
            _log.info(
                "'%s' has %r in %d cells of %r, which is read as %s",
                source,
                dropped.iloc[0],
                len(dropped),
                name,
                "a missing value" if numbers else "that word; leave a cell empty if its value is missing",
            )
    return words


def _nearly_wanted(cells: Cells, wanted: Sequence[str]) -> Iterator[str]:
    """A column whose name differs from a wanted one in case, spaces or signs would be overlooked."""
    for name in wanted:
        near = [other for other in cells.header if title(other) == title(name)]
        if near and not {*near} & {*wanted}:
            yield f"has the column {near[0]!r} and not {name!r}; rename it"


def _broken_ids(cells: Cells, wanted: Sequence[str]) -> Iterator[str]:
    """A line break in an id or path is a mistake of whoever wrote the table."""
    for name in {*wanted} & {*cells.header}:
        at = cells.header.index(name)
        for line, row in zip(cells.lines, cells.rows, strict=True):
            if len(row[at].splitlines()) > 1:
                yield f"has a line break in {name}, in the row that begins in line {line}; write it in one line"


def _column_problems(table: pd.DataFrame, columns: Sequence[str], numbers: bool, text: Sequence[str]) -> Iterator[str]:
    absent = [name for name in columns if name not in table]
    if absent:
        yield f"has no column {', '.join(map(repr, absent))}; needed: {', '.join(columns)}"
    for name in columns:
        if name in table and name in text and table[name].isna().any():
            yield f"has an empty cell in column {name!r}, row {int(table[name].isna().argmax()) + 1}"
    wrong = [name for name in table if name not in text and not pd.api.types.is_numeric_dtype(table[name])]
    if numbers and wrong:
        yield f"has text in {', '.join(map(repr, wrong))}; only numbers are allowed there"
