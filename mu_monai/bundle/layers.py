"""The layers of a config in their order, from the bundle's values to those that the user typed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.bundle.config import read_config, unknown_ids
from mu_monai.bundle.opened import Bundle
from mu_monai.bundle.trust import SEPARATOR, STRANGER, Trust
from mu_monai.errors import InputError
from mu_monai.files import read_json

LAYERS = ("bundle", "preset", "recipe", "run", "overlay", "options", "settings")
_LAID = ("recipe", "run", "options", "settings")  # the other layers are files


class LayeredConfig:
    """A config of a bundle with all layers that a command puts on top of it; later layers override earlier ones.

    `bundle`: the config itself. `preset`: the bundle's preset, or its settings for a method. `recipe`: how to train a
    method that the bundle has no settings for. `run`: values that come with a model trained elsewhere. `overlay`: files
    that the user gives. `options`: options of the command, such as `--out` and `--split`. `settings`: `--set`.

    Args:
        bundle: the bundle.
        name: which of its configs: `train`, `unlearn`, `evaluate` or `inference`.
        presets: names of files in its `configs/`: a preset, or its settings for a method.
        overlays: files of the user, or names in `configs/`.

    Raises:
        InputError: if a file is missing.

    Example:
        >>> from mu_monai.bundle import open_bundle
        >>> config = LayeredConfig(open_bundle("isic"), "train")
        >>> config.lay("settings", {"max_epochs": 3})
        >>> config.lay("options", {"max_epochs": 2, "run_dir": "runs/a"})
        >>> config.overrides
        {'max_epochs': 3, 'run_dir': 'runs/a'}
    """

    def __init__(self, bundle: Bundle, name: str, *, presets: Sequence[str] = (), overlays: Sequence[str] = ()) -> None:
        self.bundle = bundle
        self.files = bundle.files(name, [*presets, *overlays])
        laid_over = self.files[1 + len(presets) :]
        overlaid = {
            key.replace("#", SEPARATOR): value for file in laid_over for key, value in read_json(file, dict).items()
        }
        self._laid: dict[str, dict[str, Any]] = {"overlay": overlaid, **{layer: {} for layer in _LAID}}

    @property
    def overlays(self) -> list[str]:
        """The files that are laid over the bundle's config."""
        return self.files[1:]

    def lay(self, layer: str, values: Mapping[str, Any]) -> None:
        """Put values by id, with `::` between the levels, into a layer; the last value of an id counts.

        A recipe does not override the ids that an overlay sets, not even within a component that both have.

        Args:
            layer: `recipe`, `run`, `options` or `settings`.
            values: by id.
        """
        self._laid[layer] |= self._under_overlays(values) if layer == "recipe" else values

    def laid(self, layer: str) -> dict[str, Any]:
        """The values of a layer on top of the bundle and its preset, by id."""
        return dict(self._laid[layer])

    @property
    def overrides(self) -> dict[str, Any]:
        """The values that override the files, from all layers."""
        return {key: value for layer in _LAID for key, value in self._laid[layer].items()}

    def read(self, *layers: str) -> ConfigParser:
        """The files with the layers on top of them, as a new parser.

        Args:
            layers: which of the layers that are not files; all of them by default.

        Raises:
            InputError: with the ids that cannot be set, since what they are in does not exist.
        """
        parser = read_config(self.files)
        laid = {key: value for layer in layers or _LAID for key, value in self._laid[layer].items()}
        laid = copy.deepcopy(laid)  # a value within a component is set in place, and layers stay as they are
        try:
            parser.update(laid)
        except (KeyError, IndexError, TypeError, ValueError) as error:  # within something that does not exist
            raise InputError(list(unknown_ids(parser, list(laid)))) from error
        return parser

    def resolved(self) -> dict[str, Any]:
        """The config as it is when it runs, with macros and relative ids resolved."""
        parser = self.read()
        parser.resolve_macro_and_relative_ids()
        return {key: value for key, value in parser.get().items() if key != "_meta_"}

    def trusted(self, trust: Trust = STRANGER) -> Trust:
        """Trust in runs that this config made: what they have of it is known, since it is the user's."""
        return replace(trust, bundle=self.bundle.place, known=[self.resolved()])

    def _under_overlays(self, values: Mapping[str, Any]) -> dict[str, Any]:
        overlaid = self._laid["overlay"]
        left = {key: value for key, value in values.items() if not any(each in overlaid for each in _places(key))}
        within = {key: value for key, value in overlaid.items() if any(each in left for each in _places(key)[1:])}
        return left | within


def _places(key: str) -> list[str]:
    """An id and those of the components that contain it, innermost first.

    Example:
        >>> _places("method::forget_terms::background")
        ['method::forget_terms::background', 'method::forget_terms', 'method']
    """
    levels = key.split(SEPARATOR)
    return [SEPARATOR.join(levels[:size]) for size in range(len(levels), 0, -1)]
