"""Folders of DICOM images, read into a manifest with pseudonyms, and their labels."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mu_monai.data.layouts.drawn import (
    Drawing,
    class_numbers,
    draw,
    drawings_of,
    find_drawings,
    structure_classes,
    write_drawn,
)
from mu_monai.data.layouts.listing import LayoutInput, Listing, list_folder, stem_of
from mu_monai.data.pseudonyms import pseudonym
from mu_monai.data.volumes.dicom import (
    Header,
    dicom_files,
    find_series,
    headers_in,
    is_object,
    read_file,
    read_header,
    text,
)
from mu_monai.data.volumes.files import VOLUME_SUFFIXES
from mu_monai.data.volumes.frames import frame_count
from mu_monai.data.volumes.multi_frame import MultiFrame
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID
from mu_monai.tables import forms, nearly_equal

_log = logging.getLogger(__name__)

_HEADERS = {
    "manufacturer": "Manufacturer",
    "model_name": "ManufacturerModelName",
    "study_date": "StudyDate",
    "modality": "Modality",
    "sex": "PatientSex",
}
_SERIES = "SeriesInstanceUID"
_LABEL_SUFFIXES = tuple(end for end in VOLUME_SUFFIXES if end not in MultiFrame.valid_exts)
_YEARS = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}  # how many of each unit of PatientAge make a year


def read_dicom(source: str | os.PathLike[str], salt: str) -> pd.DataFrame:
    """Read folders of DICOM series; patients and cases get pseudonyms.

    The columns `manufacturer`, `model_name`, `study_date` (as `20221231`), `modality` and, if any header has them,
    `sex` and `age` (years) come from the headers.

    Args:
        source: a folder with one folder per series at any depth, or with a file per volume, whose name ends in `.dcm`.
            The label of the series in `<folder>/` or of `<folder>.dcm` is `<folder>_seg.nii.gz` next to it, or
            `labels/<folder>.nii.gz` in `source`.
        salt: see `pseudonym`.

    Raises:
        InputError: with every series without a label, PatientID or SeriesInstanceUID, and every label that belongs to
            several series.
    """
    return read_series(LayoutInput(listing=list_folder(Path(source)), salt=salt))


def read_series(reading: LayoutInput) -> pd.DataFrame:
    """Read DICOM series and files of several frames, see `read_dicom`.

    Series without a label file get the label that an object (SEG, RTSTRUCT) draws on them, if one refers to them. All
    other objects are left out.

    Args:
        reading: the folder, where label volumes are to be drawn, and which structures.
    """
    images, objects = _images(reading.listing.root.absolute())
    headers = {image: _header(image) for image in images}
    labels = _labels(reading, headers, objects)
    _warn_of_likeness({str(text(header, "PatientID")) for header in headers.values()})
    rows = [
        {
            CASE_ID: _case(header, reading),
            PATIENT_ID: pseudonym("patient", str(text(header, "PatientID")), reading.salt or ""),
            IMAGE: str(image),
            LABEL: str(labels[image]),
            **{name: text(header, keyword) for name, keyword in _HEADERS.items()},
            "age": _years(text(header, "PatientAge")),
        }
        for image, header in headers.items()
    ]
    manifest = pd.DataFrame(rows)
    return manifest.drop(columns=[name for name in ("sex", "age") if manifest[name].isna().all()])


def _warn_of_likeness(patients: set[str]) -> None:
    """Warn of ids that people take for the same; their pseudonyms show nothing of it. They are not named in a log."""
    alike = len(nearly_equal(patients))
    if alike:
        _log.warning(
            "%d times, PatientIDs are the same but for case, spaces, leading zeros or the form of a letter: here they "
            "are different patients, and a request for one leaves the other; if they are not, correct the headers",
            alike,
        )


def is_dicom(path: Path) -> bool:
    """Whether a folder contains DICOM files at any depth."""
    return path.is_dir() and any(True for _ in find_series(path))


def names_of_objects(listing: Listing) -> list[str]:
    """The names of the objects that draw on series, if several draw on one."""
    objects = find_drawings(_images(listing.root)[1])
    counts = Counter(uid for drawing in objects for uid in drawing.series)
    return sorted({drawing.name for drawing in objects}) if any(count > 1 for count in counts.values()) else []


def _images(source: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder (folders of slices, and files of several frames), and the files of other objects."""
    images: list[Path] = []
    objects: list[Path] = []
    for folder in find_series(source):
        first = read_header(folder)
        headers = headers_in(folder) if is_object(first) or frame_count(first) > 1 else {}
        others = [file for file, header in headers.items() if is_object(header)]
        several = [file for file, header in headers.items() if file not in others and frame_count(header) > 1]
        if several or len(others) == len(dicom_files(folder)):
            images += several
            objects += others
        else:
            images.append(folder)  # with objects among its slices, it is refused when it is checked
    return images, objects


def _header(image: Path) -> Header:
    return read_header(image) if image.is_dir() else read_file(image, pixels=False)


def _case(header: Header, reading: LayoutInput) -> str:
    return pseudonym("series", str(text(header, _SERIES)), reading.salt or "")


