"""How large a volume may be: a header that promises more is refused before any memory is taken."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from mu_monai.files import MOST_UNPACKED

LARGEST = 1 << 30  # voxels; a CT of the whole body has 5 * 10^8
_TIGHTEST = 1032  # bytes that one compressed byte can stand for, the most that deflate allows


def size_problem(shape: Sequence[int], itemsize: int) -> str | None:
    """Why a volume is too large to be read; None if it is not.

    Args:
        shape: the voxels along each axis, as its header says.
        itemsize: the bytes of a voxel.

    Example:
        >>> size_problem((512, 512, 800), 2)
        >>> size_problem((20000, 20000, 20000), 2)
        'is too large (20000x20000x20000 voxels); at most 1,073,741,824 voxels are read: crop it, or resample it'
    """
    if math.prod(map(int, shape)) <= LARGEST and math.prod(map(int, shape)) * itemsize <= MOST_UNPACKED:
        return None
    voxels = "x".join(str(int(size)) for size in shape)
    return f"is too large ({voxels} voxels); at most {LARGEST:,} voxels are read: crop it, or resample it"


def promise_problem(path: str | os.PathLike[str], shape: Sequence[int], itemsize: int) -> str | None:
    """Why a NIfTI file, compressed or not, cannot hold the voxels that its header promises; None if it can."""
    promised = math.prod(map(int, shape)) * itemsize
    if promised <= os.path.getsize(path) * (_TIGHTEST if str(path).lower().endswith(".gz") else 1):
        return None
    return (
        f"has {os.path.getsize(path):,} bytes, which cannot hold the {promised:,} bytes of voxels that its header "
        "promises; it may be truncated or damaged: replace it"
    )
