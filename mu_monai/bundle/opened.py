"""A MONAI bundle that a command works with, found and read once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from mu_monai.bundle.find import find_bundle
from mu_monai.errors import InputError, did_you_mean, raise_if_any
from mu_monai.files import read_json


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, and what its configs say.

    Args:
        folder: one with `configs/metadata.json`, absolute.

    Example:
        >>> bundle = open_bundle("isic")
        >>> bundle.names, "paper" in bundle.presets
        (['isic'], True)
    """

    folder: Path

    @property
    def configs(self) -> Path:
        """The folder of its configs."""
        return self.folder / "configs"

    @cached_property
    def contents(self) -> list[dict[str, Any]]:
        """Its configs, as a running config has them: macros and relative ids are resolved."""
        found = []
        for file in sorted(self.configs.glob("*.json")):
            content = read_json(file)
            if isinstance(content, dict):
                parser = ConfigParser(nested(content))
                with suppress(KeyError, ValueError):  # an overlay refers to what only the config below it has
                    parser.resolve_macro_and_relative_ids()
                found.append(parser.get())
        return found

    @cached_property
    def names(self) -> list[str]:
        """What its configs call it; a bundle that is right has one name."""
        return sorted({str(each["bundle_name"]) for each in self.contents if each.get("bundle_name") is not None})

    @cached_property
    def presets(self) -> list[str]:
        """The names of its presets: configs that set `preset` to their own name."""
        files = sorted(self.configs.glob("*.json"))
        return [path.stem for path in files if read_json(path, dict).get("preset") == path.stem]

    @cached_property
    def version(self) -> str:
        """Its version, as the metadata has it."""
        return str(read_json(self.configs / "metadata.json", {"version": str})["version"])

    def has(self, name: str) -> bool:
        """Whether it has a config of a name."""
        return (self.configs / f"{name}.json").is_file()

    def preset(self, name: str | None) -> list[str]:
        """The overlay of a preset, by its name in `configs/`; none without one.

        Raises:
            InputError: where the bundle has no such preset.
        """
        if name is None:
            return []
        if name not in self.presets:
            raise InputError(
                f"preset '{name}' is not one of the bundle '{self.folder.name}': {', '.join(self.presets) or 'none'}"
                f"{did_you_mean(name, self.presets)}"
            )
        return [name]

    def files(self, name: str, overlays: Sequence[str] = ()) -> list[str]:
        """The files of a config and of overlays.

        Args:
            name: `train`, `unlearn`, `evaluate` or `inference`.
            overlays: files, or names of files in the bundle's `configs/`.

        Raises:
            InputError: where a file is missing.
        """
        found, problems = [], []
        for wanted in (name, *overlays):
            file = next((path for path in (self.configs / f"{wanted}.json", Path(wanted)) if path.is_file()), None)
            if file is not None:
                found.append(str(file))
            else:
                names = ", ".join(sorted(path.stem for path in self.configs.glob("*.json")))
                problems.append(f"config '{wanted}' is neither a file nor one of the bundle's: {names}")
        raise_if_any(problems)
        return found


def open_bundle(name_or_folder: str | os.PathLike[str]) -> Bundle:
    """The bundle of a folder, or a shipped one by its name.

    Raises:
        InputError: where it is neither.
    """
    return Bundle(find_bundle(name_or_folder))


def nested(config: dict[str, Any]) -> dict[str, Any]:
    """A config whose keys are single names: what an overlay sets within a component, as a component of that alone.

    Example:
        >>> nested({"method#forget_weight": 2.0})
        {'method': {'forget_weight': 2.0}}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        *parents, last = ReferenceResolver.split_id(key)
        level = found
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                break
        else:
            level[last] = value
    return found
