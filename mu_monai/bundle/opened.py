"""The MONAI bundle of a command, found and read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from mu_monai.bundle.adopted.adopt import adopted
from mu_monai.bundle.adopted.parts import Parts, adoptable
from mu_monai.bundle.adopted.source import FORMS
from mu_monai.bundle.find import find_bundle
from mu_monai.errors import InputError, did_you_mean, raise_if_any
from mu_monai.files import read_json


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, and the content of its configs.

    Args:
        folder: the absolute path of a folder with `configs/metadata.json`.
        parts: the parts of the user's bundle, if `folder` holds the configs that were made for it; None if it is run
            as it is.

    Example:
        >>> bundle = open_bundle("isic")
        >>> bundle.names, "paper" in bundle.presets
        (['isic'], True)
    """

    folder: Path
    parts: Parts | None = field(default=None, compare=False)

    def __reduce__(self) -> tuple[Callable[[Path], Bundle], tuple[Path]]:
        """A worker opens it where the user has it: what was made of it is in a folder of this machine."""
        return open_bundle, (self.place,)

    @property
    def place(self) -> Path:
        """The folder that the user knows."""
        return self.folder if self.parts is None else self.parts.folder

    @property
    def configs(self) -> Path:
        """The folder of its configs."""
        return self.folder / "configs"

    @cached_property
    def contents(self) -> list[dict[str, Any]]:
        """Its configs as they are when they run, with macros and relative ids resolved."""
        configs = []
        for file in sorted(self.configs.glob("*.json")):
            content = read_json(file)
            if isinstance(content, dict):
                parser = ConfigParser(nested(content))
                with suppress(KeyError, ValueError):  # an overlay refers to ids that only the config below it has
                    parser.resolve_macro_and_relative_ids()
                configs.append(parser.get())
        return configs

    @cached_property
    def names(self) -> list[str]:
        """The names that its configs give it; a correct bundle has one."""
        return sorted({str(each["bundle_name"]) for each in self.contents if each.get("bundle_name") is not None})

    @cached_property
    def presets(self) -> list[str]:
        """The names of its presets: configs that set `preset` to their own name."""
        files = sorted(self.configs.glob("*.json"))
        return sorted(path.stem for path in files if read_json(path, dict).get("preset") == path.stem)

    @cached_property
    def version(self) -> str:
        """Its version, from the metadata."""
        return str(read_json(self.configs / "metadata.json", {"version": str})["version"])

    @cached_property
    def code_sha256(self) -> str:
        """SHA-256 over the modules in the user's folder, which a config may call, by their names."""
        return self._sha256(self.place.rglob("*.py"))

    @cached_property
    def configs_sha256(self) -> str:
        """SHA-256 over the configs in the user's folder, JSON and YAML, by their names."""
        return self._sha256(file for file in (self.place / "configs").rglob("*") if file.suffix in FORMS)

    def _sha256(self, files: Iterable[Path]) -> str:
        digest = hashlib.sha256()
        for file in sorted(files):
            digest.update(file.relative_to(self.place).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def has(self, name: str) -> bool:
        """Whether it has a config with this name."""
        return (self.configs / f"{name}.json").is_file()

    def preset(self, name: str | None) -> list[str]:
        """The overlay of a preset, by its name in `configs/`; empty if `name` is None.

        Raises:
            InputError: if the bundle has no such preset.
        """
        if name is None:
            return []
        if name not in self.presets:
            raise InputError(
                f"preset '{name}' is not in the bundle '{self.folder.name}': {', '.join(self.presets) or 'none'}"
                f"{did_you_mean(name, self.presets)}"
            )
        return [name]

    def files(self, name: str, overlays: Sequence[str] = ()) -> list[str]:
        """The files of a config and of overlays.

        Args:
            name: `train`, `unlearn`, `evaluate` or `inference`.
            overlays: files, or names of files in the bundle's `configs/`.

        Raises:
            InputError: if a file is missing.
        """
        if self.parts is not None and name == "inference" and not self.has(name):
            raise InputError(f"'{self.place}' {self.parts.unpredicted}")
        files, problems = [], []
        for config in (name, *overlays):
            file = next((path for path in (self.configs / f"{config}.json", Path(config)) if path.is_file()), None)
            if file is not None:
                files.append(str(file))
            else:
                names = ", ".join(sorted(path.stem for path in self.configs.glob("*.json")))
                problems.append(f"config '{config}' is neither a file nor one of the bundle's: {names}")
        raise_if_any(problems)
        return files


def open_bundle(name_or_folder: str | os.PathLike[str]) -> Bundle:
    """The bundle in a folder, or a shipped one by its name; one that is not made for commands is adopted.

    Raises:
        InputError: if it is neither, or cannot be adopted.
    """
    folder = find_bundle(name_or_folder)
    return Bundle(*adopted(folder)) if adoptable(folder) else Bundle(folder)


def nested(config: dict[str, Any]) -> dict[str, Any]:
    """A config without combined keys: an id that an overlay sets within a component becomes a nested mapping.

    Example:
        >>> nested({"method#forget_weight": 2.0})
        {'method': {'forget_weight': 2.0}}
    """
    result: dict[str, Any] = {}
    for key, value in config.items():
        *parents, last = ReferenceResolver.split_id(key)
        level = result
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                break
        else:
            level[last] = value
    return result
