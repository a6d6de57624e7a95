"""Folders in the layouts of public data sets, read into a manifest."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mu_monai.data.layouts.pairing import pair, with_metadata
from mu_monai.data.layouts.volumes import (
    class_names,
    is_decathlon,
    is_dicom,
    is_volumes,
    read_decathlon,
    read_dicom,
    read_volumes,
)
from mu_monai.data.manifest import nearest_names, read_manifest
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import is_utf8, special_problem
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID

_log = logging.getLogger(__name__)

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".ods")  # the reader says that a workbook is not a table
_ISIC_FOLDERS = (
    ("images", "masks"),
    *(
        (f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth")
        for part in ("Training", "Validation", "Test")
    ),
    *(
        (f"ISIC-2017_{part}_Data", f"ISIC-2017_{part}_Part1_GroundTruth")
        for part in ("Training", "Validation", "Test_v2")
    ),
)
_CHASE_LABEL_SETS = ("1stHO", "2ndHO")
_CHASE_IMAGE = re.compile(r"(Image_(\d+)([LR]))\.jpg", re.IGNORECASE)
_PARTS = ("train", "training", "val", "valid", "validation", "test", "testing")
_SALT_LENGTH = 16  # minimum number of characters
_NO_CLASSES = ("image", "images", "label", "labels", "mask", "masks")  # folders of a segmentation data set


@dataclass(frozen=True, kw_only=True)
class Source:
    """A manifest and where it comes from.

    Args:
        manifest: see `read_manifest`.
        path: the path that the user gave.
        layout: a key of `LAYOUTS`.
        label_set: the chosen annotator, for layouts with several.
        classes: names of the values 0, 1, 2 ... of the masks, if the source gives them.
        salt: the salt of the hashed identifiers, for layouts that hash them; see `pseudonym`.
    """

    manifest: pd.DataFrame
    path: str
    layout: str
    label_set: str | None = None
    classes: tuple[str, ...] = ()
    salt: str | None = None


@dataclass(frozen=True)
class Layout:
    """How to recognize and read one kind of source.

    `read` takes the path; a label set, if the layout has several; and a salt, if it hashes identifiers. `classes` finds
    the names of the masks' values, if the source gives them.
    """

    fits: Callable[[Path], bool]
    read: Callable[..., pd.DataFrame]
    looks_for: str
    label_sets: tuple[str, ...] = ()
    hashes: bool = False
    classes: Callable[[Path], list[str]] | None = None


def read_layout(
    source: str | os.PathLike[str],
    layout: str | None = None,
    label_set: str | None = None,
    salt: str | None = None,
) -> Source:
    """Read a folder or CSV file; the layout is recognized if it is not given.

    Args:
        source: a folder or a CSV file.
        layout: a key of `LAYOUTS`, or None to recognize it.
        label_set: the annotator, for layouts with several; None takes the first.
        salt: for layouts that hash identifiers, 16 characters or more; None draws one. The same salt gives the same
            pseudonyms.

    Raises:
        InputError: if no layout fits, with all layouts and what each needs; if images have no mask or masks have no
            image, with all of them; for a salt that is too short, or has no effect.
    """
    path = Path(source)
    raise_if_any(filter(None, [special_problem(path)]))
    if not is_utf8(path):
        raise InputError(f"source {str(path)!r} has bytes that are not UTF-8 in its name; rename it")
    if not path.exists():
        raise InputError(f"source {str(path)!r} does not exist; give a folder or a CSV file")
    if layout is None:
        layout = _recognize(path)
        _log.info("layout of %s recognized as %r", path, layout)
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown; {nearest_names(layout, LAYOUTS)}")
    kind = LAYOUTS[layout]
    if not kind.fits(path):
        raise InputError(f"{str(path)!r} does not have the layout {layout!r}, which is {kind.looks_for}")
    label_set = _choose_label_set(layout, label_set)
    salt = _choose_salt(layout, salt)
    manifest = kind.read(path, *(choice for choice in (label_set, salt) if choice is not None))
    classes = tuple(kind.classes(path)) if kind.classes else ()
    return Source(manifest=manifest, path=str(path), layout=layout, label_set=label_set, classes=classes, salt=salt)


def read_isic(source: str | os.PathLike[str]) -> pd.DataFrame:
    """Read dermoscopy images with lesion masks, named as in ISIC 2017 and ISIC 2018 Task 1.

    ISIC has no patient ids. An optional `metadata.csv` (keyed by `image_id`) gives each image its `patient_id`, or else
    that of another image of its lesion, or else its `lesion_id`. Without these, the patient id is the image id itself,
    and a warning is logged.

    Args:
        source: a folder with `images/` and `masks/`, or with the folders of the official archives.

    Raises:
        InputError: listing every image without mask and mask without image.

    Source: Codella et al., *Skin lesion analysis toward melanoma detection 2018* (arXiv 1902.03368).
    """
    source = Path(source)
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for image_folder, mask_folder in _isic_folders(source):
        images |= {file.stem: file for file in _pictures(image_folder) if not file.stem.endswith("_superpixels")}
        masks |= {file.stem.removesuffix("_segmentation"): file for file in _pictures(mask_folder)}
    manifest = pair(images, masks, "<image id>_segmentation.png").drop(columns=PATIENT_ID)
    return with_metadata(manifest, source)


def read_chase(source: str | os.PathLike[str], label_set: str = "1stHO") -> pd.DataFrame:
    """Read fundus photographs with the vessel masks of one of two observers; adds the column `eye` (`L` or `R`).

    Args:
        source: the flat folder of the archive: `Image_01L.jpg`, `Image_01L_1stHO.png` ...; the number is the patient.
        label_set: `1stHO` or `2ndHO`.

    Raises:
        InputError: listing every image without mask and mask without image.

    Source: Fraz et al., *An ensemble classification-based approach applied to retinal blood vessel segmentation*, IEEE
    TBME 2012.
    """
    matches = [match for file in sorted(Path(source).iterdir()) if (match := _CHASE_IMAGE.fullmatch(file.name))]
    images = {match[1]: Path(source) / match[0] for match in matches}
    masks = {file.stem.removesuffix(f"_{label_set}"): file for file in Path(source).glob(f"*_{label_set}.png")}
    manifest = pair(images, masks, f"<image>_{label_set}.png")
    return manifest.assign(
        **{
            PATIENT_ID: manifest[CASE_ID].str.extract(r"(\d+)", expand=False),
            "eye": manifest[CASE_ID].str[-1].str.upper(),
        }
    )


def read_class_folders(source: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a folder of class folders with pictures, which may be divided into `Train/` and `Test/`.

    The label and the column `diagnosis` are the name of the class folder; the column `folder` is the part, if there are
    parts. The file's name is the case id; `resolve_duplicates` handles names that occur in several classes or parts. An
    optional `metadata.csv` gives patient ids and more columns, as for `read_isic`; the folders override it. Anything
    that is not a picture in a class folder is left out, and logged.

    Args:
        source: a folder with one folder per class, or with `Train/` and `Test/` that contain them.

    Raises:
        InputError: if there are fewer than two classes with pictures.
    """
    source = Path(source)
    parts = _parts(source)
    folders = [
        (part.name, folder)
        for part in parts or [source]
        for folder in sorted(part.iterdir())
        if _is_shown_folder(folder)
    ]
    rows = [
        (file.stem, str(file.absolute()), folder.name, folder.name, part)
        for part, folder in folders
        for file in _pictures(folder)
    ]
    manifest = pd.DataFrame(rows, columns=[CASE_ID, IMAGE, LABEL, "diagnosis", "folder"], dtype=object)
    if manifest[LABEL].nunique() < 2:
        raise InputError(
            f"{str(source)!r} has pictures of {manifest[LABEL].nunique()} classes "
            f"({', '.join(map(repr, manifest[LABEL].unique())) or 'none'}); a classifier needs two or more: give the "
            "folder that contains the class folders"
        )
    _warn_of_leftovers(source, parts, [folder for _, folder in folders])
    if not parts:
        manifest = manifest.drop(columns="folder")
    return with_metadata(manifest, source)


