"""Dates in conditions: compared as dates, or refused, and never as text."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from mu_monai.data.kinds import texts_in
from mu_monai.errors import InputError

_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?:[T ].*)?|(?:19|20)\d{6}")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?|\d{8}")
_HALF = 0.5  # a column holds dates if so many of its values do
_ADVICE = "write dates as YYYY-MM-DD, in the table and in the condition, such as '2021-03-31'"


def as_dates(*sides: Any) -> tuple[Any, ...]:
    """What a condition puts in order: dates in place of texts with dates, and all else as it is.

    Args:
        sides: columns, `(n,)`, and constants.

    Raises:
        InputError: if one of them holds dates, and one of them something that is not a date as ISO 8601 writes it, such
            as `03/04/2021`, which may be in March or April.

    Source: ISO 8601.

    Example:
        >>> as_dates(pd.Series(["2021-03-31", "20210401"]), "2021-04-01")[0].dt.day.tolist()
        [31, 1]
    """
    if not any(map(_holds_dates, sides)):
        return sides
    return tuple(map(_dates, sides))


def refuse_other_dates(column: pd.Series, wanted: list[Any]) -> None:
    """Refuse to look for dates that are written in another way than those of a column: none would be found.

    Raises:
        InputError: with both ways.
    """
    dates = [value for value in wanted if isinstance(value, str) and _DATE.fullmatch(value)]
    if not (dates and _holds_dates(column)):
        return
    texts = texts_in(column)
    have = set(map(_form, texts))
    odd = next((value for value in dates if _form(value) not in have), None)
    if odd is not None:
        raise InputError(
            f"{odd!r} is a date in another form than those of {column.name!r}, such as {texts[0]!r}; {_ADVICE}"
        )


def _holds_dates(side: Any) -> bool:
    texts = texts_in(side)
    return bool(texts) and sum(map(bool, map(_DATE.fullmatch, texts))) >= _HALF * len(texts)


def _dates(side: Any) -> Any:
    where = f"column {side.name!r}" if isinstance(side, pd.Series) else "the condition"
    values = side.dropna().tolist() if isinstance(side, pd.Series) else [side]
    odd = next((value for value in values if not (isinstance(value, str) and _ISO.fullmatch(value))), None)
    if odd is None:
        try:
            return pd.to_datetime(side, format="ISO8601")
        except ValueError:  # such as a 30th of February
            odd = next(value for value in values if pd.isna(pd.to_datetime(value, format="ISO8601", errors="coerce")))
    raise InputError(f"dates are compared, and {odd!r} in {where} is not a date that has one meaning; {_ADVICE}")


def _form(text: str) -> str:
    """A text with a 0 in place of every digit."""
    return re.sub(r"\d", "0", text)
