"""DICOM series: a folder with one file per slice, its headers, and whether it is complete."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.misc import is_dicom

from mu_monai.data.volumes.frames import frame_count, pixel_problems
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import special_problem

_UNEVEN = 0.25  # how far a slice may be from its expected position, as a share of the usual distance; headers round
_SAME = 1e-3  # slices closer than this share of the usual distance are at the same position
_DECIMALS = 4  # spacing and direction must agree to this many decimals
_IDENTIFIERS = ("SeriesInstanceUID", "PatientID")  # never shown in messages
_UNDEFINED = 0xFFFFFFFF  # length of an element that says itself where it ends
_NUMBERS = {  # how many numbers each element for position and scale of a slice has
    "Rows": 1,
    "Columns": 1,
    "InstanceNumber": 1,
    "NumberOfFrames": 1,
    "RescaleSlope": 1,
    "RescaleIntercept": 1,
    "PixelSpacing": 2,
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
}

_NO_IMAGES = ("RTSTRUCT", "SEG", "RTPLAN", "RTDOSE", "RTRECORD", "REG", "SR", "PR", "KO", "DOC")

Header = pydicom.Dataset


def find_series(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The folders at any depth that directly contain DICOM files, sorted by path; hidden folders are skipped.

    Links are followed, and each folder is visited once.
    """
    visited = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(map(is_dicom, _slice_files(place, files))):
            yield Path(place)


