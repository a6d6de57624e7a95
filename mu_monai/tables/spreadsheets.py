"""Tables that a spreadsheet can open without running anything."""

from __future__ import annotations

from typing import Any

import pandas as pd

FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # characters that start a formula in a spreadsheet  # noqa: RUF001


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
