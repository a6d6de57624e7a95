"""Contours of radiotherapy (RTSTRUCT): their regions of interest, and the voxels of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray
from skimage.measure import grid_points_in_poly

from mu_monai.data.volumes.dicom import Header, text
from mu_monai.data.volumes.frames import LPS
from mu_monai.data.volumes.grid import Grid
from mu_monai.errors import InputError, raise_if_any

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OPEN = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
_OUTSIDE, _INSIDE = 0, 1  # of a contour, as scikit-image says it; larger numbers are on it
_DECIMALS = 3  # of voxel coordinates; positions in headers are decimal text
_OFF_SLICE = 0.05  # how far a contour may be from its slice, as a share of their distance; positions are rounded


def roi_names(header: Header) -> dict[int, str]:
    """The name of each region by its number, of those that have closed contours; points and lines enclose no voxels.

    Raises:
        InputError: for a region without number or name, contours of no region, and contours of another kind.
    """
    regions = header.get("StructureSetROISequence") or []
    raise_if_any(
        f"has a region without {keyword} (the {place}. of {len(regions)}); export it again"
        for place, region in enumerate(regions, start=1)
        for keyword in ("ROINumber", "ROIName")
        if text(region, keyword) is None
    )
    names = {int(region.ROINumber): str(text(region, "ROIName")) for region in regions}
    raise_if_any(_contour_problems(header, names))
    return {number: name for number, name in names.items() if _closed(header, number)}


def roi_series(header: Header) -> set[str]:
    """The SeriesInstanceUIDs that contours refer to."""
    frames = header.get("ReferencedFrameOfReferenceSequence") or []
    studies = (study for frame in frames for study in frame.get("RTReferencedStudySequence") or [])
    series = (item for study in studies for item in study.get("RTReferencedSeriesSequence") or [])
    return {str(item.get("SeriesInstanceUID")) for item in series}


def roi_mask(header: Header, number: int, grid: Grid) -> NDArray[np.bool_]:
    """The voxels of a region: those whose center its contours enclose, or go through.

    A contour inside of another one of the same slice is a hole, and one inside of a hole is an island; a contour that
    is given twice counts once. Programs that make contours from masks lead them through the centers of the outermost
    voxels, of holes as well, so these centers belong to the region.

    Args:
        header: the contours.
        number: of the region.
        grid: the voxels of its image.

    Raises:
        InputError: for contours that are not on a slice, reach beyond the image, or refer to another slice.
    """
    mask = np.zeros(grid.shape, dtype=bool)
    drawn: dict[int, list[NDArray[np.uint8]]] = defaultdict(list)
    for place, contour in enumerate(_closed(header, number), start=1):
        what = f"region {number}, contour {place}"
        voxels = _corners(contour, grid, what)
        index = int(np.round(voxels[0, 2]))
        uids = {str(item.get("ReferencedSOPInstanceUID")) for item in contour.get("ContourImageSequence") or []}
        raise_if_any(grid.reference_problems(uids, index, what))
        corners = np.round(voxels[:, :2], _DECIMALS)
        drawn[index].append(grid_points_in_poly(grid.shape[:2], corners, binarize=False))
    for index, areas in drawn.items():
        mask[:, :, index] = _combined(areas)
    return mask


def _contour_problems(header: Header, known: Collection[int]) -> Iterator[str]:
    for item in header.get("ROIContourSequence") or []:
        number = item.get("ReferencedROINumber")
        if number not in known:
            yield f"has contours of region {number}, which it does not list; export it again"
        for kind in {text(contour, "ContourGeometricType") for contour in item.get("ContourSequence") or []}:
            if kind not in (*_CLOSED, *_OPEN):
                yield f"has a contour of the kind {kind} in region {number}, which is not known; export it again"


def _closed(header: Header, number: int) -> list[Header]:
    items = [item for item in header.get("ROIContourSequence") or [] if item.get("ReferencedROINumber") == number]
    contours = (contour for item in items for contour in item.get("ContourSequence") or [])
    return [contour for contour in contours if text(contour, "ContourGeometricType") in _CLOSED]


def _corners(contour: Header, grid: Grid, what: str) -> NDArray[np.float64]:
    """The corners of a contour in voxel coordinates, which lie on one slice."""
    numbers = np.array(contour.get("ContourData") or [], dtype=np.float64)
    if numbers.size < 9 or numbers.size % 3 or not np.isfinite(numbers).all():
        raise InputError(f"{what} is not three or more points of three finite numbers; export it again")
    voxels = grid.voxels_of(numbers.reshape(-1, 3) * LPS)
    index = np.round(voxels[0, 2])
    if np.abs(voxels[:, 2] - index).max() > _OFF_SLICE:
        raise InputError(
            f"{what} is not on a slice of its image; draw it on the original series, or convert the label to NIfTI"
        )
    size = np.array(grid.shape)
    low, high = np.append(voxels[:, :2].min(axis=0), index), np.append(voxels[:, :2].max(axis=0), index)
    if (low < -0.5).any() or (high > size - 0.5).any():
        raise InputError(f"{what} reaches beyond its image; give the whole series, or the series it was drawn on")
    return voxels


def _combined(areas: list[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """The areas of one slice together, the largest first, so that what lies in another one comes after it.

    Args:
        areas: for each contour, 0 outside, 1 inside, and more on the contour.
    """
    whole = np.zeros(areas[0].shape, dtype=bool)
    before: list[NDArray[np.uint8]] = []
    for area in sorted(areas, key=np.count_nonzero, reverse=True):
        if any(np.array_equal(area, other) for other in before):
            continue
        inside = area.any() and whole[area != _OUTSIDE].all()
        whole = whole & (area != _INSIDE) if inside else whole | (area != _OUTSIDE)
        before.append(area)
    return whole