def is_series(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder that directly contains a DICOM file."""
    return os.path.isdir(path) and any(map(is_dicom, _slice_files(path, os.listdir(path))))


def read_header(folder: str | os.PathLike[str]) -> Header:
    """The header of one slice of a series, for elements that all its slices share; empty if none can be read."""
    for file in _slice_files(folder, os.listdir(folder)):
        header = _read(file)
        if isinstance(header, Header):
            return header
    return Header()


def is_multi_frame(file: str | os.PathLike[str]) -> bool:
    """Whether a file is a DICOM image of several frames, such as an enhanced CT; objects such as SEG are not images."""
    header = _read(Path(file))
    return isinstance(header, Header) and frame_count(header) > 1 and not is_object(header)


def is_object(header: Header) -> bool:
    """Whether a header is that of an object that is not an image, such as RTSTRUCT or SEG."""
    return text(header, "Modality") in _NO_IMAGES


def dicom_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The DICOM files that are directly in a folder, sorted by name."""
    return [file for file in _slice_files(folder, os.listdir(folder)) if is_dicom(file)]


def read_file(file: str | os.PathLike[str], *, pixels: bool = True) -> Header:
    """Read a DICOM file, with or without its pixels.

    Raises:
        InputError: without its name, if it cannot be read.
    """
    try:
        header = pydicom.dcmread(file, stop_before_pixels=not pixels)
    except Exception as error:  # pydicom raises all kinds of errors for damaged bytes
        raise InputError(f"cannot be read as DICOM ({error}); replace it") from None
    raise_if_any(["ends in the middle of an element; it may be truncated: replace it"] if _is_cut(header) else [])
    return header


def headers_in(folder: str | os.PathLike[str]) -> dict[Path, Header]:
    """The headers of all files in a folder that can be read as DICOM."""
    headers = {file: _read(file) for file in _slice_files(folder, os.listdir(folder))}
    return {file: header for file, header in headers.items() if isinstance(header, Header)}


def text(header: Header, keyword: str) -> str | None:
    """The value of a header's element as text without surrounding spaces; None if it is absent, empty or damaged."""
    try:
        return str(header.get(keyword) or "").strip() or None
    except Exception:  # pydicom raises all kinds of errors for damaged bytes
        return None


def series_problems(folder: str | os.PathLike[str]) -> list[str]:
    """Why a folder is not one complete series of parallel slices; pixels are not read.

    Args:
        folder: a folder with one file per slice, with any names.
    """
    inside = [name for name in sorted(os.listdir(folder)) if os.path.isdir(Path(folder, name)) and name[0] != "."]
    problems = [f"holds the folder {name!r}; leave only the slices of one series in it" for name in inside]
    problems += _reader_problems(folder)
    entries = (Path(folder, name) for name in sorted(os.listdir(folder)) if name[0] != ".")
    problems += [
        f"holds a file that must not be opened: {problem}" for entry in entries if (problem := special_problem(entry))
    ]
    headers = {file.name: _read(file) for file in _slice_files(folder, os.listdir(folder))}
    problems += _first(
        {name: str(error) for name, error in headers.items() if not isinstance(error, Header)},
        "that cannot be read as DICOM",
        "replace them, or take them out",
    )
    readable = {name: header for name, header in headers.items() if isinstance(header, Header)}
    wrong = {name: reason for name, header in readable.items() if (reason := _wrong_number(header))}
    problems += _first(
        wrong, "whose headers hold a wrong value", "correct these headers, or convert the series to NIfTI"
    )
    slices = {name: header for name, header in readable.items() if name not in wrong}
    problems += _first(
        {name: text(header, "Modality") or "no modality" for name, header in slices.items() if not _is_slice(header)},
        "that are not slices (without Rows, PixelSpacing, ImagePositionPatient, ImageOrientationPatient or "
        "InstanceNumber, or with several frames)",
        "take them out, or convert the series to NIfTI; a volume in one file is an image by itself, not its folder",
    )
    if problems:
        return problems
    if len(slices) < 2:
        return [f"holds {len(slices)} DICOM slices; a volume needs two or more"]
    headers_of_slices = list(slices.values())
    return _differences(slices) or [*pixel_problems(headers_of_slices), *_slice_problems(headers_of_slices)]


def size_problems(folder: str | os.PathLike[str]) -> list[str]:
    """Why the pixels of a series must not be read, by its headers; empty also for what is not a series."""
    headers = list(headers_in(folder).values())
    return list(pixel_problems(headers)) if headers else []


def _slice_files(folder: str | os.PathLike[str], names: list[str]) -> list[Path]:
    files = [Path(folder, name) for name in sorted(names) if name[0] != "." and name != "DICOMDIR"]
    return [file for file in files if file.is_file() and not special_problem(file)]


def _is_cut(header: Header) -> bool:
    """Whether an element has fewer bytes than its length says, which pydicom takes as it is."""
    elements = (header.get_item(tag) for tag in header.keys())  # noqa: SIM118 - a data set is not a mapping
    return any(
        isinstance(element, RawDataElement) and len(element.value or b"") < element.length < _UNDEFINED  # type: ignore[unreachable]
        for element in elements
    )


def _read(file: Path) -> Header | Exception:
    try:
        return pydicom.dcmread(file, stop_before_pixels=True)
    except Exception as error:  # pydicom raises all kinds of errors for damaged bytes
        return error


def _first(reasons: dict[str, str], what: str, advice: str) -> list[str]:
    """One sentence about all files of a kind, with the first of them as example."""
    if not reasons:
        return []
    name, reason = next(iter(reasons.items()))
    return [f"holds {len(reasons)} files {what}, such as {name!r} ({reason}); {advice}"]


def _reader_problems(folder: str | os.PathLike[str]) -> list[str]:
    """Why MONAI's reader would read files other than the slices."""
    problems = []
    if Path(folder, "DICOMDIR").is_file():
        problems.append("holds a DICOMDIR, the index of a medium, which would be read as a slice; move it elsewhere")
    if glob.escape(str(folder)) != str(folder):
        problems.append("has '*', '?' or '[' in its path, which would be read as a pattern; rename the folder")
    return problems


def _wrong_number(header: Header) -> str | None:
    """The first element without the required count of finite numbers, and why; None if all are valid or absent."""
    for keyword, count in _NUMBERS.items():
        try:
            value: Any = header.get(keyword)
            numbers = np.array([] if value in (None, "") else value, dtype=float).ravel()
        except Exception as error:  # pydicom raises all kinds of errors for damaged bytes
            return f"{keyword}: {error}"
        if numbers.size and not (numbers.size == count and np.isfinite(numbers).all()):
            return f"{keyword} is {value}, but must be {count} finite numbers"
    return None


def _is_slice(header: Header) -> bool:
    needed = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber")
    present = all(header.get(keyword) not in (None, "") for keyword in needed)
    return present and frame_count(header) == 1


def _differences(slices: dict[str, Header]) -> list[str]:
    """Elements that all slices of one series should share, but these do not."""
    shared = {
        "SeriesInstanceUID": "give each series its own folder",
        "PatientID": "give each patient's series its own folder",
        "Rows": "take out the slices of other size, or give them their own folder",
        "Columns": "take out the slices of other size, or give them their own folder",
        "PixelSpacing": "take out the slices of other spacing, or give them their own folder",
        "ImageOrientationPatient": "take out the slices of other direction, such as a localizer",
    }
    problems = []
    for keyword, advice in shared.items():
        values = Counter(_comparable(header, keyword) for header in slices.values())
        if len(values) > 1:
            shown = "{1} slices" if keyword in _IDENTIFIERS else "{0} ({1} slices)"
            examples = ", ".join(shown.format(*value) for value in values.most_common(4))
            problems.append(f"mixes {len(values)} values of {keyword}: {examples}; {advice}")
    return problems


def _comparable(header: Header, keyword: str) -> str:
    value: Any = header.get(keyword)
    if keyword in ("PixelSpacing", "ImageOrientationPatient"):
        return str((np.round(np.asarray(value, dtype=float), _DECIMALS) + 0.0).tolist())
    return str(value)


def place_problems(places: NDArray[np.float64]) -> list[str]:
    """Slices at the same position, and missing ones.

    Args:
        places: the positions of two or more slices along their normal in mm.

    Example:
        >>> place_problems(np.array([0.0, 2.0, 4.0])), len(place_problems(np.array([0.0, 2.0, 2.0, 6.0])))
        ([], 1)
    """
    return _double_problems(places) or _gap_problems(places)


def _slice_problems(slices: list[Header]) -> list[str]:
    """Slices at the same position, missing slices, and slices whose numbers contradict their positions."""
    direction = np.asarray(slices[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(direction[:3], direction[3:])
    places = np.array([normal @ np.asarray(header.ImagePositionPatient, dtype=float) for header in slices])
    numbers = np.array([int(header.InstanceNumber) for header in slices])
    return _double_problems(places) or [*_gap_problems(places), *_order_problems(places, numbers)]


def _double_problems(places: NDArray[np.float64]) -> list[str]:
    ordered = np.sort(places)
    steps = np.diff(ordered)
    double = np.flatnonzero(steps <= _SAME * np.median(steps))
    if not len(double):
        return []
    return [
        f"holds {len(double)} slices at the position of another one, such as at {ordered[double[0]]:.6g} mm along "
        "their normal; keep one of each, or give each series its own folder"
    ]


def _gap_problems(places: NDArray[np.float64]) -> list[str]:
    ordered = np.sort(places)
    steps = np.diff(ordered)
    usual = float(np.median(steps))
    gaps = np.flatnonzero(np.abs(steps - usual) > _UNEVEN * usual)
    if not len(gaps):
        return []
    start, end = ordered[gaps[0]], ordered[gaps[0] + 1]
    return [
        f"has uneven slices: {end - start:.4g} mm from {start:.6g} to {end:.6g} mm along their normal, instead of the "
        f"usual {usual:.4g} mm ({len(gaps)} such places); add the missing slices, or resample the series"
    ]


def _order_problems(places: NDArray[np.float64], numbers: NDArray[np.int_]) -> list[str]:
    steps = np.diff(places[np.argsort(numbers, kind="stable")])
    if len(set(numbers.tolist())) == len(numbers) and (np.all(steps > 0) or np.all(steps < 0)):
        return []
    return [
        "numbers its slices (InstanceNumber) in another order than their positions, but slices are stacked by number; "
        "correct the numbers, or convert the series to NIfTI"
    ]
