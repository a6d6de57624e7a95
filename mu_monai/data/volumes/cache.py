"""Preprocessed volumes: in memory as far as they fit, on disk where a folder is given, and otherwise made again."""

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

from mu_monai.errors import InputError
from mu_monai.keys import IMAGE, LABEL, SUBSETS

_log = logging.getLogger(__name__)

_SHARE_OF_FREE_MEMORY = 0.25  # training needs the rest
_GIB = 2**30
_CONTAINER_LIMITS = (  # of control groups, version 2 and 1
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
    """Make a data set of whole preprocessed volumes per subset, which keeps as many in memory as fit.

    The subsets share the memory in the order of `keys.SUBSETS`: those that are trained on come first. How much one
    volume takes is measured on the largest, in mm. What does not fit is kept in `cache_dir` after the first time, and
    preprocessed at every use where there is no such folder. What happens is logged.

    Args:
        cases: the cases of each subset, as `load_split` gives them.
        transform: a deterministic MONAI transform, from a case to its preprocessed volume.
        cache_gib: memory for all volumes together in GiB, >= 0; by default a quarter of what is free now.
        cache_dir: folder for preprocessed volumes that do not fit; files there are told apart by case and transform.

    Raises:
        InputError: for a negative or infinite `cache_gib`.

    Example:
        A bundle writes `"datasets": {"_target_": "mu_monai.data.volumes.cache.volume_datasets", "cases": "@cases",
        "transform": "@transforms"}`.
    """
    if cache_gib is not None and not 0 <= cache_gib < float("inf"):
        raise InputError(f"cache_gib={cache_gib} is not allowed; give the memory for volumes in GiB, 0 for none")
    budget = _free_memory() * _SHARE_OF_FREE_MEMORY if cache_gib is None else cache_gib * _GIB
    every = [case for subset in SUBSETS for case in cases.get(subset, ())]
    # copies, since a reader that has read is another one to the hash that names what is kept on disk
    size = _bytes(deepcopy(transform)(max(every, key=_extent))) if every and budget else 0
    room = int(budget // size) if size else 0
    datasets, in_memory = {}, 0
    for subset in [subset for subset in SUBSETS if subset in cases]:
        own = list(cases[subset])
        kept = min(room - in_memory, len(own))
        if kept == len(own) or cache_dir is None:
            datasets[subset] = CacheDataset(own, deepcopy(transform), cache_num=kept, progress=False)
            in_memory += kept
        else:
            options = {"hash_func": _case_hash, "hash_transform": pickle_hashing}
            datasets[subset] = PersistentDataset(own, deepcopy(transform), cache_dir=Path(cache_dir), **options)
    if in_memory < len(every):
        rest = "made again at every use: raise cache_gib, or give a cache_dir to keep them on disk"
        _log.info(
            "%d of %d preprocessed volumes fit into the %.1f GiB of the cache (%.0f MiB each at most) and stay in "
            "memory; the others are %s",
            *(in_memory, len(every), budget / _GIB, size / 2**20),
            rest if cache_dir is None else f"kept in '{cache_dir}'",
        )
    return datasets


def holding(volumes: Dataset, classes: Sequence[int]) -> Subset[Any]:
    """Those volumes of a data set whose label holds one of the classes: patches of the others cannot.

    Args:
        volumes: whole volumes with `label`, class indices.
        classes: the channels to look for.

    Raises:
        InputError: where no volume does.
    """
    wanted = torch.tensor(list(classes))
    indices = [i for i in range(len(volumes)) if torch.isin(torch.as_tensor(volumes[i][LABEL]), wanted).any()]
    if not indices:
        raise InputError(
            f"none of the {len(volumes)} volumes to train on holds the classes to forget (label values "
            f"{', '.join(map(str, classes))}); there is nothing to forget, or 'classes' names them in another order"
        )
    if len(indices) < len(volumes):
        _log.info(
            "%d of %d volumes hold the classes to forget; patches are drawn from these", len(indices), len(volumes)
        )
    return Subset(volumes, indices)


def _free_memory() -> float:
    """Bytes that may still be taken: those of the machine, or of the container where it is given less."""
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
    image = Path(case[IMAGE])
    return sorted(image.iterdir()) if image.is_dir() else [image]


def _extent(case: Case) -> float:
    """The size of a volume in mm3, by its header: what a resampled volume's voxels grow with."""
    label = nibabel.load(case[LABEL])  # on the voxels of its image, and never a folder
    return float(np.prod(label.shape[:3]) * np.prod(label.header.get_zooms()[:3]))


def _case_hash(case: Case) -> bytes:
    """The name of a case on disk: another one once one of its files was written anew."""
    files = [*_files(case), *[Path(case[LABEL])] * (LABEL in case)]
    return bytes(pickle_hashing({**case, "written": [file.stat().st_mtime_ns for file in files]}))
