"""A config of anybody's bundle: read as MONAI reads it, and followed from its engines to their parts."""

from __future__ import annotations

import copy
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.bundle.parser import config_parser
from mu_monai.bundle.references import components, content_at, follow, leaves
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json

FORMS = (".json", ".yaml", ".yml")
WRITES_IMAGES = ("SaveImaged", "SaveImage", "SegmentationSaver")  # files that are named after an image
_VALUE = "mu_monai_value"


def config_file(folder: Path, name: str) -> Path | None:
    """The config of a bundle with a name, as JSON or YAML; None if there is none."""
    files = (folder / "configs" / f"{name}{form}" for form in FORMS)
    return next((file for file in files if file.is_file()), None)


def read_metadata(folder: Path) -> dict[str, Any]:
    """What a bundle says of itself; empty if it has no metadata.

    Raises:
        InputError: if it is not a JSON mapping, or is more than data: MONAI puts it into each config, where it would be
            executed, and names of classes are taken from it.
    """
    file = folder / "configs" / "metadata.json"
    content: dict[str, Any] = read_json(file, dict) if file.is_file() else {}
    raise_if_any(
        f"'{file}' has {place.replace('::', '#')} = {value!r:.100}, which MONAI would execute; metadata is data: write "
        "plain text there"
        for place, value in leaves(content)
        if place.endswith("_target_") or (isinstance(value, str) and value.startswith(("$", "%")))
    )
    return content


def make_importable(folder: Path) -> None:
    """Let configs import the modules in a bundle's folder, and not those with the same names of another bundle."""
    place = str(folder)
    if place in sys.path:
        sys.path.remove(place)
    sys.path.insert(0, place)
    own = {path.name for path in folder.iterdir() if path.is_dir()} | {path.stem for path in folder.glob("*.py")}
    importlib.invalidate_caches()  # the folder may be newer than what Python remembers of it
    others = {name for name in own & sys.modules.keys() if not _is_in(name, folder) and not _is_installed(name)}
    for name in [name for name in sys.modules if name.partition(".")[0] in others]:
        del sys.modules[name]


def _is_in(name: str, folder: Path) -> bool:
    """Whether a loaded module is one of a folder."""
    module = sys.modules[name]
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(place is not None and Path(place).is_relative_to(folder) for place in places)


def _is_installed(name: str) -> bool:
    """Whether a module is of Python or of an installed package: a bundle's folder `models` must not unload it."""
    module = sys.modules[name]
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", [])]  # a folder without __init__.py
    known = [str(place) for place in places if place]
    return not known or any("site-packages" in place or place.startswith(sys.base_prefix) for place in known)


class SourceConfig:
    """A config of a bundle, parsed; nothing of it is executed before a value is asked for.

    Args:
        folder: the bundle.
        files: the config, and configs laid over it.

    Raises:
        InputError: if a file cannot be parsed.
    """

    def __init__(self, folder: Path, *files: Path) -> None:
        self.folder, self.files = folder, files
        self.parser = ConfigParser()
        try:
            self.parser.read_config([str(file) for file in files])
            self.parser["bundle_root"] = str(folder)
            with chdir(folder):  # where MONAI's commands for a bundle run, so that files named in it are found
                self.parser.resolve_macro_and_relative_ids()
        except Exception as error:  # JSON, YAML and MONAI each raise their own
            raise InputError(
                f"'{' and '.join(map(str, files))}' cannot be read as a MONAI config ({type(error).__name__}: "
                f"{error}); correct it; files that it takes content from (%) are looked for in '{folder}'"
            ) from error
        self._running: ConfigParser | None = None

    def components(self, name: str) -> list[str]:
        """The ids of the components whose `_target_` ends with a name, such as `SupervisedTrainer`."""
        return [place for place, target in self.targets() if base_name(target) == base_name(name)]

    def targets(self) -> Iterator[tuple[str, str]]:
        """The id and `_target_` of every component."""
        yield from components(self.parser.get())

    def follow(self, value: Any) -> tuple[Any, str | None]:
        """What a value refers to in the end, through references that stand alone, and the id of it.

        Example:
            A trainer's `network` of `@network` leads to `("$@network_def.to(@device)", "network")`.
        """
        return follow(self.parser.get(), value)

    def get(self, place: str) -> Any:
        """The content of an id as it is in the config; None if it does not exist."""
        return content_at(self.parser.get(), place)

    def argument(self, component: Any, name: str) -> tuple[Any, str | None]:
        """What an argument of a component leads to, and the id of it; None if it is not given."""
        return self.follow(component.get(name)) if isinstance(component, Mapping) else (None, None)

    def evaluated(self, value: Any) -> Any:
        """The value that MONAI makes of something in the config; this executes its expressions.

        Raises:
            InputError: if it cannot be evaluated.
        """
        if not _is_active(value):
            return value
        if self._running is None:
            make_importable(self.folder)
            self._running = config_parser(copy.deepcopy(self.parser.get()))
        try:
            self._running[_VALUE] = value
            return self._running.get_parsed_content(_VALUE, instantiate=True)
        except Exception as error:  # whatever the code of a bundle raises
            raise InputError(f"{value!r:.100} cannot be evaluated ({root_of(error)})") from error
        finally:
            self._running.get().pop(_VALUE, None)

    def lay(self, values: Mapping[str, Any]) -> None:
        """Set ids that the config has, such as `dataset_dir`."""
        self.parser.update(dict(values))
        self._running = None


def base_name(target: str) -> str:
    """The last part of a `_target_`; the names of a dictionary transform, such as `LoadImageD`, are one.

    Example:
        >>> [base_name(name) for name in ("monai.transforms.LoadImageDict", "LoadImageD", "LoadImaged", "DiceLoss")]
        ['LoadImaged', 'LoadImaged', 'LoadImaged', 'DiceLoss']
    """
    return re.sub(r"(?<=[a-z])(?:D|Dict)$", "d", target.rpartition(".")[2])


def name_of(component: Any) -> str:
    """The last part of a component's `_target_`; empty if it is not a component."""
    return base_name(str(component.get("_target_", ""))) if isinstance(component, Mapping) else ""


def root_of(error: BaseException) -> str:
    """The first cause of an error, in one line: MONAI wraps it in others that contain the whole config."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def _is_active(value: Any) -> bool:
    """Whether MONAI would evaluate something in a value."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_is_active, value.values()))
    if isinstance(value, list):
        return any(map(_is_active, value))
    return isinstance(value, str) and value.startswith(("$", "@"))
