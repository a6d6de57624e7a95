"""Taking parts out of a bundle's config together with everything they refer to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mu_monai.bundle.adopted.source import SourceConfig
from mu_monai.bundle.references import REFERENCE


class Extract:
    """Copies parts of a config, and keeps what they refer to under one id, so that no names clash.

    Args:
        config: the bundle's config.
        under: the id that everything referred to is kept under.
        known: ids of the bundle that stand for ids of the new config, such as `{"net": "network"}`.

    Attributes:
        kept: what the parts refer to, nested as in the bundle's config.

    Example:
        With `{"rate": "@base", "base": 2}`, taking `"$@rate * 2"` gives `"$@source::rate * 2"` and keeps both ids.
    """

    def __init__(self, config: SourceConfig, under: str, known: Mapping[str, str]) -> None:
        self.config, self.under = config, under
        self.kept: dict[str, Any] = {}
        self._known = dict(known)
        self._reached: set[str] = set()

    def take(self, content: Any) -> Any:
        """A copy of a part whose references lead to the new ids."""
        if isinstance(content, Mapping):
            return {key: self.take(value) for key, value in content.items()}
        if isinstance(content, list):
            return [self.take(value) for value in content]
        if isinstance(content, str) and content.startswith(("$", "@")):
            return REFERENCE.sub(self._renamed, content)
        return content

    def _renamed(self, reference: re.Match[str]) -> str:
        place = reference[1]
        for old, new in self._known.items():
            if place == old or place.startswith(f"{old}::"):
                return f"@{new}{place.removeprefix(old)}"
        self._keep(place)
        return f"@{self.under}::{place}"

    def _keep(self, place: str) -> None:
        """Keep what an id leads to, at its place; of a list, the whole list."""
        content: Any = self.config.parser.get()
        level = self.kept
        keys = place.split("::")
        for depth, key in enumerate(keys):
            if not isinstance(content, Mapping) or key not in content:
                return  # MONAI reports it, with the id
            content = content[key]
            inner = keys[depth + 1] if depth + 1 < len(keys) else None
            if inner is None or not isinstance(content, Mapping):
                reached = "::".join(keys[: depth + 1])
                if reached not in self._reached:
                    self._reached.add(reached)
                    level[key] = self.take(content)
                return
            level = level.setdefault(key, {})
