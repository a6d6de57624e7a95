"""Three planes of a volume in radiological view: upright, with the patient's right on the left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

PLANE, POSITION, SPACING, VOLUME = "plane", "position", "spacing", "volume_"  # arrays of an archive of examples
NORMALS = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis perpendicular to each plane


def cut(
    volume: NDArray[np.uint8], plane: str, position: int, spacing: Sequence[float], *, smooth: bool = False
) -> NDArray[np.uint8]:
    """One slice with square pixels, each as large as the smallest side of a voxel.

    The radiological convention: in axial and coronal views the patient's right is on the left of the picture; anterior
    is up in axial views, superior in coronal and sagittal ones, and anterior is on the left in sagittal ones.

    Args:
        volume: `(X, Y, Z)`, whose axes point to the right, anterior and superior of the patient (RAS).
        plane: `axial`, `coronal` or `sagittal`.
        position: the index of the slice along the axis perpendicular to the plane.
        spacing: the size of a voxel in mm along each axis.
        smooth: interpolate between pixels, for images; otherwise values stay as they are, for classes.

    Example:
        >>> volume = np.zeros((3, 4, 5), dtype=np.uint8)
        >>> volume[2, 3, 1] = 7  # right, anterior
        >>> view = cut(volume, "axial", 1, (1, 1, 3))
        >>> view.shape, view[0, 0].item()
        ((4, 3), 7)
        >>> cut(volume, "coronal", 3, (1, 1, 3)).shape
        (15, 3)
    """
    normal = NORMALS[plane]
    view = np.take(volume, position, axis=normal).T[::-1, ::-1]
    across, up = (step / min(spacing) for axis, step in enumerate(spacing) if axis != normal)
    size = max(1, round(view.shape[0] * up)), max(1, round(view.shape[1] * across))
    if size == view.shape:
        return view
    stretched = resize(view, size, order=int(smooth), mode="edge", preserve_range=True, anti_aliasing=False)
    return np.asarray(np.round(stretched), dtype=np.uint8)


def framed(view: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    """A view centered in an empty frame.

    Args:
        view: `(H, W)`.
        size: height and width of the frame, at least as large as the view.

    Example:
        >>> framed(np.ones((1, 2), dtype=np.uint8), (3, 2)).tolist()
        [[0, 0], [1, 1], [0, 0]]
    """
    spare = [(whole - part) // 2 for whole, part in zip(size, view.shape, strict=True)]
    sides = [(low, whole - part - low) for low, whole, part in zip(spare, size, view.shape, strict=True)]
    return np.pad(view, sides)
