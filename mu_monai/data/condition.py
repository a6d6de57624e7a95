"""A condition over the columns of a table, read as data: only allowlisted expressions are evaluated.

`DataFrame.eval` can reach every attribute and method of a column, and through them files and programs. This module
reads the part of that language that choosing rows needs, and gives the same answers.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import Any

import pandas as pd

from mu_monai.data.dates import as_dates, refuse_other_dates
from mu_monai.data.kinds import refuse_numbers_as_text, refuse_other_kinds
from mu_monai.data.manifest import nearest_names
from mu_monai.errors import InputError, raise_if_any

ALLOWED = (
    "a condition may use columns (those with spaces, or called like a word of Python, `in backticks`), quoted text, "
    "numbers, lists of these, == != < <= > >=, in, not in, and, or, not, & | ~, + - * / // %, .isna(), .notna(), "
    ".isnull(), .notnull(), .isin([...]), .between(a, b), and .str.contains('x'), .str.startswith('x'), "
    ".str.endswith('x'), .str.lower(), .str.upper(), .str.strip(), .str.len()"
)
_LONGEST, _DEEPEST = 20_000, 40  # characters, and levels of the tree
_LARGEST = 2**53  # up to here, whole numbers are exact in every type
_SHOWN = 60

# Quoted text, which stays as it is; a column in backticks; & and |, with the precedence of `and` and `or` as in pandas.
_PARTS = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|`((?:[^`]|``)+)`|([&|])""", re.DOTALL)
_WORDS = {"&": " and ", "|": " or "}

