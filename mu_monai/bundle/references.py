"""Walking a config as data: its components, its texts, and what an id or a reference leads to; nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

REFERENCE = re.compile(r"@(\w+(?:::\w+)*)")
_ALONE = re.compile(r"\$?\s*@(\w+(?:::\w+)*)\s*")
_META = "_meta_"  # the bundle's metadata, which MONAI puts into each config


def components(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The id and `_target_` of every component that is not disabled.

    Example:
        >>> list(components({"net": {"_target_": "UNet"}, "off": {"_target_": "A", "_disabled_": True}}))
        [('net', 'UNet')]
    """
    yield from _components(_without_metadata(config), "")


def _components(config: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(config, Mapping):
        if is_disabled(config):
            return
        if isinstance(config.get("_target_"), str):
            yield place, config["_target_"]
    for key, value in _items(config):
        yield from _components(value, _within(place, key))


def is_disabled(component: Mapping[str, Any]) -> bool:
    """Whether MONAI leaves a component out, as far as that is known without executing an expression.

    Example:
        >>> is_disabled({"_disabled_": "True"}), is_disabled({"_disabled_": "$not @gpu"}), is_disabled({})
        (True, False, False)
    """
    said = component.get("_disabled_", False)
    return said.strip().lower() == "true" if isinstance(said, str) else bool(said)


def texts(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The id and content of every text in a config.

    Example:
        >>> list(texts({"steps": ["$1 + 1", 2], "name": "a"}))
        [('steps::0', '$1 + 1'), ('name', 'a')]
    """
    yield from ((place, value) for place, value in leaves(_without_metadata(config)) if isinstance(value, str))


def leaves(config: Any) -> Iterator[tuple[str, Any]]:
    """The id and content of everything in a config that holds nothing else, with the metadata if it is in there.

    Example:
        >>> list(leaves({"steps": ["$1 + 1", 2], "name": "a"}))
        [('steps::0', '$1 + 1'), ('steps::1', 2), ('name', 'a')]
    """
    yield from _leaves(config, "")


def _leaves(config: Any, place: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(config, Mapping | list | tuple):
        yield place, config
    for key, value in _items(config):
        yield from _leaves(value, _within(place, key))


def _without_metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != _META}


def _items(config: Any) -> Iterator[tuple[str, Any]]:
    entries: Any = config.items() if isinstance(config, Mapping) else ()
    if isinstance(config, list | tuple):
        entries = enumerate(config)
    yield from ((str(key), value) for key, value in entries)


def _within(place: str, key: str) -> str:
    return f"{place}::{key}" if place else key


def content_at(config: Any, place: str) -> Any:
    """The content of an id, also within what another id refers to; None if it does not exist.

    Example:
        >>> config = {"scale": {"keys": "image"}, "steps": ["@scale"]}
        >>> content_at(config, "steps::0"), content_at(config, "steps::0::keys")
        ('@scale', 'image')
    """
    content = config
    for key in place.split("::"):
        content, _ = follow(config, content)
        try:
            content = content[int(key)] if isinstance(content, list) else content[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return content


def follow(config: Any, value: Any) -> tuple[Any, str | None]:
    """What a value refers to in the end, through references that stand alone, and the id of it.

    Example:
        >>> follow({"network": "$@net", "net": {"_target_": "UNet"}}, "@network")
        ({'_target_': 'UNet'}, 'net')
    """
    where: str | None = None
    seen: set[str] = set()
    while isinstance(value, str) and (alone := _ALONE.fullmatch(value)) and alone[1] not in seen:
        where = alone[1]
        seen.add(where)
        value = content_at(config, where)
    return value, where