def _recognize(path: Path) -> str:
    for name, layout in LAYOUTS.items():
        if layout.fits(path):
            return name
    tried = [f"{name}: {layout.looks_for}" for name, layout in LAYOUTS.items()]
    raise InputError([f"no layout fits {str(path)!r}; looked for", *tried])


def _choose_label_set(layout: str, label_set: str | None) -> str | None:
    allowed = LAYOUTS[layout].label_sets
    if label_set is None:
        return allowed[0] if allowed else None
    if label_set not in allowed:
        choice = f"choose {' or '.join(map(repr, allowed))}" if allowed else "it has only one; leave --label-set out"
        raise InputError(f"label set {label_set!r} does not exist in layout {layout!r}; {choice}")
    return label_set


def _choose_salt(layout: str, salt: str | None) -> str | None:
    if salt is None:
        return secrets.token_hex(16) if LAYOUTS[layout].hashes else None
    if not LAYOUTS[layout].hashes:
        raise InputError(
            f"a salt has no effect in layout {layout!r}, which keeps its ids as they are; leave --salt out"
        )
    if len(salt) < _SALT_LENGTH:
        raise InputError(
            f"the salt has {len(salt)} characters; give {_SALT_LENGTH} or more, since anyone who guesses it can find "
            "patients by trying numbers: leave --salt out to have one drawn, or make one with 'openssl rand -hex 16'"
        )
    return salt


