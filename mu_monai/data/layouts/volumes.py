"""Folders of volumes in the layouts of data sets and hospitals, read into a manifest."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.data.layouts.listing import LayoutInput, list_folder, stem_of, suffix_of
from mu_monai.data.layouts.nnunet import class_names
from mu_monai.data.layouts.pairing import by_name, pair, same_name_problems, with_metadata
from mu_monai.data.pseudonyms import pseudonym
from mu_monai.data.volumes.dicom import Header, find_series, holds_other_objects, is_series, read_header, text
from mu_monai.data.volumes.files import VOLUME_SUFFIXES
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID

_log = logging.getLogger(__name__)

_HEADERS = {
    "manufacturer": "Manufacturer",
    "model_name": "ManufacturerModelName",
    "study_date": "StudyDate",
    "modality": "Modality",
    "sex": "PatientSex",
}
_YEARS = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}  # how many of each unit of PatientAge make a year


def read_volumes(source: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a folder of images and labels with matching names.

    Args:
        source: a folder with `images/` (`<name>.nii.gz`, `<name>.nii`, or a folder `<name>/` with a DICOM series),
            `labels/` (`<name>.nii.gz` or `<name>_seg.nii.gz`) and optionally `metadata.csv` as for `read_isic`.

    Raises:
        InputError: with every image without a label, every label without an image, and every name that two images or
            two labels share.
    """
    source = Path(source)
    images = _by_stem([*_volume_files(source / "images"), *_series_folders(source / "images")])
    labels = _by_stem(_volume_files(source / "labels"), images)
    manifest = pair(images, labels, "labels/<name>.nii.gz or labels/<name>_seg.nii.gz", "label")
    return with_metadata(manifest.drop(columns=PATIENT_ID), source)


