"""Taking parts out of a bundle's config together with everything they refer to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mu_monai.bundle.adopted.parts import EVALUATOR, TRAINER, Parts
from mu_monai.bundle.adopted.source import SourceConfig
from mu_monai.bundle.references import REFERENCE


class Extract:
    """Copies parts of a config, and keeps what they refer to under one id, so that no names clash.

    Args:
        config: the bundle's config.
        under: the id that everything referred to is kept under.
        known: ids of the bundle that stand for ids of the new config, such as `{"net": "network"}`.
        within: the same for what lies within them, such as `{"net": "network_def"}` for `@net::out_channels`; by
            default as in `known`.

    Attributes:
        kept: what the parts refer to, nested as in the bundle's config.

    Example:
        With `{"rate": "@base", "base": 2}`, taking `"$@rate * 2"` gives `"$@source::rate * 2"` and keeps both ids.
    """

    def __init__(
        self, config: SourceConfig, under: str, known: Mapping[str, str], within: Mapping[str, str] | None = None
    ) -> None:
        self.config, self.under = config, under
        self.kept: dict[str, Any] = {}
        self._known, self._within = known, {**known, **(within or {})}
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
        if place in self._known:
            return f"@{self._known[place]}"
        for old, new in self._within.items():
            if place.startswith(f"{old}::"):
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


def extract_from(parts: Parts, config: SourceConfig, under: str, **more: str) -> Extract:
    """What copies parts of a bundle's config, with its ids of device and network as those that adopted configs have.

    The network's definition stands for the network too, which has its weights: an optimizer may name either.

    Args:
        parts: the bundle's parts.
        config: one of its configs.
        under: the id that everything referred to is kept under.
        more: further ids of the bundle, and what stands for them.
    """
    known = {"bundle_root": "bundle_root", **more}
    for engine in [*config.components(TRAINER), *config.components(EVALUATOR)]:
        _, device = config.argument(config.get(engine), "device")
        _, network = config.argument(config.get(engine), "network")
        known |= {where: name for where, name in ((device, "device"), (network, "network")) if where}
    if "network_def" in parts.found and config is parts.config:
        known.setdefault(parts.found["network_def"], "network")
    defined = "network_def::network" if parts.several else "network_def"
    return Extract(config, under, known, {old: defined for old, new in known.items() if new == "network"})