_Binary = Callable[[Any, Any], Any]
_LOGIC: dict[type[ast.AST], _Binary] = {ast.And: operator.and_, ast.Or: operator.or_}
_NUMBERS: dict[type[ast.AST], _Binary] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ORDER: dict[type[ast.AST], _Binary] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: dict[type[ast.AST], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_NOT, _MEMBER, _EQUAL = (ast.Not, ast.Invert), (ast.In, ast.NotIn), (ast.Eq, ast.NotEq)
_OPERATORS = (*_LOGIC, *_NUMBERS, *_SIGNS, *_NOT)
_LIST, _SCALAR = (ast.List, ast.Tuple), (bool, int, float, str)


@dataclass(frozen=True)
class _Method:
    """How a method may be called: the types of its arguments, all constants, and its boolean options."""

    takes: tuple[type, ...] = ()
    may_be_left_out: bool = False
    options: Mapping[str, bool] = field(default_factory=dict)


_METHODS = {
    **dict.fromkeys(("isna", "notna", "isnull", "notnull"), _Method()),
    "isin": _Method((list,)),
    "between": _Method((object, object)),
}
_TEXT_METHODS = {
    "contains": _Method((str,), options={"na": False, "case": True, "regex": False}),
    **dict.fromkeys(("startswith", "endswith"), _Method((str,), options={"na": False})),
    **dict.fromkeys(("lower", "upper", "len"), _Method()),
    "strip": _Method((str,), may_be_left_out=True),
}


def matching_rows(table: pd.DataFrame, text: str) -> pd.Series:
    """Evaluate a condition over the columns of a table.

    A missing value satisfies only `!=`, `not in`, `isna` and `isnull`. Texts that are dates are put in order as dates.
    Numbers are not compared with text, nor text that looks like numbers put in order.
    `.str.contains` searches for its argument as plain text; it is a regular expression only with `regex=True`.

    Args:
        table: the rows.
        text: the condition, such as `device == 'a' and age > 60`.

    Returns:
        true or false for each row, `(n,)`; missing for a row if the types of its columns support missing values.

    Raises:
        InputError: if the text contains anything that is not allowed, or an unknown column; this is found before any of
            it is evaluated. Also if values cannot be compared, or the answer is not true or false for each row.

    Example:
        >>> table = pd.DataFrame({"device": ["a", "b", None], "age": [50, 60, 70]})
        >>> matching_rows(table, "device == 'a' or 60 < age <= 70").tolist()
        [True, False, True]
        >>> matching_rows(table, "device.to_csv('x')")
        Traceback (most recent call last):
        mu_monai.errors.InputError: query "device.to_csv('x')" cannot be evaluated: ...
    """
    tree = _parsed(text)
    table = table.rename(columns=str)
    refused = list(dict.fromkeys(_refused(tree)))
    problems = [_sentence(text, f"{', '.join(refused)} may not be used")] if refused else []
    names = dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    problems += [
        f"{name!r} in {text!r} is not a column; {nearest_names(name, table.columns)}"
        for name in names
        if name not in table.columns
    ]
    raise_if_any(problems)
    try:
        return _truth(_value(tree, table))
    except _NotYesOrNoError:
        raise InputError(
            f"query {text!r} is not true or false for each row; write for example \"device == 'a'\""
        ) from None
    except InputError as error:
        raise InputError([f"query {text!r}: {problem}" for problem in error.problems]) from None
    except Exception as error:  # pandas raises all kinds of errors for values that cannot be compared
        raise InputError(_sentence(text, f"{type(error).__name__}: {error}")) from None


class _NotYesOrNoError(Exception):
    pass


def _sentence(text: str, reason: str) -> str:
    shown = text if len(text) <= _LONGEST else f"{text[:_SHOWN]}..."
    return f"query {shown!r} cannot be evaluated: {reason}; {ALLOWED}"


def _parsed(text: str) -> ast.expr:
    """The syntax tree of a condition, with the columns' real names."""
    if len(text) > _LONGEST:
        raise InputError(_sentence(text, f"it has {len(text)} characters, more than {_LONGEST}"))
    source, quoted = _without_backticks(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as those about backslashes in text
            tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(_sentence(text, str(error) or type(error).__name__)) from None
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise InputError(_sentence(text, f"it is nested deeper than {_DEEPEST} levels"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
    return tree


def _without_backticks(text: str) -> tuple[str, dict[str, str]]:
    """A condition that Python can parse, and the column that each placeholder in it stands for."""
    mark = "quoted_"
    while mark in text:
        mark += "_"
    quoted: dict[str, str] = {}

    def replaced(part: re.Match[str]) -> str:
        if part[2] is None:
            return part[1] or _WORDS[part[3]]
        name = f"{mark}{len(quoted)}"
        quoted[name] = part[2].replace("``", "`")
        return f" {name} "

    return _PARTS.sub(replaced, text).strip(), quoted


def _refused(node: ast.AST) -> Iterator[str]:
    """The parts of a tree that are not allowed."""
    match node:
        case ast.Name():
            pass
        case ast.Constant(value=value) if (value is None or isinstance(value, _SCALAR)) and not _too_large(value):
            pass
        case ast.Call():
            yield from _refused_call(node)
        case ast.Compare():
            yield from _refused_comparison(node)
        case ast.BoolOp() | ast.BinOp() | ast.UnaryOp() if isinstance(node.op, _OPERATORS):
            for operand in ast.iter_child_nodes(node):
                yield from [] if operand is node.op else _refused(operand)
        case _:
            yield _shown(node)


def _refused_comparison(node: ast.Compare) -> Iterator[str]:
    for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
        member, listed = isinstance(op, _MEMBER), isinstance(right, _LIST)
        fits = listed if member else type(op) in _ORDER and (not listed or isinstance(op, _EQUAL))
        if not fits or isinstance(left, _LIST):
            yield _shown(node)
    for operand in (node.left, *node.comparators):
        yield from _refused_constants(operand.elts) if isinstance(operand, _LIST) else _refused(operand)


def _refused_constants(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        signed = isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS
        constant = node.operand if isinstance(node, ast.UnaryOp) and signed else node
        yield from _refused(constant) if isinstance(constant, ast.Constant) else [_shown(node)]


def _refused_call(node: ast.Call) -> Iterator[str]:
    call = _Call.of(node)
    if call is None:
        yield _shown(node)
        return
    yield from _refused(call.receiver)
    for argument in node.args:
        yield from _refused_constants(argument.elts if isinstance(argument, _LIST) else [argument])
    method = call.method
    fits = len(node.args) == len(method.takes) or (method.may_be_left_out and not node.args)
    known = all(
        option.arg in method.options and isinstance(option.value, ast.Constant) and isinstance(option.value.value, bool)
        for option in node.keywords
    )
    if not (fits and known and all(map(_is_a, node.args, method.takes))):
        yield _shown(node)


@dataclass(frozen=True)
class _Call:
    """A call of one of the allowed methods."""

    receiver: ast.expr
    name: str
    method: _Method

    @classmethod
    def of(cls, node: ast.Call) -> _Call | None:
        """The call; None if its form or the method is not allowed."""
        match node.func:
            case ast.Attribute(value=ast.Attribute(value=receiver, attr="str"), attr=name) if name in _TEXT_METHODS:
                return cls(receiver, name, _TEXT_METHODS[name])
            case ast.Attribute(value=receiver, attr=name) if name in _METHODS:
                return cls(receiver, name, _METHODS[name])
        return None


def _is_a(node: ast.expr, kind: type) -> bool:
    """Whether a constant has a type."""
    if isinstance(node, _LIST) or kind is list:
        return isinstance(node, _LIST) and kind is list
    return kind is object or (isinstance(node, ast.Constant) and isinstance(node.value, kind))


def _too_large(value: object) -> bool:
    return isinstance(value, int | float) and not -_LARGEST <= value <= _LARGEST


def _shown(node: ast.AST) -> str:
    try:
        text = ast.unparse(node)
    except ValueError:  # numbers with thousands of digits, and backslashes within braces
        return f"a {type(node).__name__}"
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _value(node: ast.expr, table: pd.DataFrame) -> Any:
    """The value of a tree that contains only allowed parts."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return table[node.id]
        case ast.List(elts=entries) | ast.Tuple(elts=entries):
            return [_value(entry, table) for entry in entries]
        case ast.BoolOp(op=op, values=operands):
            return reduce(_LOGIC[type(op)], [_truth(_value(operand, table)) for operand in operands])
        case ast.BinOp(left=left, op=op, right=right):
            return _NUMBERS[type(op)](_number(_value(left, table)), _number(_value(right, table)))
        case ast.Compare():
            return _compared(node, table)
        case ast.Call():
            return _answer(node, table)
    assert isinstance(node, ast.UnaryOp)
    value = _value(node.operand, table)
    return ~_truth(value) if isinstance(node.op, _NOT) else _SIGNS[type(node.op)](_number(value))


def _compared(node: ast.Compare, table: pd.DataFrame) -> pd.Series:
    values = [_value(operand, table) for operand in (node.left, *node.comparators)]
    pairs = zip(pairwise(values), node.ops, strict=True)
    return reduce(operator.and_, [_truth(_pair(left, op, right)) for (left, right), op in pairs])


def _pair(left: Any, op: ast.cmpop, right: Any) -> Any:
    if isinstance(op, _EQUAL) and isinstance(left, str):
        left, right = right, left
    if not isinstance(op, (*_MEMBER, *_EQUAL)):
        return _ORDER[type(op)](*_in_order(left, right))
    if isinstance(op, _EQUAL) and not isinstance(right, str | list):
        refuse_other_kinds(left, right)
        return _ORDER[type(op)](left, right)
    is_member = _is_in(_column(left), right if isinstance(right, list) else [right])
    return ~is_member if isinstance(op, ast.NotIn | ast.NotEq) else is_member


def _is_in(column: pd.Series, wanted: list[Any]) -> pd.Series:
    refuse_other_kinds(column, wanted)
    refuse_other_dates(column, wanted)
    return column.isin(wanted)


def _in_order(*sides: Any) -> tuple[Any, ...]:
    """What is put in order: dates as dates, and text that looks like numbers not at all."""
    dates = as_dates(*sides)
    if all(one is other for one, other in zip(dates, sides, strict=True)):
        for side in sides[1:]:
            refuse_other_kinds(sides[0], side)
        refuse_numbers_as_text(*sides)
    return dates


def _answer(node: ast.Call, table: pd.DataFrame) -> Any:
    call = _Call.of(node)
    assert call is not None
    column = _column(_value(call.receiver, table))
    options: dict[str, Any] = {str(option.arg): _value(option.value, table) for option in node.keywords}
    arguments = [_value(argument, table) for argument in node.args]
    if call.name == "isin":
        return _is_in(column, *arguments)
    if call.name == "between":
        column, *arguments = _in_order(column, *arguments)
    function = getattr(column.str if call.name in _TEXT_METHODS else column, call.name)
    return function(*arguments, **{**call.method.options, **options})


def _column(value: Any) -> pd.Series:
    if not isinstance(value, pd.Series):
        raise TypeError(f"{value!r} is not a column")
    return value


def _truth(value: Any) -> pd.Series:
    if not (isinstance(value, pd.Series) and value.dtype in (bool, "boolean")):
        raise _NotYesOrNoError
    return value


def _number(value: Any) -> Any:
    column = (
        isinstance(value, pd.Series) and pd.api.types.is_numeric_dtype(value) and value.dtype not in (bool, "boolean")
    )
    if not (column or (isinstance(value, int | float) and not isinstance(value, bool))):
        raise TypeError(
            f"{'a text column' if isinstance(value, pd.Series) else repr(value)} is not a number to calculate with"
        )
    return value
