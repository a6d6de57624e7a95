"""Pairs of images and labels, with the columns of an optional `metadata.csv`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mu_monai.data.manifest import COLUMNS, nearest_names
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID
from mu_monai.tables import forms, likeness, read_table

_log = logging.getLogger(__name__)

_ISIC_ID = "isic_id"
_SHOWN = 3  # names of each side that a message shows


def pair(images: Mapping[str, Path], labels: Mapping[str, Path], expected: str, kind: str = "mask") -> pd.DataFrame:
    """A manifest of images and labels with the same key, which becomes case id and patient id.

    Args:
        images: path by key.
        labels: path by key.
        expected: how the label of an image should be named, for the message.
        kind: `mask` or `label`, for the message.

    Raises:
        InputError: with every image without a label and every label without an image.
    """
    problems = [
        f"image {str(images[key])!r} has no {kind}; expected {expected!r}"
        for key in sorted(images.keys() - labels.keys())
    ]
    problems += [
        f"{kind} {str(labels[key])!r} has no image; add the image" for key in sorted(labels.keys() - images.keys())
    ]
    raise_if_any(problems)
    rows = [(key, key, str(images[key].absolute()), str(labels[key].absolute())) for key in sorted(images)]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def same_name_problems(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """A sentence for every name that several files share; one of them would stand for all."""
    return [
        f"{' and '.join(repr(str(file)) for file in same)} have the same name; keep one of them, or rename one"
        for same in files.values()
        if len(same) > 1
    ]


def by_name(files: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Files by their names, as a function gives them."""
    named: dict[str, list[Path]] = {}
    for file in files:
        named.setdefault(name(file), []).append(file)
    return named


def with_metadata(manifest: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Add the columns of an optional `metadata.csv`, and a patient to every image.

    The patient of an image is its `patient_id`, or else that of another image of its lesion, or else its `lesion_id`.
    Without these, it is the image id itself, and a warning is logged.

    Args:
        manifest: with `case_id`, `image` and `label`; its values override the metadata.
        folder: the folder that may contain `metadata.csv`, with the column `image_id`.

    Raises:
        InputError: if the metadata have no `image_id`, describe one more than once, or describe none of the images.
    """
    csv = folder / "metadata.csv"
    return with_patient_ids(_join_metadata(manifest, csv) if csv.is_file() else manifest)


def described_ids(folder: Path) -> set[str]:
    """The image ids that an optional `metadata.csv` describes."""
    csv = folder / "metadata.csv"
    if not csv.is_file():
        return set()
    table = _metadata(csv, ("image_id",))
    return set(table["image_id"].dropna()) if "image_id" in table else set()


def _metadata(csv: Path, ids: Sequence[str]) -> pd.DataFrame:
    """The table, with its ids as text; the column `isic_id` of the ISIC archive's exports stands for `image_id`."""
    metadata = read_table(csv, text=(*ids, _ISIC_ID), foreign=True)
    return metadata if "image_id" in metadata else metadata.rename(columns={_ISIC_ID: "image_id"})


def _join_metadata(manifest: pd.DataFrame, csv: Path) -> pd.DataFrame:
    ids = ("image_id", PATIENT_ID, "lesion_id")
    metadata = _metadata(csv, ids)
    if "image_id" not in metadata:
        raise InputError(f"{str(csv)!r} has no column 'image_id'; {nearest_names('image_id', metadata.columns)}")
    known = [CASE_ID, IMAGE, LABEL, "file", *manifest.columns]  # these come from the folders
    metadata = metadata.drop(columns=known, errors="ignore").drop_duplicates()
    twice = metadata["image_id"][metadata["image_id"].duplicated()].unique()
    raise_if_any(f"{str(csv)!r} describes image_id {name!r} more than once; keep one row" for name in twice)
    _check_join(csv, manifest[CASE_ID], metadata["image_id"].dropna())
    return manifest.merge(
        metadata.rename(columns={"image_id": CASE_ID}), on=CASE_ID, how="left", validate="many_to_one"
    )


def _check_join(csv: Path, images: pd.Series, described: pd.Series) -> None:
    """Refuse metadata of none of the images, and warn of images without."""
    bare = images[~images.isin(described)]
    if len(bare) == len(images):
        ids = ", ".join(map(repr, described.head(_SHOWN))) or "no row"
        raise InputError(
            f"{str(csv)!r} describes none of the {len(images)} images: its image_id holds {ids}, and the images are "
            f"{', '.join(map(repr, images.head(_SHOWN)))}; write the names of the images without their suffix, letter "
            "for letter"
        )
    if len(bare):
        alike = dict(zip(described.map(likeness), described, strict=True))
        near = [(name, alike[likeness(name)]) for name in bare if likeness(name) in alike]
        _log.warning(
            "'%s' describes %d of %d images; such as '%s' is not among its %d rows%s",
            csv,
            len(images) - len(bare),
            len(images),
            bare.iloc[0],
            len(described),
            f", but nearly: {forms(near[0])} ({len(near)} times)" if near else "",
        )


def with_patient_ids(manifest: pd.DataFrame) -> pd.DataFrame:
    """A patient for every image, as `with_metadata` says; the columns that every manifest has come first."""
    nothing = pd.Series(None, index=manifest.index, dtype=object)
    known, lesions = (
        manifest[name].astype(object) if name in manifest else nothing for name in (PATIENT_ID, "lesion_id")
    )
    both = known.notna() & lesions.notna()
    patient_of = dict(zip(lesions[both], known[both], strict=True))
    known = known.fillna(lesions.map(patient_of)).fillna(lesions)
    guessed = int(known.isna().sum())
    if guessed:
        _log.warning(
            "%d of %d images have no patient id (many public data sets have none): each counts as its own patient, so "
            "images of one person can end up in different subsets; add a metadata.csv with image_id and patient_id "
            "if you can",
            guessed,
            len(manifest),
        )
    manifest = manifest.assign(**{PATIENT_ID: known.fillna(manifest[CASE_ID])})
    return manifest[[*COLUMNS, *(name for name in manifest.columns if name not in COLUMNS)]]