def _is_table(path: Path) -> bool:
    return (path.suffix.lower() in _TABLES and path.is_file()) or (path / "manifest.csv").is_file()


def _read_table(path: Path) -> pd.DataFrame:
    return read_manifest(path / "manifest.csv" if path.is_dir() else path)


def _is_isic(path: Path) -> bool:
    return any(True for _ in _isic_folders(path))


def _is_chase(path: Path) -> bool:
    return path.is_dir() and any(_CHASE_IMAGE.fullmatch(file.name) for file in path.iterdir())


def _has_class_folders(path: Path) -> bool:
    if not path.is_dir():
        return False
    folders = [folder for part in _parts(path) or [path] for folder in part.iterdir() if _is_shown_folder(folder)]
    return any(map(_pictures, folders)) and not any(folder.name.lower() in _NO_CLASSES for folder in folders)


def _parts(source: Path) -> list[Path]:
    """The folders `Train/`, `Test/` ... of a data set that is divided into parts; empty if it is not."""
    return sorted(folder for folder in source.iterdir() if _is_shown_folder(folder) and folder.name.lower() in _PARTS)


def _is_shown_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _warn_of_leftovers(source: Path, parts: list[Path], folders: list[Path]) -> None:
    """Warn about empty class folders, and about files and folders that are left out."""
    read = {source / "metadata.csv", *parts, *folders, *(file for folder in folders for file in _pictures(folder))}
    for folder in folders:
        if not _pictures(folder):
            _log.warning("class folder '%s' has no pictures (%s); it is left out", folder, ", ".join(_PICTURES))
    places = [source, *parts, *folders]
    left = [entry for place in places for entry in sorted(place.iterdir()) if entry not in read]
    left = [entry for entry in left if not entry.name.startswith(".")]
    if left:
        _log.warning(
            "%d files or folders are not pictures in a class folder and are left out, such as '%s'", len(left), left[0]
        )


def _isic_folders(source: Path) -> Iterator[tuple[Path, Path]]:
    for images, masks in _ISIC_FOLDERS:
        if (source / images).is_dir() and (source / masks).is_dir():
            yield source / images, source / masks


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in _PICTURES and not file.name.startswith(".")
    )


LAYOUTS: dict[str, Layout] = {
    "manifest": Layout(_is_table, _read_table, "a CSV file, or a folder with manifest.csv"),
    "isic": Layout(
        _is_isic, read_isic, f"a folder with {' or with '.join(f'{a}/ and {b}/' for a, b in _ISIC_FOLDERS)}"
    ),
    "chase": Layout(_is_chase, read_chase, "a folder with Image_01L.jpg, Image_01L_1stHO.png ...", _CHASE_LABEL_SETS),
    "class-folders": Layout(
        _has_class_folders,
        read_class_folders,
        "a folder with one folder of pictures per class, or Train/ and Test/ with such folders",
    ),
    "decathlon": Layout(
        is_decathlon,
        read_decathlon,
        "a folder with dataset.json of the Medical Segmentation Decathlon, or that file",
        classes=class_names,
    ),
    "volumes": Layout(
        is_volumes, read_volumes, "a folder with images/ (NIfTI files or folders of DICOM series) and labels/ (NIfTI)"
    ),
    "dicom": Layout(
        is_dicom,
        read_dicom,
        "a folder with one folder per DICOM series at any depth, and <folder>_seg.nii.gz next to each",
        hashes=True,
    ),
}
