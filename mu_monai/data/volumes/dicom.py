"""DICOM series: a folder with one file per slice, its headers, and whether it is whole."""

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
from pydicom.misc import is_dicom

from mu_monai.files import special_problem

_UNEVEN = 0.25  # how far, of the usual distance, a slice may lie from where it should; headers round positions
_SAME = 1e-3  # of the usual distance; slices nearer than this lie at one position
_DECIMALS = 4  # to which spacing and direction must agree
_IDENTIFIERS = ("SeriesInstanceUID", "PatientID")  # are told to nobody
_NUMBERS = {  # how many the elements hold that place a slice and scale its values
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

Header = pydicom.Dataset


def find_series(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The folders at any depth that directly hold DICOM files, in the order of their paths; not the hidden ones."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(map(is_dicom, _slice_files(place, files))):
            yield Path(place)


def is_series(path: str | os.PathLike[str]) -> bool:
    """Say whether a path is a folder that directly holds a DICOM file."""
    return os.path.isdir(path) and any(map(is_dicom, _slice_files(path, os.listdir(path))))


def read_header(folder: str | os.PathLike[str]) -> Header:
    """The header of one slice of a series, for what all its slices share; empty where none can be read."""
    for file in _slice_files(folder, os.listdir(folder)):
        header = _read(file)
        if isinstance(header, Header):
            return header
    return Header()


def text(header: Header, keyword: str) -> str | None:
    """The value of a header's element as text without spaces around it; none where it is absent or empty."""
    return str(header.get(keyword) or "").strip() or None


def series_problems(folder: str | os.PathLike[str]) -> list[str]:
    """Say why a folder is not one whole series of parallel slices; pixels are not read.

    Args:
        folder: with one file per slice, whatever their names.
    """
    inside = [name for name in sorted(os.listdir(folder)) if os.path.isdir(Path(folder, name)) and name[0] != "."]
    problems = [f"holds the folder {name!r}; leave only the slices of one series in it" for name in inside]
    problems += _reader_problems(folder)
    entries = (Path(folder, name) for name in sorted(os.listdir(folder)) if name[0] != ".")
    problems += [
        f"holds what must not be opened: {problem}" for entry in entries if (problem := special_problem(entry))
    ]
    headers = {file.name: _read(file) for file in _slice_files(folder, os.listdir(folder))}
    problems += _first(
        {name: str(error) for name, error in headers.items() if not isinstance(error, Header)},
        "that cannot be read as DICOM",
        "replace them, or take them out",
    )
    readable = {name: header for name, header in headers.items() if isinstance(header, Header)}
    wrong = {name: told for name, header in readable.items() if (told := _wrong_number(header))}
    problems += _first(
        wrong, "whose headers hold a wrong value", "correct these headers, or convert the series to NIfTI"
    )
    slices = {name: header for name, header in readable.items() if name not in wrong}
    problems += _first(
        {name: text(header, "Modality") or "no modality" for name, header in slices.items() if not _is_slice(header)},
        "that are no slice (no Rows, PixelSpacing, ImagePositionPatient, ImageOrientationPatient or InstanceNumber, or "
        "several frames)",
        "take them out, or convert the series to NIfTI",
    )
    if problems:
        return problems
    if len(slices) < 2:
        return [f"holds {len(slices)} DICOM slices; a volume needs two or more"]
    return _differences(slices) or _place_problems(list(slices.values()))


def _slice_files(folder: str | os.PathLike[str], names: list[str]) -> list[Path]:
    files = [Path(folder, name) for name in sorted(names) if name[0] != "." and name != "DICOMDIR"]
    return [file for file in files if file.is_file() and not special_problem(file)]


def _read(file: Path) -> Header | Exception:
    try:
        return pydicom.dcmread(file, stop_before_pixels=True)
    except Exception as error:  # pydicom raises whatever the bytes provoke
        return error


def _first(found: dict[str, str], what: str, advice: str) -> list[str]:
    """One sentence on all files of a kind, with the first of them."""
    if not found:
        return []
    name, told = next(iter(found.items()))
    return [f"holds {len(found)} files {what}, such as {name!r} ({told}); {advice}"]


def _reader_problems(folder: str | os.PathLike[str]) -> list[str]:
    """What makes MONAI's reader take other files than the slices."""
    problems = []
    if Path(folder, "DICOMDIR").is_file():
        problems.append("holds a DICOMDIR, the index of a medium, which would be read as a slice; move it elsewhere")
    if glob.escape(str(folder)) != str(folder):
        problems.append("has '*', '?' or '[' in its path, which would be read as a pattern; rename the folder")
    return problems


def _wrong_number(header: Header) -> str | None:
    """The first element that does not hold as many numbers as it must, and why; none where all do or are absent."""
    for keyword, count in _NUMBERS.items():
        try:
            value: Any = header.get(keyword)
            numbers = np.array([] if value in (None, "") else value, dtype=float).ravel()
        except Exception as error:  # pydicom raises whatever the bytes provoke
            return f"{keyword}: {error}"
        if numbers.size and not (numbers.size == count and np.isfinite(numbers).all()):
            return f"{keyword} is {value}, where {count} finite numbers belong"
    return None


def _is_slice(header: Header) -> bool:
    needed = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber")
    present = all(header.get(keyword) not in (None, "") for keyword in needed)
    return present and int(header.get("NumberOfFrames") or 1) == 1


def _differences(slices: dict[str, Header]) -> list[str]:
    """What the slices of one series share, and these do not."""
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
            told = ", ".join(shown.format(*value) for value in values.most_common(4))
            problems.append(f"mixes {len(values)} values of {keyword}: {told}; {advice}")
    return problems


def _comparable(header: Header, keyword: str) -> str:
    value: Any = header.get(keyword)
    if keyword in ("PixelSpacing", "ImageOrientationPatient"):
        return str((np.round(np.asarray(value, dtype=float), _DECIMALS) + 0.0).tolist())
    return str(value)


def _place_problems(slices: list[Header]) -> list[str]:
    """What the positions of the slices along their normal say: double, missing, or in another order than numbered."""
    direction = np.asarray(slices[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(direction[:3], direction[3:])
    places = np.array([normal @ np.asarray(header.ImagePositionPatient, dtype=float) for header in slices])
    numbers = np.array([int(header.InstanceNumber) for header in slices])
    steps = np.diff(np.sort(places))
    usual = float(np.median(steps))
    double = np.flatnonzero(steps <= _SAME * usual)
    if len(double):
        place = np.sort(places)[double[0]]
        return [
            f"holds {len(double)} slices at the position of another, such as at {place:.6g} mm along their normal; "
            "keep one of each, or give each series its own folder"
        ]
    return [*_gap_problems(np.sort(places), usual), *_order_problems(places, numbers)]


def _gap_problems(places: NDArray[np.float64], usual: float) -> list[str]:
    steps = np.diff(places)
    gaps = np.flatnonzero(np.abs(steps - usual) > _UNEVEN * usual)
    if not len(gaps):
        return []
    start, end = places[gaps[0]], places[gaps[0] + 1]
    return [
        f"has uneven slices: {end - start:.4g} mm from {start:.6g} to {end:.6g} mm along their normal, where "
        f"{usual:.4g} mm are usual ({len(gaps)} such places); add the missing slices, or resample the series"
    ]


def _order_problems(places: NDArray[np.float64], numbers: NDArray[np.int_]) -> list[str]:
    steps = np.diff(places[np.argsort(numbers, kind="stable")])
    if len(set(numbers.tolist())) == len(numbers) and (np.all(steps > 0) or np.all(steps < 0)):
        return []
    return [
        "numbers its slices (InstanceNumber) in another order than their positions, and slices are stacked by number; "
        "correct the numbers, or convert the series to NIfTI"
    ]