def read_decathlon(source: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a data set of the Medical Segmentation Decathlon, or another with its `dataset.json`.

    Only `training` has labels; other keys of its entries become columns. Everything else is left out, and logged. An
    optional `metadata.csv` gives patients, as for `read_isic`.

    Args:
        source: the folder with `dataset.json`, or that file.

    Raises:
        InputError: if `training` is empty; with every entry that is not one image with one label.

    Source: Antonelli et al., *The Medical Segmentation Decathlon* (arXiv 2106.05735).
    """
    file = _decathlon_file(Path(source))
    content = read_json(file, {"training": list})
    entries = content["training"]
    if not entries:
        raise InputError(f"{str(file)!r}, training, is empty; list at least one image with its label")
    raise_if_any(
        f"{str(file)!r}, training, entry {number}: {_shown(entry)} is not one image with one label; write "
        '{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}'
        for number, entry in enumerate(entries, start=1)
        if not (isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in (IMAGE, LABEL)))
    )
    if isinstance(content.get("test"), list) and content["test"]:
        _log.warning("%d test images of '%s' have no labels and are left out", len(content["test"]), file)
    if names := class_names(source):
        _log.info("the classes of '%s'; give them to the bundle with --set classes='%s'", file, json.dumps(names))
    folder = file.absolute().parent
    rows = [{CASE_ID: stem_of(entry[IMAGE]), **_plain(entry)} for entry in entries]
    manifest = pd.DataFrame(rows).drop(columns=PATIENT_ID, errors="ignore")
    for column in (IMAGE, LABEL):
        manifest[column] = [os.path.normpath(folder / entry) for entry in manifest[column]]
    return with_metadata(manifest, folder)


def read_dicom(source: str | os.PathLike[str], salt: str) -> pd.DataFrame:
    """Read folders of DICOM series; patients and cases get pseudonyms.

    The columns `manufacturer`, `model_name`, `study_date` (as `20221231`), `modality` and, if any header has them,
    `sex` and `age` (years) come from the headers.

    Args:
        source: a folder with one folder per series at any depth. The label of the series in `<folder>/` is
            `<folder>_seg.nii.gz` next to it, or `labels/<folder>.nii.gz` in `source`.
        salt: see `pseudonym`.

    Raises:
        InputError: with every series without a label, PatientID or SeriesInstanceUID, and every label that belongs to
            several series.
    """
    return read_series(LayoutInput(listing=list_folder(Path(source)), salt=salt))


def read_series(reading: LayoutInput) -> pd.DataFrame:
    """Read folders of DICOM series, see `read_dicom`; folders of other objects, such as RTSTRUCT, are left out."""
    source, salt = reading.listing.root.absolute(), reading.salt or ""
    folders = list(find_series(source))
    others = [folder for folder in folders if holds_other_objects(folder)]
    reading.leave_out("folders with other DICOM objects than images (RTSTRUCT, SEG ...)", others)
    headers = {folder: read_header(folder) for folder in folders if folder not in others}
    labels = {folder: _series_label(source, folder) for folder in headers}
    raise_if_any(_series_problems(headers, labels))
    rows = [
        {
            CASE_ID: pseudonym("series", str(text(header, "SeriesInstanceUID")), salt),
            PATIENT_ID: pseudonym("patient", str(text(header, "PatientID")), salt),
            IMAGE: str(folder),
            LABEL: str(labels[folder]),
            **{name: text(header, keyword) for name, keyword in _HEADERS.items()},
            "age": _years(text(header, "PatientAge")),
        }
        for folder, header in headers.items()
    ]
    manifest = pd.DataFrame(rows)
    return manifest.drop(columns=[name for name in ("sex", "age") if manifest[name].isna().all()])


def is_volumes(path: Path) -> bool:
    """Whether a folder has `images/` with volumes, and `labels/`."""
    images = path / "images"
    return images.is_dir() and (path / "labels").is_dir() and bool(_volume_files(images) or _series_folders(images))


def is_decathlon(path: Path) -> bool:
    """Whether a path is a `dataset.json` or another JSON file with a list `training`, or a folder with the former.

    nnU-Net's first version writes such a file as well, but its images are called otherwise than it says.
    """
    file = _decathlon_file(path)
    try:
        content = read_json(file) if file.suffix == ".json" and file.is_file() else None
    except InputError:
        return False
    if not (isinstance(content, dict) and isinstance(content.get("training"), list)):
        return False
    first = next((entry for entry in content["training"] if isinstance(entry, dict)), {})
    image = file.parent / str(first.get(IMAGE, ""))
    return image.exists() or not image.with_name(f"{stem_of(image)}_0000{suffix_of(image)}").exists()


def is_dicom(path: Path) -> bool:
    """Whether a folder contains DICOM files at any depth."""
    return path.is_dir() and any(True for _ in find_series(path))


def _volume_files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.name.lower().endswith(VOLUME_SUFFIXES) and file.name[0] != "."
    )


def _series_folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.name[0] != "." and is_series(entry))


def _by_stem(files: list[Path], images: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Files by their names; if `images` are given, the files are labels, by the name of their image."""

    def name(file: Path) -> str:
        stem = stem_of(file)
        return stem if images is None or stem in images else stem.removesuffix("_seg")

    named = by_name(files, name)
    raise_if_any(same_name_problems(named))
    return {name: same[0] for name, same in named.items()}


def _decathlon_file(path: Path) -> Path:
    return path / "dataset.json" if path.is_dir() else path


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an entry that fit into a cell of a table."""
    return {name: value for name, value in entry.items() if isinstance(value, str | int | float) or value is None}


def _shown(entry: object) -> str:
    shown = repr(entry)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def _series_label(source: Path, folder: Path) -> Path | None:
    beside = [folder.with_name(f"{folder.name}_seg{end}") for end in VOLUME_SUFFIXES]
    collected = [source / "labels" / f"{folder.name}{end}" for end in VOLUME_SUFFIXES]
    return next((file for file in (*beside, *collected) if file.is_file()), None)


def _series_problems(headers: Mapping[Path, Header], labels: Mapping[Path, Path | None]) -> list[str]:
    problems = []
    for folder, header in headers.items():
        series = f"series {str(folder)!r}"
        problems += [
            f"{series} has no {keyword}, from which its {kind} gets its name; fill it in, or list the series in a "
            "manifest"
            for keyword, kind in (("PatientID", "patient"), ("SeriesInstanceUID", "case"))
            if text(header, keyword) is None
        ]
        if labels[folder] is None:
            problems.append(f"{series} has no label; expected '{folder.name}_seg.nii.gz' next to it, or in labels/")
    used = pd.Series({str(folder): label for folder, label in labels.items() if label}, dtype=object)
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
