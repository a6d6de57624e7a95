"""Frames of a DICOM object that holds several: where each lies in space, by the functional groups of its header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from mu_monai.data.volumes.limits import size_problem
from mu_monai.errors import InputError, raise_if_any

LPS = np.array([-1.0, -1.0, 1.0])  # from DICOM's axes, which point left, to the back and up, to those of NIfTI
_BITS = 8  # in a byte; pixels of one bit are unpacked to bytes


def in_group(header: pydicom.Dataset, frame: int, group: str, keyword: str) -> Any:
    """The value of an element of a frame, from the functional groups of its own or those that all frames share.

    Args:
        header: of an object with several frames.
        frame: its index.
        group: the keyword of the functional group, such as `PlanePositionSequence`.
        keyword: of the element.

    Returns:
        None if there is no such element.
    """
    for groups in (header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")):
        place = frame if groups is header.get("PerFrameFunctionalGroupsSequence") else 0
        items = groups[place].get(group) if groups and place < len(groups) else None
        value = items[0].get(keyword) if items else None
        if value not in (None, ""):
            return value
    return None


def frame_affine(header: pydicom.Dataset, frame: int) -> NDArray[np.float64]:
    """The affine `(4, 4)` of a frame, from column, row and nothing to mm in RAS.

    Raises:
        InputError: if the header does not place the frame in space.
    """
    position = _numbers(header, frame, "PlanePositionSequence", "ImagePositionPatient", 3)
    direction = _numbers(header, frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    between_rows, between_columns = _numbers(header, frame, "PixelMeasuresSequence", "PixelSpacing", 2)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = direction[:3] * between_columns, direction[3:] * between_rows
    affine[:3, 2] = np.cross(direction[:3], direction[3:])
    affine[:3, 3] = position
    affine[:3] *= LPS[:, None]
    return affine


def frame_count(header: pydicom.Dataset) -> int:
    """How many frames an object says it has; 1 if it says nothing, or nothing that is a number."""
    try:
        return int(header.get("NumberOfFrames") or 1)
    except Exception:  # pydicom raises all kinds of errors for damaged bytes
        return 1


def frame_pixels(header: pydicom.Dataset) -> NDArray[Any]:
    """The stored values of all frames, `(frames, rows, columns)`.

    Raises:
        InputError: for colors, and if the header promises more than may be read.
    """
    raise_if_any(pixel_problems([header]))
    count, groups = frame_count(header), header.get("PerFrameFunctionalGroupsSequence")
    if count > 1 and len(groups or ()) != count:
        raise InputError(
            f"says that it has {count} frames and describes {len(groups or ())} of them; export it again, as enhanced "
            "or as single slices"
        )
    return np.reshape(header.pixel_array, (count, int(header.Rows), int(header.Columns)))


def pixel_problems(headers: Sequence[pydicom.Dataset]) -> Iterator[str]:
    """Why the pixels of a file, or of the slices of a series, must not be read, by their headers."""
    first = headers[0]
    samples = int(first.get("SamplesPerPixel") or 1)
    if samples != 1:
        yield f"has {samples} values per pixel, which are colors; a volume has one: export the original series"
        return
    size = int(first.get("Columns") or 0), int(first.get("Rows") or 0), sum(map(frame_count, headers))
    problem = size_problem(size, max(1, int(first.get("BitsAllocated") or 16) // _BITS))
    if problem:
        yield problem


def _numbers(header: pydicom.Dataset, frame: int, group: str, keyword: str, count: int) -> NDArray[np.float64]:
    numbers = np.array(in_group(header, frame, group, keyword), dtype=np.float64).ravel()
    if numbers.size != count or not np.isfinite(numbers).all():
        raise InputError(
            f"has no {keyword} of {count} finite numbers for frame {frame + 1}, so it has no place in space; export it "
            "again, as enhanced or as single slices, or convert it to NIfTI"
        )
    return numbers
