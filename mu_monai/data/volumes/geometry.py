"""The position of a volume in space: checks of its affine, and whether two volumes have the same voxels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import ArrayLike, NDArray

SAME_PLACE = 0.01  # mm; rounding of decimal text in DICOM headers and float32 in NIfTI headers is smaller


def voxel_spacing(affine: ArrayLike) -> NDArray[np.float64]:
    """Size of a voxel along each axis in mm, `(3,)`: the lengths of the affine's columns.

    Example:
        >>> voxel_spacing(np.diag([-1.5, 1.5, 2, 1])).tolist()
        [1.5, 1.5, 2.0]
    """
    length: NDArray[np.float64] = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return length


def affine_problem(affine: ArrayLike) -> str | None:
    """Why an affine does not place voxels in space; None if it does.

    Example:
        >>> affine_problem(np.diag([1, 1, 0, 1]))
        'has the spacing 1 x 1 x 0 mm; each must be above 0: correct its header'
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(matrix).all():
        return "has an affine with NaN or infinity; correct its header"
    spacing = voxel_spacing(matrix)
    if (spacing <= 0).any():
        return spacing_problem(spacing)
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-3:
        return "has a singular affine (two of its axes point the same way); correct its header"
    return None


def spacing_problem(spacing: ArrayLike) -> str:
    """The problem of a spacing that is not above 0."""
    return f"has the spacing {spacing_in_words(spacing)}; each must be above 0: correct its header"


def spacing_in_words(spacing: ArrayLike) -> str:
    """The size of a voxel in words.

    Example:
        >>> spacing_in_words([0.9765625, 0.9765625, 2])
        '0.9766 x 0.9766 x 2 mm'
    """
    return " x ".join(f"{size:.4g}" for size in np.asarray(spacing).tolist()) + " mm"


def grid_problem(
    shape: Sequence[int], affine: ArrayLike, image_shape: Sequence[int], image_affine: ArrayLike
) -> str | None:
    """How the voxels of a label differ from those of its image; None if they are the same.

    Order and direction of the axes do not matter, since both are turned to RAS: a DICOM series starts at another corner
    than a NIfTI file with the same voxels.

    Args:
        shape: voxels of the label along its three axes.
        affine: affine of the label, `(4, 4)`, from voxels to mm, not singular.
        image_shape: voxels of the image along its three axes.
        image_affine: affine of the image.

    Example:
        >>> flipped = [[-1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        >>> grid_problem((10, 5, 5), flipped, (10, 5, 5), np.eye(4)) is None
        True
        >>> grid_problem((10, 5, 4), np.eye(4), (10, 5, 5), np.eye(4))
        'is 10x5x4 voxels but its image is 10x5x5; resample it to the voxels of the image'
    """
    here, there = _in_ras(shape, affine), _in_ras(image_shape, image_affine)
    if here[0] != there[0]:
        return (
            f"is {extent(shape)} voxels but its image is {extent(image_shape)}; resample it to the voxels of the image"
        )
    apart = _displacement(here[1], there[1], here[0])
    if apart <= SAME_PLACE:
        return None
    return (
        f"is up to {apart:.4g} mm away from its image, by their affines ({SAME_PLACE} mm is allowed); resample it to "
        "the voxels of the image, or copy the affine if only the header is wrong"
    )


def extent(shape: Sequence[int]) -> str:
    """The size of a volume in words.

    Example:
        >>> extent((512, 512, 20))
        '512x512x20'
    """
    return "x".join(map(str, shape))


def _in_ras(shape: Sequence[int], affine: ArrayLike) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine after the axes are permuted and flipped to point right, anterior and superior."""
    matrix = np.asarray(affine, dtype=np.float64)
    orientation = io_orientation(matrix)
    sizes = np.asarray(shape)[np.argsort(orientation[:, 0])]
    return tuple(sizes.tolist()), matrix @ inv_ornt_aff(orientation, shape)


def _displacement(first: NDArray[np.float64], second: NDArray[np.float64], shape: Sequence[int]) -> float:
    """How far apart two affines put the same voxel, in mm: the largest distance over the corners of the volume."""
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))])
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())
