"""CSV tables: one reader, which detects damaged files, and one way to make tables safe for spreadsheets."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_text

FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # characters that start a formula in a spreadsheet  # noqa: RUF001


def read_table(
    source: str | os.PathLike[str],
    columns: Sequence[str] = (),
    *,
    numbers: bool = False,
    text: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table with a header line; text columns stay exactly as they are.

    Args:
        source: the CSV file, UTF-8.
        columns: the required columns; a required text column must not have empty cells.
        numbers: whether all columns except text columns must hold numbers.
        text: text columns: `007` keeps its zeros, `NA`, `null` and `None` are names, and only an empty cell is missing.
            The types of the other columns are inferred, and numbers are read to the last digit.

    Raises:
        InputError: if it cannot be read, is not a table, or lacks a required column or cell.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/scores.csv"
        >>> pd.DataFrame({"case_id": ["007", "NA"], "dice": [0.5, None]}).to_csv(file, index=False)
        >>> read_table(file, ["case_id"], numbers=True, text=["case_id"])["case_id"].tolist()
        ['007', 'NA']
    """
    content = read_text(source)
    raise_if_any(f"'{source}' is not a readable table ({problem}); {_ADVICE}" for problem in _text_problems(content))
    try:
        raw = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False, na_values=[""], index_col=False)
        table = pd.read_csv(
            io.StringIO(content), float_precision="round_trip", index_col=False, low_memory=False, dtype=_dtype(text)
        )
    except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"'{source}' is not a readable table ({str(error).strip()}); {_ADVICE}") from error
    text_columns: dict[str, Any] = {name: raw[name] for name in text if name in raw}
    table = table.assign(**text_columns)
    raise_if_any(f"'{source}' {problem}; {_ADVICE}" for problem in _column_problems(table, columns, numbers, text))
    return table


def for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before any text that a spreadsheet would run as a formula. For people, not programs.

    Source: OWASP, *CSV Injection*.

    Example:
        >>> for_spreadsheets(pd.DataFrame({"patient_id": ["=1+1", "a=b"], "gap": [-0.5, 1]})).values.tolist()
        [["'=1+1", -0.5], ['a=b', 1.0]]
    """
    return table.map(_plain).rename(columns=_plain)


def is_formula(cell: object) -> bool:
    """Whether a spreadsheet would read a cell as a formula: text that starts like one, and is not a number."""
    if not (isinstance(cell, str) and cell.startswith(FORMULA) and len(cell) > 1):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _plain(cell: Any) -> Any:
    return f"'{cell}" if is_formula(cell) else cell


_ADVICE = "restore the file, or make it again; a table is comma-separated UTF-8 text with a header line"


def _dtype(text: Sequence[str]) -> dict[str, type[str]]:
    return dict.fromkeys(text, str)


def _text_problems(content: str) -> Iterator[str]:
    """Why a text is not a table, although pandas might read it as one."""
    if "\0" in content:
        yield "it holds NUL bytes"
        return
    try:
        rows = [row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if row]
    except csv.Error as error:
        yield str(error)
        return
    if not rows:
        yield "it is empty"
        return
    names = [name for name in rows[0] if name]
    if len(set(names)) < len(names):
        yield f"its header names a column twice: {', '.join(rows[0])}"
    odd = [(number, len(row)) for number, row in enumerate(rows[1:], start=1) if len(row) != len(rows[0])]
    if odd:
        yield f"row {odd[0][0]} has {odd[0][1]} cells and the header has {len(rows[0])}"


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
