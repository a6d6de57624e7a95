"""The voxels of a DICOM image, on which structures are drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mu_monai.data.volumes.dicom import headers_in
from mu_monai.data.volumes.files import read_volume
from mu_monai.data.volumes.frames import LPS
from mu_monai.data.volumes.geometry import SAME_PLACE, voxel_spacing
from mu_monai.errors import InputError


@dataclass(frozen=True)
class Grid:
    """The voxels of an image.

    Args:
        shape: along its axes; the slices are along the third.
        affine: `(4, 4)`, from voxels to mm in RAS.
        slices: the index of the slice of each SOP instance; empty for an image in one file.

    Example:
        >>> Grid((4, 4, 4), np.diag([-1.0, -1.0, 2.0, 1.0])).voxels_of(np.array([[-3.0, -1.0, 6.0]])).tolist()
        [[3.0, 1.0, 3.0]]
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    slices: Mapping[str, int] = field(default_factory=dict)

    def voxels_of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The voxel coordinates of points.

        Args:
            points: `(n, 3)`, in mm in RAS.
        """
        to_voxels = np.linalg.inv(self.affine)
        return points @ to_voxels[:3, :3].T + to_voxels[:3, 3]

    def reference_problems(self, uids: set[str], index: int, what: str) -> list[str]:
        """Why what is drawn on a slice was drawn on another image, by the SOP instances that it refers to.

        Args:
            uids: that it refers to; nothing is said about none.
            index: of the slice.
            what: is drawn, in words.
        """
        if not self.slices or not uids:
            return []
        if not uids & self.slices.keys():
            return [f"{what} refers to an image that its series does not have; give the series it was drawn on, whole"]
        found = sorted({self.slices[uid] for uid in uids if uid in self.slices})
        if index in found:
            return []
        return [
            f"{what} lies on slice {index + 1}, but refers to the image of slice {found[0] + 1}; one of both is wrong: "
            "export it again"
        ]

    def whole(self, voxels: NDArray[np.float64], what: str) -> NDArray[np.intp]:
        """Voxel coordinates as indices.

        Args:
            voxels: `(n, 3)`.
            what: what lies there, in words.

        Raises:
            InputError: for coordinates between voxels (by more than 0.01 mm) or outside.
        """
        indices = np.round(voxels).astype(np.intp)
        beside = np.abs((voxels - indices) * voxel_spacing(self.affine)).max(initial=0.0)
        if beside > SAME_PLACE:
            raise InputError(
                f"{what} lies up to {beside:.4g} mm beside the voxels of its image; resample it to the voxels of the "
                "image, or draw it on the original series"
            )
        if (indices < 0).any() or (indices >= self.shape).any():
            raise InputError(f"{what} reaches beyond its image; give the whole series, or the series it was drawn on")
        return indices


def grid_of(image: str | os.PathLike[str]) -> Grid:
    """The voxels of a DICOM image, as it is read in training.

    Args:
        image: a folder with a series, or a file of several frames.

    Raises:
        InputError: see `read_volume`.
    """
    volume = read_volume(str(image))
    grid = Grid(volume.values.shape, volume.affine)
    if not os.path.isdir(image):
        return grid
    headers = list(headers_in(image).values())
    positions = np.array([header.ImagePositionPatient for header in headers], dtype=np.float64)
    indices = np.round(grid.voxels_of(positions * LPS)[:, 2]).astype(int).tolist()
    uids = [str(header.get("SOPInstanceUID")) for header in headers]
    return Grid(grid.shape, grid.affine, dict(zip(uids, indices, strict=True)))
