"""DICOM segmentations (SEG): their segments, and the voxels of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mu_monai.data.volumes.dicom import Header, text
from mu_monai.data.volumes.frames import frame_affine, frame_count, frame_pixels, in_group
from mu_monai.data.volumes.grid import Grid
from mu_monai.errors import InputError, raise_if_any

_STEP = 1e-3  # how far a pixel's size may be from that of a voxel, as a share of it


def segment_names(header: Header) -> dict[int, str]:
    """The label of each segment by its number, without the background of label maps, whose number is 0.

    Raises:
        InputError: for a segment without number or label.
    """
    segments = [segment for segment in header.get("SegmentSequence") or [] if segment.get("SegmentNumber") != 0]
    raise_if_any(
        f"has a segment without {keyword} (the {place}. of {len(segments)}); export it again"
        for place, segment in enumerate(segments, start=1)
        for keyword in ("SegmentNumber", "SegmentLabel")
        if text(segment, keyword) is None
    )
    return {int(segment.SegmentNumber): str(text(segment, "SegmentLabel")) for segment in segments}


def segment_series(header: Header) -> set[str]:
    """The SeriesInstanceUIDs that a segmentation refers to."""
    return {str(item.get("SeriesInstanceUID")) for item in header.get("ReferencedSeriesSequence") or []}


def segment_mask(header: Header, number: int, grid: Grid) -> NDArray[np.bool_]:
    """The voxels of a segment.

    Args:
        header: the segmentation with its pixels.
        number: of the segment.
        grid: the voxels of its image.

    Raises:
        InputError: for shares instead of yes and no, and for frames that are not on the slices they refer to.
    """
    kind = text(header, "SegmentationType") or "none"
    if kind not in ("BINARY", "LABELMAP", "FRACTIONAL"):
        raise InputError(f"has the SegmentationType {kind}, which is not known here; save it as BINARY")
    pixels = frame_pixels(header)
    mask = np.zeros(grid.shape, dtype=bool)
    for frame in _frames(header, number, kind):
        what = f"segment {number} in frame {frame + 1}"
        raise_if_any(_share_problems(header, pixels[frame], kind, what))
        rows, columns = np.nonzero(pixels[frame] == number if kind == "LABELMAP" else pixels[frame])
        affine = frame_affine(header, frame)
        raise_if_any(_step_problems(affine, grid, what))
        points = np.stack([columns, rows], axis=1) @ affine[:3, :2].T + affine[:3, 3]
        voxels = grid.whole(grid.voxels_of(points), what)
        source = in_group(header, frame, "DerivationImageSequence", "SourceImageSequence") or []
        uids = {str(item.get("ReferencedSOPInstanceUID")) for item in source}
        for index in np.unique(voxels[:, 2]).tolist():
            raise_if_any(grid.reference_problems(uids, index, what))
        mask[tuple(voxels.T)] = True
    return mask


def _frames(header: Header, number: int, kind: str) -> Iterator[int]:
    """The frames that show a segment."""
    for frame in range(frame_count(header)):
        shown = in_group(header, frame, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
        if kind == "LABELMAP" or shown == number:
            yield frame


def _share_problems(header: Header, pixels: NDArray[Any], kind: str, what: str) -> list[str]:
    whole = int(header.get("MaximumFractionalValue") or 255)
    if kind != "FRACTIONAL" or np.isin(pixels, [0, whole]).all():
        return []
    return [f"{what} has shares between 0 and {whole} of a voxel; save it as BINARY, at the threshold that you want"]


def _step_problems(affine: NDArray[np.float64], grid: Grid, what: str) -> list[str]:
    """Why the pixels of a frame have another size or direction than the voxels of the image."""
    steps = (np.linalg.inv(grid.affine) @ affine)[:3, :2]
    nearest = np.round(steps)
    if np.allclose(steps, nearest, atol=_STEP) and (np.abs(nearest).sum(axis=0) == 1).all():
        return []
    return [f"{what} has pixels of another size or direction than its image; resample it to the voxels of the image"]
