"""Preprocessed volumes: in memory if they fit, on disk if a folder is given, and otherwise preprocessed again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import psutil
import torch
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.data.utils import pickle_hashing
from torch.utils.data import Subset

from mu_monai.data.case_files import image_files
from mu_monai.errors import InputError
from mu_monai.keys import IMAGE, LABEL, SUBSETS

_log = logging.getLogger(__name__)

_SHARE_OF_FREE_MEMORY = 0.25  # training needs the rest
_GIB = 2**30
_CONTAINER_LIMITS = (  # limit and usage of control groups, versions 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)

Case = Mapping[str, Any]


def volume_datasets(
    cases: Mapping[str, Sequence[Case]],
    transform: Callable[[Case], Case],
    *,
    cache_gib: float | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> dict[str, Dataset]:
    """Make a data set of whole preprocessed volumes per subset, with as many in memory as fit.

    The subsets share the memory in the order of `keys.SUBSETS`, training subsets first. The memory per volume is
    measured on the volume that is largest in mm. Volumes that do not fit are written to `cache_dir` when first used;
    without such a folder, they are preprocessed each time. The outcome is logged.

    Args:
        cases: the cases of each subset, as `load_split` returns them.
        transform: a deterministic MONAI transform, from a case to its preprocessed volume.
        cache_gib: memory for all volumes together in GiB, >= 0; by default a quarter of the free memory.
        cache_dir: folder for preprocessed volumes that do not fit; its files are keyed by case and transform.

    Raises:
        InputError: for a negative or infinite `cache_gib`.

    Example:
        A bundle has `"datasets": {"_target_": "mu_monai.data.volumes.cache.volume_datasets", "cases": "@cases",
        "transform": "@transforms"}`.
    """
    if cache_gib is not None and not 0 <= cache_gib < float("inf"):
        raise InputError(f"cache_gib={cache_gib} is not allowed; give the memory for volumes in GiB, 0 for none")
    budget = _free_memory() * _SHARE_OF_FREE_MEMORY if cache_gib is None else cache_gib * _GIB
    every = [case for subset in SUBSETS for case in cases.get(subset, ())]
    # copies, since the hash that names the files on disk changes once a reader in the transform has been used
    size = _bytes(deepcopy(transform)(max(every, key=_extent))) if every and budget else 0
    room = int(budget // size) if size else 0
    datasets, in_memory = {}, 0
    for subset in [subset for subset in SUBSETS if subset in cases]:
        part = list(cases[subset])
        fitting = min(room - in_memory, len(part))
        if fitting == len(part) or cache_dir is None:
            datasets[subset] = CacheDataset(part, deepcopy(transform), cache_num=fitting, progress=False)
            in_memory += fitting
        else:
            options = {"hash_func": _case_hash, "hash_transform": pickle_hashing}
            datasets[subset] = PersistentDataset(part, deepcopy(transform), cache_dir=Path(cache_dir), **options)
    if in_memory < len(every):
        rest = "preprocessed each time they are used: raise cache_gib, or give a cache_dir to keep them on disk"
        _log.info(
            "%d of %d preprocessed volumes fit into the cache of %.1f GiB (at most %.0f MiB each) and stay in memory; "
            "the others are %s",
            *(in_memory, len(every), budget / _GIB, size / 2**20),
            rest if cache_dir is None else f"kept in '{cache_dir}'",
        )
    return datasets


def holding(volumes: Dataset, classes: Sequence[int]) -> Subset[Any]:
    """The volumes of a data set whose label contains one of the classes, since patches of the others cannot.

    Args:
        volumes: whole volumes with `label`, class indices.
        classes: the channels to look for.

    Raises:
        InputError: if no volume contains one.
    """
    channels = torch.tensor(list(classes))
    indices = [i for i in range(len(volumes)) if torch.isin(torch.as_tensor(volumes[i][LABEL]), channels).any()]
    if not indices:
        raise InputError(
            f"none of the {len(volumes)} volumes to train on holds the classes to forget (label values "
            f"{', '.join(map(str, classes))}); there is nothing to forget, or 'classes' lists them in the wrong order"
        )
    if len(indices) < len(volumes):
        _log.info(
            "%d of %d volumes hold the classes to forget; patches are drawn from these", len(indices), len(volumes)
        )
    return Subset(volumes, indices)


def _free_memory() -> float:
    """Free memory in bytes, of the machine or, if that is less, of the container."""
    free = float(psutil.virtual_memory().available)
    for limit, used in _CONTAINER_LIMITS:
        try:
            free = min(free, float(Path(limit).read_text()) - float(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(free, 0.0)


def _bytes(case: Case) -> int:
    return sum(value.nbytes for value in case.values() if isinstance(value, torch.Tensor))


def _files(case: Case) -> list[Path]:
    """The files of a case's image; a DICOM series is a folder of them."""
    images = map(Path, image_files(case[IMAGE]))
    return [file for image in images for file in (sorted(image.iterdir()) if image.is_dir() else [image])]


def _extent(case: Case) -> float:
    """The size of a volume in mm3, by its header: the number of voxels after resampling is proportional to it."""
    label = nibabel.load(case[LABEL])  # has the voxels of its image, and is never a folder
    return float(np.prod(label.shape[:3]) * np.prod(label.header.get_zooms()[:3]))


def _case_hash(case: Case) -> bytes:
    """The name of a case on disk; it changes when one of its files is written again."""
    files = [*_files(case), *[Path(case[LABEL])] * (LABEL in case)]
    return bytes(pickle_hashing({**case, "written": [file.stat().st_mtime_ns for file in files]}))
