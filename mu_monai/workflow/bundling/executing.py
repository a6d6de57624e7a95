"""What a bundle would execute, for those who decide whether to trust it; nothing of it is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from pydoc import locate
from typing import Any

import monai.data
import monai.inferers
from monai.bundle import ConfigParser
from monai.utils import ensure_tuple

from mu_monai.bundle.adopted.source import FORMS
from mu_monai.bundle.find import find_bundle
from mu_monai.bundle.parser import component_locator
from mu_monai.bundle.references import leaves
from mu_monai.errors import InputError

# the parts of models and of training; what else MONAI has are tools, one of which runs commands of the shell
_PARTS = re.compile(
    r"(monai\.(networks|losses|transforms|inferers|data|engines|handlers|metrics|optimizers)"
    r"|torch\.(nn|optim)|ignite\.(handlers|metrics))\."
)
_NETWORKS = "monai.networks.nets."  # functions that make networks; those of other modules do all kinds of things
# arguments that may be the name of one of these classes, or of anything else in Python, which MONAI then calls
_NAMES = {"reader": monai.data, "writer": monai.data, "merger_cls": monai.inferers}
_SAFE = {"weights_only": True, "allow_pickle": False}  # with other values, what is in a file may be executed
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_MODULES = (".py", ".pyc", ".so", ".pyd")


def code_of(bundle: str | Path) -> list[str]:
    """What a bundle would execute: expressions, components that are not parts of models or of training, and modules.

    Every config counts, since one may be laid over another, and so do the metadata, which MONAI puts into each, and
    files that they take content from. A disabled component counts too: MONAI makes what is in it.

    Args:
        bundle: the folder of a bundle, or the name of a shipped one.

    Returns:
        a line for each, with file and id. Much of it is harmless; what is not listed is a part, or data.

    Raises:
        InputError: if it is not a bundle, or a config cannot be read.
    """
    folder = find_bundle(bundle)
    configs = folder / "configs"
    files = {path: path.relative_to(configs).as_posix() for path in _files(configs) if _is_config(path)}
    lines: list[str] = []
    waiting = list(files)
    for file in waiting:
        for place, value in leaves(_content(file)):
            lines += [f"{files[file]}: {text}" for text in _executed(place.replace("::", "#"), value, folder)]
            for other in _taken_from(value, folder):
                if not any(other.samefile(each) for each in waiting):
                    files[other] = str(other)
                    waiting.append(other)
    return [*lines, *(f"module {path.relative_to(folder).as_posix()}" for path in _files(folder) if _is_module(path))]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def _is_config(path: Path) -> bool:
    return path.suffix.lower() in FORMS and path.is_file()


def _is_module(path: Path) -> bool:
    """Whether Python may import it, or what a linked folder holds, which is not looked into."""
    return path.suffix in _MODULES or (path.is_symlink() and path.is_dir())


def _content(file: Path) -> Any:
    try:
        return ConfigParser.load_config_file(file)
    except Exception as error:  # JSON and YAML each raise their own
        raise InputError(
            f"'{file}' cannot be read as a config, so what it would execute is not known ({type(error).__name__}: "
            f"{error}); correct it, or take it out of the bundle"
        ) from error


def _names_file(value: str) -> str:
    """The file that a text takes content from, which MONAI calls a macro; empty if it does not."""
    return ConfigParser.split_path_id(value[1:])[0] if value.startswith("%") else ""


def _taken_from(value: Any, folder: Path) -> list[Path]:
    """The file as it is found from the working folder, where MONAI looks, or if that should be the bundle's."""
    name = _names_file(value) if isinstance(value, str) else ""
    return [path for path in (Path(name), folder / name) if _is_config(path)]


def _executed(place: str, value: Any, folder: Path) -> Iterator[str]:
    """What MONAI does with a value other than to take it as data."""
    component, key = _component_and_argument(place)
    if key in _SAFE and value is not _SAFE[key]:
        yield f"{place} = {value}, which may execute what is in a file"
    elif not isinstance(value, str):
        return
    elif value.startswith("$") or _names_file(value):
        yield f"{place} = {value}"
    elif key == "_target_" and not _is_part(value):
        yield f"{component} calls {value}"
    elif key != "_target_" and _is_looked_up(key, value, folder):
        yield f"{place} names {value}"


def _component_and_argument(place: str) -> tuple[str, str]:
    """What an id belongs to, and its name there, without the numbers of a list and the sign of a merged key.

    Example:
        >>> _component_and_argument("+train#load#reader#0")
        ('+train#load', 'reader')
    """
    ids = place.split("#")
    while len(ids) > 1 and ids[-1].isdecimal():
        ids.pop()
    return "#".join(ids[:-1]), ids[-1].lstrip("+")


def _is_part(target: str) -> bool:
    """Whether a component is a part of a model or of training, wherever MONAI may find its name."""
    modules = component_locator().get_component_module_name(target)
    return all(_is_defined_there(f"{module}.{target}" if module else target) for module in ensure_tuple(modules))


def _is_defined_there(name: str) -> bool:
    """Whether a name leads to a class of the modules of parts; they have imported others, such as `os`."""
    found: Any = None
    if _PARTS.match(name):
        with suppress(Exception):  # a module whose package is not installed
            found = locate(name)
    module = f"{getattr(found, '__module__', '')}."
    return _PARTS.match(module) is not None and (isinstance(found, type) or module.startswith(_NETWORKS))


def _is_looked_up(argument: str, text: str, folder: Path) -> bool:
    """Whether a text may be the name of something that is imported and called."""
    if argument in _NAMES:
        named = next((each for each in dir(_NAMES[argument]) if each.lower() == text.lower()), "")
        return not isinstance(getattr(_NAMES[argument], named, None), type) and not _is_part(text)
    return _NAME.fullmatch(text) is not None and _is_importable(text.partition(".")[0], folder) and not _is_part(text)


def _is_importable(name: str, folder: Path) -> bool:
    """Whether there is a module or package of this name, in a bundle or installed; it is not imported."""
    own = (path for path in folder.iterdir() if path.is_dir() or path.suffix in _MODULES)
    with suppress(ValueError):  # a module that does not say where it is from
        return any(path.name.partition(".")[0] == name for path in own) or find_spec(name) is not None
    return True