def _labels(reading: LayoutInput, headers: Mapping[Path, Header], objects: Sequence[Path]) -> dict[Path, Path]:
    """The label of each image: a file beside it, or what an object draws on it."""
    source = reading.listing.root.absolute()
    files = {image: file for image in headers if (file := _label_file(source, image))}
    uids = {image: uid for image, header in headers.items() if (uid := text(header, _SERIES)) and image not in files}
    drawings, problems = drawings_of(uids, find_drawings(objects), reading.label_set)
    raise_if_any([*problems, *_series_problems(headers, files, drawings)])
    _leave_out(reading, objects, [drawing.path for drawing in drawings.values()])
    return {**files, **_drawn(reading, headers, drawings)}


def _drawn(reading: LayoutInput, headers: Mapping[Path, Header], drawings: Mapping[Path, Drawing]) -> dict[Path, Path]:
    """The label volumes that objects draw."""
    if not drawings:
        without = "--structure has no effect: no SEG or RTSTRUCT object draws on an image; leave it out"
        raise_if_any([without] if reading.structures else [])
        return {}
    if reading.drawn_to is None:
        raise InputError("the labels are SEG or RTSTRUCT objects, for which a folder to draw them in must be given")
    wanted = reading.structures
    classes = structure_classes(list(drawings.values()), wanted)
    labels: dict[Path, Path] = {}
    problems: list[str] = []
    unused: list[str] = []
    lacking: Counter[str] = Counter()
    for image, drawing in drawings.items():
        numbers = class_numbers(drawing, wanted, classes)
        unused += [name for number, name in drawing.structures.items() if number not in numbers]
        lacking.update(name for index, name in enumerate(classes[1:], start=1) if index not in numbers.values())
        try:
            label = draw(drawing, image, numbers, classes)
        except InputError as error:
            problems += error.problems
            continue
        labels[image] = write_drawn(label, reading.drawn_to, _case(headers[image], reading))
    raise_if_any(problems)
    reading.leave_out("structures were not chosen", unused)
    for alike in nearly_equal(classes[1:]):
        _log.warning(
            "%s are different structures here; if they are one, give --structure '%s'", forms(alike), "|".join(alike)
        )
    reading.classes.extend(classes)
    for name, count in lacking.items():
        _log.warning("%d of %d objects have no structure '%s'; their labels have none", count, len(drawings), name)
    _log.info("%d labels are drawn from DICOM objects, and written to '%s'", len(labels), reading.drawn_to)
    return labels


def _leave_out(reading: LayoutInput, objects: Sequence[Path], used: Sequence[Path]) -> None:
    """Count the objects that no label is drawn from: whole folders of them, and files beside those that are used."""
    drawn, folders = set(used), {file.parent for file in used}
    rest = [file for file in objects if file not in drawn]
    reading.told.update(used)
    reading.leave_out("DICOM objects that no label is drawn from", [file for file in rest if file.parent in folders])
    whole = dict.fromkeys(file.parent for file in rest if file.parent not in folders)
    reading.leave_out("folders with other DICOM objects than images (RTSTRUCT, SEG ...)", list(whole))


def _label_file(source: Path, image: Path) -> Path | None:
    """The label file of an image: beside it, or in `labels/`; one that is alone in a folder may have its name."""
    places = [image if image.is_dir() else image.with_name(stem_of(image))]
    if image.is_file() and len(dicom_files(image.parent)) == 1:
        places.append(image.parent)
    beside = [place.with_name(f"{place.name}_seg{end}") for place in places for end in _LABEL_SUFFIXES]
    collected = [source / "labels" / f"{place.name}{end}" for place in places for end in _LABEL_SUFFIXES]
    return next((file for file in (*beside, *collected) if file.is_file()), None)


def _series_problems(
    headers: Mapping[Path, Header], files: Mapping[Path, Path], drawings: Mapping[Path, Drawing]
) -> list[str]:
    problems = []
    for image, header in headers.items():
        series = f"series {str(image)!r}"
        problems += [
            f"{series} has no {keyword}, from which its {kind} gets its name; fill it in, or list the series in a "
            "manifest"
            for keyword, kind in (("PatientID", "patient"), (_SERIES, "case"))
            if text(header, keyword) is None
        ]
        if image not in files and image not in drawings:
            name = image.name if image.is_dir() else stem_of(image)
            problems.append(
                f"{series} has no label; expected '{name}_seg.nii.gz' next to it, or in labels/, or a SEG or RTSTRUCT "
                "object that refers to it"
            )
        if image.is_file() and image.suffix.lower() not in MultiFrame.valid_exts:
            problems.append(f"{series} is a volume in one file; rename it, so that it ends in .dcm")
    used = pd.Series({str(image): file for image, file in files.items()}, dtype=object)
    return problems + [
        f"label {str(label)!r} belongs to {len(same)} series: {', '.join(map(repr, same.index))}; put a label next to "
        "each, named <folder>_seg.nii.gz"
        for label, same in used.groupby(used)
        if len(same) > 1
    ]


def _years(age: str | None) -> float | None:
    """PatientAge, such as `045Y`, in years."""
    if age is None or not age[:-1].isdigit() or age[-1].upper() not in _YEARS:
        return None
    return round(int(age[:-1]) / _YEARS[age[-1].upper()], 2)
