"""DICOM volumes in one file (enhanced CT, MR and PET), read by nibabel once this module is imported.

As for [MetaImage and NRRD][mu_monai.data.volumes.research_formats], checks, training and prediction read them alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from mu_monai.data.volumes.dicom import place_problems, read_file
from mu_monai.data.volumes.frames import frame_affine, frame_count, frame_pixels, in_group
from mu_monai.data.volumes.geometry import SAME_PLACE
from mu_monai.data.volumes.research_formats import MetaImage, as_nifti, register
from mu_monai.errors import InputError, raise_if_any

_SCALE = "PixelValueTransformationSequence"


class MultiFrame(MetaImage):
    """A `.dcm` file with all slices of a volume as a NIfTI image."""

    files_types = (("image", ".dcm"),)
    valid_exts = (".dcm",)

    @classmethod
    def from_filename(cls, filename: Any, *_: Any, **__: Any) -> Nifti1Image:
        """Read a file.

        Raises:
            InputError: if it is not one volume of parallel slices at even distances.
        """
        return as_nifti(*_read(read_file(filename)))


def _read(header: pydicom.Dataset) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The values of a volume `(columns, rows, slices)`, its slices in the order of their positions, and its affine."""
    count = frame_count(header)
    if "SegmentSequence" in header or "ROIContourSequence" in header:
        raise InputError("holds structures, not an image; leave it beside its series, for the layout dicom to find it")
    if count < 2:
        raise InputError("holds one slice; give the folder of its series, with all slices")
    pixels = frame_pixels(header)
    places = np.array([frame_affine(header, frame) for frame in range(count)])
    if not np.allclose(places[:, :3, :3], places[0, :3, :3], atol=1e-4):
        raise InputError("holds frames of several directions or spacings; export each volume as a file of its own")
    positions = places[:, :3, 3]
    along = positions @ places[0, :3, 2]
    raise_if_any(place_problems(along))
    order = np.argsort(along)
    affine = places[order[0]].copy()
    affine[:3, 2] = (positions[order[-1]] - positions[order[0]]) / (count - 1)
    apart = positions[order] - affine[:3, 3] - np.arange(count)[:, None] * affine[:3, 2]
    beside = np.linalg.norm(apart - np.outer(apart @ places[0, :3, 2], places[0, :3, 2]), axis=1).max()
    if beside > SAME_PLACE:
        raise InputError(f"holds slices that are up to {beside:.4g} mm beside one another; resample it to a box")
    return _scaled(header, pixels)[order].transpose(2, 1, 0), affine


def _scaled(header: pydicom.Dataset, pixels: NDArray[Any]) -> NDArray[Any]:
    """The values that the stored ones stand for; each frame may have a scale of its own."""
    scales = [
        [in_group(header, frame, _SCALE, keyword) for keyword in ("RescaleSlope", "RescaleIntercept")]
        for frame in range(len(pixels))
    ]
    if all(value is None for scale in scales for value in scale):
        whole = [header.get("RescaleSlope"), header.get("RescaleIntercept")]  # one for all frames
        if whole == [None, None]:
            return pixels
        scales = [[1 if whole[0] is None else whole[0], 0 if whole[1] is None else whole[1]]] * len(pixels)
    raise_if_any(
        ["gives a scale (RescaleSlope, RescaleIntercept) for some of its frames only; export it again"]
        if any(value is None for scale in scales for value in scale)
        else []
    )
    slope, intercept = np.array(scales, dtype=np.float32).T[:, :, None, None]
    raise_if_any(
        [] if np.isfinite([slope, intercept]).all() else ["has a RescaleSlope or RescaleIntercept that is not finite"]
    )
    scaled: NDArray[Any] = pixels.astype(np.float32) * slope + intercept
    return scaled


register(MultiFrame)
