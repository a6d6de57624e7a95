"""Kinds of values in conditions: only like is compared with like, since otherwise nothing is found, or everything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from mu_monai.errors import InputError

_NUMBERS, _TEXT, _YES_OR_NO, _MIXED, _NOTHING = "numbers", "text", "true or false", "values of several kinds", "nothing"
_ONE = {_NUMBERS: "a number", _TEXT: "text", _YES_OR_NO: "true or false"}
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)\s*")
_HALF = 0.5  # a column of text looks like numbers if so many of its values do


def refuse_other_kinds(left: Any, right: Any) -> None:
    """Refuse to compare numbers with text, and the like: they are never equal, so that `!=` and `not` find everything.

    Args:
        left: a column, `(n,)`, a constant, or a list of constants.
        right: the same.

    Raises:
        InputError: with what each side holds, and how to write it.

    Example:
        >>> refuse_other_kinds(pd.Series([1, 2], name="site"), "1")
        Traceback (most recent call last):
        mu_monai.errors.InputError: '1' is text, and 'site' holds numbers; write it without quotes
    """
    columns = [side for side in (left, right) if isinstance(side, pd.Series)]
    if len(columns) > 1:
        _refuse_other_column(*columns)
    for column in columns:
        for side in (left, right):
            if not isinstance(side, pd.Series):
                _refuse_other_constants(column, side if isinstance(side, list) else [side])


def refuse_numbers_as_text(*sides: Any) -> None:
    """Refuse to put text in order that looks like numbers: it is in the order of the alphabet, `12,5` before `9,7`.

    Whole numbers of as many digits each, such as `007` and `010`, have the same order as text.

    Args:
        sides: columns, `(n,)`, and constants.

    Raises:
        InputError: with a value, and what to do.

    Example:
        >>> refuse_numbers_as_text(pd.Series(["007", "010"], name="ward"), "008")
        >>> refuse_numbers_as_text(pd.Series(["2,5", "12,5"], name="size"), "9,7")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mu_monai.errors.InputError: 'size' holds text that looks like numbers, such as '2,5', which would be put in ...
    """
    texts = [texts_in(side) for side in sides]
    numbers = [[text for text in found if _NUMBER.fullmatch(text)] for found in texts]
    if not any(some and len(some) >= _HALF * len(all_) for some, all_ in zip(numbers, texts, strict=True)):
        return
    everything = [text for found in texts for text in found]
    if all(text.isdecimal() for text in everything) and len({*map(len, everything)}) == 1:
        return
    column = next((side for side in sides if isinstance(side, pd.Series)), None)
    where = "the condition" if column is None else repr(column.name)
    some = next(found[0] for found in numbers if found)
    raise InputError(
        f"{where} holds text that looks like numbers, such as {some!r}, which would be put in the order of the "
        "alphabet: '12,5' before '9,7', and '10' before '9'; write numbers with a point and without leading zeros in "
        "the table, and without quotes in the condition"
    )


def texts_in(side: Any) -> list[str]:
    """The texts of a column or constant; none if it holds anything else."""
    values = side.dropna().tolist() if isinstance(side, pd.Series) else [side]
    return values if all(isinstance(value, str) for value in values) else []


def _refuse_other_column(left: pd.Series, right: pd.Series) -> None:
    kinds = [_kind(column.dropna()) for column in (left, right)]
    if _NOTHING not in kinds and (kinds[0] != kinds[1] or _MIXED in kinds):
        raise InputError(
            f"{left.name!r} holds {kinds[0]}, and {right.name!r} holds {kinds[1]}, which cannot be compared; make them "
            "alike in the table"
        )


def _refuse_other_constants(column: pd.Series, wanted: Iterable[Any]) -> None:
    holds = _kind(column.dropna())
    for value in wanted:
        if value is None:
            raise InputError(f"None is not a value; write {column.name}.isna() or {column.name}.notna()")
        kind = _kind([value])
        if holds in (_NOTHING, kind) or ({holds, kind} == {_NUMBERS, _YES_OR_NO} and value in (0, 1)):
            continue  # 1 and 0 are true and false
        how = {
            _NUMBERS: "write it without quotes",
            _TEXT: "write it in quotes",
            _YES_OR_NO: "write True or False, without quotes",
        }.get(holds, "give all of them one kind in the table")
        raise InputError(f"{value!r} is {_ONE[kind]}, and {column.name!r} holds {holds}; {how}")


def _kind(values: pd.Series | list[Any]) -> str:
    if isinstance(values, pd.Series):
        if values.empty:
            return _NOTHING
        if pd.api.types.is_bool_dtype(values):
            return _YES_OR_NO
        if pd.api.types.is_numeric_dtype(values):
            return _NUMBERS
    kinds = {_TEXT if isinstance(v, str) else _YES_OR_NO if isinstance(v, bool) else _NUMBERS for v in values}
    return kinds.pop() if len(kinds) == 1 else _MIXED
