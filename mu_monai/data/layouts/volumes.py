"""Folders of volumes in the layouts of data sets and hospitals, read into a manifest."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.data.layouts.listing import LayoutInput, Listing, stem_of, suffix_of
from mu_monai.data.layouts.nnunet import class_names
from mu_monai.data.layouts.pairing import by_name, pair, same_name_problems, with_metadata
from mu_monai.data.volumes.dicom import is_multi_frame, is_series
from mu_monai.data.volumes.files import VOLUME_SUFFIXES
from mu_monai.data.volumes.multi_frame import MultiFrame
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID

_log = logging.getLogger(__name__)


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


def read_decathlon(source: str | os.PathLike[str], reading: LayoutInput | None = None) -> pd.DataFrame:
    """Read a data set of the Medical Segmentation Decathlon, or another with its `dataset.json`.

    `training` is read; other keys of its entries become columns, `patient_id` among them, unless they hold lists or
    objects. Everything else is left out, and told. An optional `metadata.csv` gives patients, as for `read_isic`.

    Args:
        source: the folder with `dataset.json`, or that file.
        reading: where to tell what is left out, for somebody who wants nothing to be.

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
    reading = reading or LayoutInput(listing=Listing(file))
    for name, others in content.items():
        if name != "training" and isinstance(others, list) and any(map(_names_an_image, others)):
            reading.leave_out(
                f"images of the list {name!r} of '{file}'", [_image_of(entry, file.parent) for entry in others]
            )
    nested = [name for name in dict.fromkeys(key for entry in entries for key in entry) if not _fits(entries, name)]
    if nested:
        _log.warning("%s of the entries in '%s' hold lists or objects and are left out", ", ".join(nested), file)
    if names := class_names(source):
        _log.info("the classes of '%s'; give them to the bundle with --set classes='%s'", file, json.dumps(names))
    folder = file.absolute().parent
    rows = [{CASE_ID: stem_of(entry[IMAGE]), **_plain(entry)} for entry in entries]
    manifest = pd.DataFrame(rows)
    if PATIENT_ID in manifest:
        manifest[PATIENT_ID] = [None if name is None else str(name) for name in manifest[PATIENT_ID]]
    for column in (IMAGE, LABEL):
        manifest[column] = [os.path.normpath(folder / entry) for entry in manifest[column]]
    return with_metadata(manifest, folder)


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


def _volume_files(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.name.lower().endswith(VOLUME_SUFFIXES) and file.name[0] != ".")
    return sorted(file for file in files if suffix_of(file) not in MultiFrame.valid_exts or is_multi_frame(file))


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
    return {name: value for name, value in entry.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) or value is None


def _fits(entries: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(_is_plain(entry.get(name)) for entry in entries)


def _names_an_image(entry: object) -> bool:
    return isinstance(entry, str) or (isinstance(entry, dict) and IMAGE in entry)


def _image_of(entry: object, folder: Path) -> object:
    image = entry.get(IMAGE, entry) if isinstance(entry, dict) else entry
    return Path(os.path.normpath(folder / image)) if isinstance(image, str) else image


def _shown(entry: object) -> str:
    shown = repr(entry)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
