"""Adopting a bundle: writing the configs that commands run for it, beside nothing of its own."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from functools import cache
from pathlib import Path

from mu_monai.bundle.adopted.generate import adopted_configs
from mu_monai.bundle.adopted.parts import Parts, find_parts
from mu_monai.bundle.adopted.source import make_importable
from mu_monai.bundle.multi_gpu import MULTI_GPU, PREFIX, multi_gpu
from mu_monai.files import write_json

logger = logging.getLogger(__name__)


def write_configs(parts: Parts, target: Path) -> None:
    """Write the configs for a bundle into `configs` of another folder.

    Args:
        parts: the bundle's parts; nothing is written into the bundle.
        target: the folder to write into.

    Raises:
        InputError: if a config cannot be made; nothing is written then.
    """
    for name, content in adopted_configs(parts).items():
        write_json(target / "configs" / f"{name}.json", content)
        if name in MULTI_GPU:
            write_json(target / "configs" / f"{PREFIX}{name}.json", multi_gpu(name, content))


@cache
def adopted(folder: Path) -> tuple[Path, Parts]:
    """The configs for a bundle, in a folder of its name that lasts as long as the program, and the bundle's parts.

    Raises:
        InputError: with every reason why the bundle cannot be adopted.
    """
    make_importable(folder)
    parts = find_parts(folder)
    for note in parts.notes:
        logger.info("bundle '%s': %s", folder.name, note)
    place = Path(tempfile.mkdtemp(prefix="mu-monai-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    target = place / folder.name
    write_configs(parts, target)
    return target, parts
