"""The configs of a bundle as data: read and laid over one another, and never executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.bundle.config import read_config, unknown_ids
from mu_monai.bundle.multi_gpu import MULTI_GPU, PREFIX, multi_gpu
from mu_monai.bundle.references import content_at, follow
from mu_monai.bundle.trust import SEPARATOR
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.methods import METHODS

TRAIN, UNLEARN, EVALUATE, INFERENCE = "train", "unlearn", "evaluate", "inference"
CONFIGS = (TRAIN, UNLEARN, EVALUATE, INFERENCE)
METADATA = "metadata"
_MACRO_ERRORS = (
    KeyError,
    ValueError,
    IndexError,
    OSError,
    RuntimeError,
)  # raised for a macro or relative id that does not resolve


@dataclass(frozen=True)
class BundleConfigs:
    """The content of a bundle's configs.

    Args:
        folder: the bundle's folder.
        whole: the readable ones of the four configs that commands run, by name.
        overlays: what every other config sets, by name.
        overlaid: each overlay, merged into the config that it is for.
        bases: the names of these configs.
        metadata: the content of `metadata.json`; empty if it cannot be read.
        problems: why some files cannot be read.
    """

    folder: Path
    whole: dict[str, ConfigParser] = field(default_factory=dict)
    overlays: dict[str, dict[str, Any]] = field(default_factory=dict)
    overlaid: dict[str, ConfigParser] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def get(self, config: str, key: str) -> Any:
        """The value of a config at an id; None if there is no such config or id."""
        return value_at(self.whole[config], key) if config in self.whole else None

    def unlearning(self) -> Iterator[tuple[str, ConfigParser]]:
        """All configs that `unlearn` can run: its own, and each overlay on it."""
        if UNLEARN in self.whole:
            yield UNLEARN, self.whole[UNLEARN]
        yield from ((name, parser) for name, parser in self.overlaid.items() if self.bases[name] == UNLEARN)


def value_at(parser: ConfigParser, key: str) -> Any:
    """The value of a config at an id, or the value that a single reference leads to; None if there is no such id."""
    return follow(parser.get(), content_at(parser.get(), key))[0]


def target_name(component: Any) -> str | None:
    """The last part of a component's `_target_`, such as `Student`; None if it is not a component."""
    target = component.get("_target_") if isinstance(component, Mapping) else None
    return target.rpartition(".")[2] if isinstance(target, str) else None


def read_configs(folder: Path) -> BundleConfigs:
    """Read all configs of a bundle.

    Args:
        folder: one with `configs/metadata.json`.

    Returns:
        the configs that can be read, and why the others cannot.
    """
    found = BundleConfigs(folder)
    files = {path.stem: path for path in sorted((folder / "configs").glob("*.json"))}
    for name in [name for name in (*CONFIGS, METADATA) if name not in files]:
        found.problems.append(f"'configs/{name}.json' is missing; copy it from the shipped bundle nearest to yours")
    contents = {name: content for name, path in files.items() if (content := _content(path, found)) is not None}
    if METADATA not in contents:  # every config is read with it
        return found
    found.metadata.update(contents.pop(METADATA))
    for name in [name for name in CONFIGS if name in contents]:
        parser = _parsed(found, name, files[name])
        if parser is not None:
            found.whole[name] = parser
    for name in [name for name in contents if name not in CONFIGS]:
        found.overlays[name] = {key.replace("#", SEPARATOR): value for key, value in contents[name].items()}
        _lay_over(found, name, files)
    return found


def _content(path: Path, found: BundleConfigs) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = read_json(path, dict)
    except InputError as error:
        found.problems.extend(error.problems)
        return None
    return content


def _parsed(found: BundleConfigs, name: str, *files: Path) -> ConfigParser | None:
    """Config files with their macros and relative ids resolved; None if one does not resolve."""
    try:
        parser = read_config([str(file) for file in files])
        parser.resolve_macro_and_relative_ids()
    except _MACRO_ERRORS as error:
        found.problems.append(
            f"'configs/{name}.json' cannot be parsed ({type(error).__name__}: {error}); a macro (%) or a relative id "
            "does not resolve: correct it"
        )
        return None
    return parser


def _lay_over(found: BundleConfigs, name: str, files: Mapping[str, Path]) -> None:
    """Find the config that an overlay is for (the first that has all its ids), and merge the overlay into it."""
    overlay = found.overlays[name]
    bases = [UNLEARN] if name in METHODS or "preset" in overlay else list(CONFIGS)
    shared = name.removeprefix(PREFIX)
    if shared in MULTI_GPU and shared in found.whole:
        bases = [shared]
        made = multi_gpu(shared, found.whole[shared].get())  # has ids beyond those of a config for one process
        overlay = {key: value for key, value in overlay.items() if key.replace(SEPARATOR, "#") not in made}
    unknown = {
        base: list(unknown_ids(found.whole[base], list(overlay), f"'configs/{name}.json':"))
        for base in bases
        if base in found.whole
    }
    if not unknown:
        return
    base = min(unknown, key=lambda each: len(unknown[each]))
    found.problems.extend(unknown[base])
    parser = None if unknown[base] else _parsed(found, name, files[base], files[name])
    if parser is not None:
        found.overlaid[name], found.bases[name] = parser, base
