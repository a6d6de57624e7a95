"""Where bundles are: shipped ones by name, others by folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mu_monai.errors import InputError, did_you_mean

_METADATA = Path("configs") / "metadata.json"
_CONFIGS = ("metadata.json", "train.json", "train.yaml", "train.yml")


def shipped_bundles() -> dict[str, Path]:
    """The bundles that come with mu_monai, by name."""
    package = Path(__file__).parent.parent
    for folder in (package / "bundles", package.parent / "bundles"):  # in an installed wheel; in a checkout
        if folder.is_dir():
            return {path.name: path for path in sorted(folder.iterdir()) if (path / _METADATA).is_file()}
    return {}


def find_bundle(name_or_folder: str | os.PathLike[str]) -> Path:
    """The folder of a bundle, given as a folder or as the name of a shipped one.

    Raises:
        InputError: if it is neither.

    Example:
        >>> find_bundle("isic").name
        'isic'
    """
    folder = Path(name_or_folder)
    if any((folder / "configs" / name).is_file() for name in _CONFIGS):
        return folder.resolve()
    shipped = shipped_bundles()
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    raise InputError(
        f"bundle '{name_or_folder}' is neither a folder with {_METADATA.as_posix()} nor one of "
        f"{', '.join(shipped)}{did_you_mean(str(name_or_folder), shipped)}"
    )


def bundle_root(name: str) -> str:
    """The folder of the bundle whose config is being run, for `bundle_root` in that config.

    A copied bundle finds itself, since MONAI adds the folder of the running config to `sys.path`. The shipped bundle of
    that name is the last candidate, so that nothing depends on the working directory.
    """
    for folder in _candidates(name):
        if folder.name == name and (folder / _METADATA).is_file():
            return str(folder.resolve())
    return str(find_bundle(name))


def _candidates(name: str) -> Iterator[Path]:
    yield from (Path(entry).resolve() for entry in sys.path if Path(entry).name == name)
    yield Path.cwd()
