"""Between JSON and dataclasses, for the files of a run folder."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from mu_monai.files import Shape

_Part = TypeVar("_Part")


def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def shape_of(kind: type) -> dict[str, Any]:
    """The shape of the JSON of a dataclass, for `files.shape_problems`."""
    return {name: _shape_of(hint) for name, hint in _hints(kind).items()}


def _shape_of(hint: Any) -> Shape:
    origin = typing.get_origin(hint)
    if origin is tuple:
        return [_shape_of(typing.get_args(hint)[0])]
    if is_dataclass(hint):
        return shape_of(typing.cast(type, hint))
    parts = typing.get_args(hint)
    if origin is types.UnionType and is_dataclass(parts[0]):
        return shape_of(typing.cast(type, parts[0]))
    return dict if origin is not None and origin is not types.UnionType else typing.cast(Shape, hint)


def made(kind: type[_Part], content: Mapping[str, Any]) -> _Part:
    """The dataclass in a JSON mapping; missing entries get their defaults, and unknown ones are left out."""
    known = {name: hint for name, hint in _hints(kind).items() if content.get(name) is not None}
    return kind(**{name: _value(hint, content[name]) for name, hint in known.items()})


def _value(hint: Any, content: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        return tuple(_value(typing.get_args(hint)[0], item) for item in content)
    part = next((kind for kind in (hint, *typing.get_args(hint)) if is_dataclass(kind)), None)
    return content if part is None else made(typing.cast(type, part), content)


def plain(value: Any) -> Any:
    """A dataclass as JSON, in the order of its fields, without empty text."""
    if is_dataclass(value):
        return {item.name: plain(found) for item in fields(value) if (found := getattr(value, item.name)) != ""}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
