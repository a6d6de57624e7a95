"""Folders in the layouts of public data sets, recognized and read into a manifest."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd

from mu_monai.data.layouts.arranged import fits_arrangement, read_arrangement, show_patients, with_patients
from mu_monai.data.layouts.class_folders import class_folder_doubts, has_class_folders, read_class_folders
from mu_monai.data.layouts.data_sets import ARRANGEMENTS, CHASE, ISIC
from mu_monai.data.layouts.dicom import is_dicom, names_of_objects, read_series
from mu_monai.data.layouts.leftovers import leftovers
from mu_monai.data.layouts.listing import LayoutInput, Listing, list_folder
from mu_monai.data.layouts.nnunet import DATASET_JSON, SPLITS_JSON, class_names, read_nnunet
from mu_monai.data.layouts.patterns import Arrangement, label_sets_of
from mu_monai.data.layouts.tabled import TABLED, Tabled, class_columns, fits_tabled, read_tabled
from mu_monai.data.layouts.volumes import is_decathlon, is_volumes, read_decathlon, read_volumes
from mu_monai.data.manifest import nearest_names, read_manifest
from mu_monai.data.reading import Reading
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import is_utf8, special_problem

_log = logging.getLogger(__name__)

PATTERNS = "patterns"  # the layout of a folder that the user describes
_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".ods")  # the reader says that a workbook is not a table
_SALT_LENGTH = 16  # minimum number of characters


@dataclass(frozen=True, kw_only=True)
class Source:
    """A manifest and where it comes from.

    Args:
        manifest: see `read_manifest`.
        path: the path that the user gave.
        layout: a key of `LAYOUTS`, or `patterns`.
        label_set: the chosen label set, such as an annotator, for layouts with several.
        classes: names of the values 0, 1, 2 ... of the masks, if the source gives them.
        salt: the salt of the hashed identifiers, for layouts that hash them; see `pseudonym`.
        reading: how its files are to be read, as `check_manifest` finds.
        held_out: the ids of the cases that the model was not trained on, if the source says so.
        patterns: the user's own description of the folder, or of its patients.
    """

    manifest: pd.DataFrame
    path: str
    layout: str
    label_set: str | None = None
    classes: tuple[str, ...] = ()
    salt: str | None = None
    reading: Reading = field(default_factory=Reading)
    held_out: frozenset[str] | None = None
    patterns: Patterns | None = None


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """How a user describes a folder.

    Args:
        images: pattern of the images, see `Arrangement`; None for a folder in a known layout.
        labels: pattern of the label files; None if `{class}` in the other is the class.
        patient: who the patient is, see `Arrangement`; None for what the layout says.
    """

    images: str | None = None
    labels: str | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Layout:
    """How to recognize and read one kind of source.

    Args:
        fits: whether a folder can be read so.
        read: reads it.
        looks_for: what it looks for, in words.
        doubts: what speaks against it, one sentence each; it is then read only where the user names the layout.
        label_sets: the label sets that a folder has; the first is the default.
        must_choose: whether the user must name one of several label sets.
        hashes: whether it hashes identifiers.
        draws: whether its labels may be drawn by objects.
        classes: finds the names of the masks' values, if the source gives them.
        declared: whether a file says what is in the folder, so that it goes before what folders look like.
        declares_patients: whether that file says who the patients are.
        own: names of files that it reads besides images and labels.
    """

    fits: Callable[[Listing], bool]
    read: Callable[[LayoutInput], pd.DataFrame]
    looks_for: str
    doubts: Callable[[Listing], list[str]] = lambda _listing: []
    label_sets: Callable[[Listing], Sequence[str]] = lambda _listing: ()
    must_choose: bool = False
    hashes: bool = False
    draws: bool = False
    classes: Callable[[Path], list[str]] | None = None
    declared: bool = False
    declares_patients: bool = False
    own: str = ""


def read_layout(
    source: str | os.PathLike[str],
    layout: str | None = None,
    label_set: str | None = None,
    salt: str | None = None,
    *,
    patterns: Patterns = Patterns(),
    structures: Sequence[str] = (),
    drawn_to: Path | None = None,
    strict: bool = False,
) -> Source:
    """Read a folder or CSV file; the layout is recognized if it is not given.

    Args:
        source: a folder or a CSV file.
        layout: a key of `LAYOUTS`, or None to recognize it.
        label_set: the label set, such as the annotator, for layouts with several; None takes the first.
        salt: for layouts that hash identifiers, 16 characters or more; None draws one. The same salt gives the same
            pseudonyms.
        patterns: the user's own description of the folder, or of its patients.
        structures: which structures of SEG and RTSTRUCT objects become classes, see `structure_classes`.
        drawn_to: the folder for the labels that such objects draw.
        strict: whatever is left out is an error, not a warning.

    Raises:
        InputError: if no layout fits, with all layouts and what each needs; if several fit; if images have no mask or
            masks have no image, with all of them; for a salt that is too short, or has no effect.
    """
    path = Path(source)
    raise_if_any(_place_problems(path))
    raise_if_any(_pattern_problems(path, layout, patterns))
    listing = list_folder(path) if path.is_dir() else Listing(path)
    if patterns.images is not None:
        name, kind = PATTERNS, _described(patterns)
    else:
        name, kind = _named(listing, layout)
    if patterns.patient is not None and (kind.declares_patients or kind.hashes):
        raise InputError(f"--patient has no effect in layout {name!r}, which says who the patients are; leave it out")
    reading = LayoutInput(
        listing=listing,
        label_set=_choose_label_set(name, kind, listing, label_set),
        salt=_choose_salt(name, kind, salt),
        structures=structures,
        drawn_to=drawn_to,
    )
    if structures and not kind.draws:
        raise InputError(f"--structure has no effect in layout {name!r}, whose labels are files; leave it out")
    manifest = kind.read(reading)
    if patterns.patient is not None:
        if patterns.images is None:
            manifest = with_patients(manifest, path, patterns.patient)
        show_patients(manifest)
    if listing.links:
        _log.info("%d links are followed, such as '%s'", len(listing.links), listing.links[0])
    left = [*reading.left_out, *leftovers(reading, manifest, kind.own)]
    raise_if_any(left if strict else [])
    for sentence in left:
        _log.warning(sentence)
    classes = tuple(kind.classes(path) if kind.classes else reading.classes)
    return Source(
        manifest=manifest,
        path=str(path),
        layout=name,
        label_set=reading.label_set,
        classes=classes,
        salt=reading.salt,
        patterns=None if patterns == Patterns() else patterns,
    )


def _place_problems(path: Path) -> Iterator[str]:
    """Why a path cannot be a source, whatever is in it."""
    special = special_problem(path)
    if special:
        yield special
    elif not is_utf8(path):
        yield f"source {str(path)!r} has bytes that are not UTF-8 in its name; rename it"
    elif not path.exists():
        yield f"source {str(path)!r} does not exist; give a folder or a CSV file"


def read_isic(source: str | os.PathLike[str]) -> pd.DataFrame:
    """Read dermoscopy images with lesion masks, named as in ISIC 2017 and ISIC 2018 Task 1.

    ISIC has no patient ids. An optional `metadata.csv` (keyed by `image_id` or `isic_id`) gives each image its
    `patient_id`, or else that of another image of its lesion, or else its `lesion_id`. Without these, the patient id is
    the image id itself, and a warning is logged.

    Args:
        source: a folder with `images/` and `masks/`, or with the folders of the official archives.

    Raises:
        InputError: listing every image without mask and mask without image.

    Source: Codella et al., *Skin lesion analysis toward melanoma detection 2018* (arXiv 1902.03368).
    """
    return read_arrangement(LayoutInput(listing=list_folder(Path(source))), ISIC)


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
    return read_arrangement(LayoutInput(listing=list_folder(Path(source)), label_set=label_set), CHASE)


def _pattern_problems(path: Path, layout: str | None, patterns: Patterns) -> list[str]:
    problems = []
    if patterns.images is None and patterns.labels is not None:
        problems.append(f"--labels {patterns.labels!r} needs --images as well: where are the images?")
    if patterns.images is not None and layout is not None:
        problems.append(f"--images describes the folder, and so does --layout {layout!r}; give one of them")
    if patterns.images is not None and not path.is_dir():
        problems.append(f"--images describes the files of a folder, and {str(path)!r} is not one; leave it out")
    return problems


def _described(patterns: Patterns) -> Layout:
    """The layout that a user describes."""
    arrangement = Arrangement(
        images=(patterns.images or "",),
        labels=() if patterns.labels is None else (patterns.labels,),
        patient=patterns.patient or "",
    )
    return _arranged(arrangement, "files with the given patterns")


def _named(listing: Listing, layout: str | None) -> tuple[str, Layout]:
    """The layout of a folder with its name: the given one if it fits, or else the only one that fits."""
    if layout is None:
        layout = _recognize(listing)
        _log.info("layout of %s recognized as %r", listing.root, layout)
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown; {nearest_names(layout, LAYOUTS)}")
    kind = LAYOUTS[layout]
    if not kind.fits(listing):
        raise InputError(f"{str(listing.root)!r} does not have the layout {layout!r}, which is {kind.looks_for}")
    return layout, kind


def _recognize(listing: Listing) -> str:
    fitting = [name for name, layout in LAYOUTS.items() if layout.fits(listing)]
    fitting = [name for name in fitting if LAYOUTS[name].declared][:1] or fitting
    doubts = {name: found for name in fitting if (found := LAYOUTS[name].doubts(listing))}
    sure = [name for name in fitting if name not in doubts]
    if len(sure) == 1:
        return sure[0]
    if sure:
        raise InputError(
            [
                f"several layouts fit {str(listing.root)!r}; choose one with --layout",
                *(f"--layout {name}: {LAYOUTS[name].looks_for}" for name in sure),
            ]
        )
    against = [
        f"{name} was not taken: {doubt}; if it is right, give --layout {name}"
        for name in doubts
        for doubt in doubts[name]
    ]
    tried = [f"{name}: {layout.looks_for}" for name, layout in LAYOUTS.items()]
    raise InputError([f"no layout fits {str(listing.root)!r}; looked for", *against, *tried, _OWN_PATTERNS])


def _choose_label_set(name: str, layout: Layout, listing: Listing, label_set: str | None) -> str | None:
    allowed = layout.label_sets(listing)
    if label_set is None:
        if layout.must_choose and len(allowed) > 1:
            raise InputError(
                f"layout {name!r} has several label sets here; choose one with --label-set: {', '.join(allowed)}"
            )
        if len(allowed) > 1:
            _log.info("label set %r is taken; --label-set chooses from %s", allowed[0], ", ".join(allowed))
        return allowed[0] if allowed else None
    if label_set not in allowed:
        choice = f"choose {' or '.join(map(repr, allowed))}" if allowed else "it has only one; leave --label-set out"
        raise InputError(f"label set {label_set!r} does not exist in layout {name!r}; {choice}")
    return label_set


def _choose_salt(name: str, layout: Layout, salt: str | None) -> str | None:
    if salt is None:
        return secrets.token_hex(16) if layout.hashes else None
    if not layout.hashes:
        raise InputError(f"a salt has no effect in layout {name!r}, which keeps its ids as they are; leave --salt out")
    if len(salt) < _SALT_LENGTH:
        raise InputError(
            f"the salt has {len(salt)} characters; give {_SALT_LENGTH} or more, since anyone who guesses it can find "
            "patients by trying numbers: leave --salt out to have one drawn, or make one with 'openssl rand -hex 16'"
        )
    return salt


def _is_table(listing: Listing) -> bool:
    path = listing.root
    return (path.suffix.lower() in _TABLES and path.is_file()) or (path / "manifest.csv").is_file()


def _read_table(reading: LayoutInput) -> pd.DataFrame:
    path = reading.listing.root
    return read_manifest(path / "manifest.csv" if path.is_dir() else path)


def _arranged(arrangement: Arrangement, looks_for: str) -> Layout:
    return Layout(
        partial(fits_arrangement, arrangement=arrangement),
        partial(read_arrangement, arrangement=arrangement),
        looks_for,
        label_sets=lambda listing: arrangement.label_sets or label_sets_of(listing, arrangement),
        must_choose=not arrangement.label_sets,
    )


def _tabled(tabled: Tabled, looks_for: str) -> Layout:
    return Layout(
        partial(fits_tabled, tabled=tabled),
        partial(read_tabled, tabled=tabled),
        looks_for,
        label_sets=partial(class_columns, tabled=tabled),
        own=f"{tabled.tables}|{tabled.more}",
    )


_OWN_PATTERNS = (
    "or say where things are: --images 'imagesTr/{case}_0000.nii.gz' --labels 'labelsTr/{case}.nii.gz', or for classes "
    "--images '{class}/{case}.jpg'"
)
LAYOUTS: dict[str, Layout] = {
    "manifest": Layout(
        _is_table,
        _read_table,
        "a CSV file, or a folder with manifest.csv",
        declared=True,
        declares_patients=True,
        own=r".*",
    ),
    "isic": _arranged(ISIC, "a folder with images/ and masks/, or with the folders of ISIC 2017 or ISIC 2018 Task 1"),
    "chase": _arranged(CHASE, "a folder with Image_01L.jpg, Image_01L_1stHO.png ..."),
    "class-folders": Layout(
        has_class_folders,
        lambda reading: read_class_folders(reading.listing.root),
        "a folder with one folder of pictures per class, or Train/ and Test/ with such folders",
        doubts=class_folder_doubts,
    ),
    "decathlon": Layout(
        lambda listing: is_decathlon(listing.root),
        lambda reading: read_decathlon(reading.listing.root, reading),
        "a folder with dataset.json of the Medical Segmentation Decathlon, or that file",
        classes=class_names,
        declared=True,
        own=DATASET_JSON,
    ),
    "volumes": Layout(
        lambda listing: is_volumes(listing.root),
        lambda reading: read_volumes(reading.listing.root),
        "a folder with images/ (NIfTI files or folders of DICOM series) and labels/ (NIfTI)",
    ),
    "dicom": Layout(
        lambda listing: is_dicom(listing.root) and not is_volumes(listing.root),
        read_series,
        "a folder with one folder per DICOM series at any depth, and <folder>_seg.nii.gz next to each, or SEG or "
        "RTSTRUCT objects",
        label_sets=names_of_objects,
        must_choose=True,
        hashes=True,
        draws=True,
    ),
    **{name: _arranged(*described) for name, described in ARRANGEMENTS.items()},
    "nnunet": replace(
        _arranged(*ARRANGEMENTS["nnunet"]),
        read=partial(read_nnunet, arrangement=ARRANGEMENTS["nnunet"][0]),
        classes=class_names,
        own=rf"{DATASET_JSON}|{SPLITS_JSON}",
    ),
    **{name: _tabled(*described) for name, described in TABLED.items()},
}
