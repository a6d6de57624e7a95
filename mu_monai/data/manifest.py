"""A manifest: one row per image with `case_id`, `patient_id`, `image`, `label` and any metadata columns."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from mu_monai.data.case_files import image_files
from mu_monai.data.pictures.checking import check_pictures
from mu_monai.data.pictures.opening import PICTURE_SUFFIXES
from mu_monai.data.reading import Reading
from mu_monai.data.volumes.files import VOLUME_SUFFIXES, check_volumes, is_volume
from mu_monai.data.volumes.values import value_problems
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import is_utf8
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, SUBSET
from mu_monai.tables import forms, is_formula, nearly_equal, read_table

_log = logging.getLogger(__name__)

COLUMNS = (CASE_ID, PATIENT_ID, IMAGE, LABEL)
FILE_SUFFIXES = (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES)
_NOT_A_CLASS = re.compile(r"[/\\]|\.(?:npy|npz|mat|webp|mhd|dcm|h5|json|xml|csv|txt|gz|zip)$", re.IGNORECASE)
_SOME_CASES = 4  # fewer may well be of different classes


def read_manifest(csv: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a manifest from a CSV file.

    Ids and labels stay text (`007` keeps its zeros), spaces around names and cells are removed, the types of metadata
    columns are inferred, and paths become absolute.

    Args:
        csv: a table in any usual encoding and with any usual separator (see `mu_monai.tables.read_table`), with the
            columns `case_id, patient_id, image, label`; paths in it are absolute or relative to its folder.

    Raises:
        InputError: if the file cannot be read as a table. `check_manifest` checks its content.
    """
    if not os.path.exists(csv):
        raise InputError(f"manifest {str(csv)!r} does not exist; give the path of a CSV file")
    manifest = read_table(csv, text=COLUMNS, foreign=True)
    present = [column for column in COLUMNS if column in manifest]
    manifest = manifest.assign(**{column: manifest[column].fillna("") for column in present})
    folder = Path(csv).absolute().parent
    for column in {IMAGE, LABEL} & set(present):
        manifest[column] = [_absolute(folder, entry, column) for entry in manifest[column]]
    others = manifest[[column for column in manifest if column not in COLUMNS]]
    files = others.map(lambda entry: _absolute(folder, entry, IMAGE) if isinstance(entry, str) else entry)
    raise_if_any(f"manifest {str(csv)!r}, {problem}" for column in files for problem in _absent_inputs(files[column]))
    return manifest.assign(**{column: files[column] for column in input_columns(files)})


def input_columns(manifest: pd.DataFrame) -> list[str]:
    """The columns besides `image` and `label` that hold a file for every case, such as another contrast phase.

    Args:
        manifest: with absolute paths.
    """
    return [
        str(column)
        for column in manifest
        if column not in COLUMNS and len(manifest) and all(map(_is_file, manifest[column]))
    ]


def _is_file(entry: object) -> bool:
    return _names_file(entry) and os.path.isfile(str(entry))


def _names_file(entry: object) -> bool:
    return isinstance(entry, str) and entry.lower().endswith(FILE_SUFFIXES)


def _absent_inputs(column: pd.Series) -> Iterator[str]:
    """The files of a further input that do not exist, so that no case would have it; some of them do exist."""
    given = column[column.notna()]
    there = given.map(_is_file)
    if not (len(given) and all(map(_names_file, given)) and there.any()):
        return
    if there.all() and len(given) < len(column):
        _log.warning(
            "column %r holds a file for %d of %d cases, so that it is not an input of a model: its files are neither "
            "read nor recorded",
            column.name,
            len(given),
            len(column),
        )
    rows = np.flatnonzero(column.notna())[~there.to_numpy(dtype=bool)]
    for row, entry in zip(rows + 1, given[~there], strict=True):
        yield (
            f"row {row}: {column.name} {entry!r} does not exist, and others of this column do; put it back, "
            "or remove the column"
        )


def is_file_label(labels: pd.Series) -> pd.Series:
    """For each label, whether it names a mask file (it has an image suffix) rather than a class.

    Example:
        >>> is_file_label(pd.Series(["a_mask.png", "nevus"])).tolist()
        [True, False]
    """
    return labels.astype(str).str.lower().str.endswith(FILE_SUFFIXES)


def nearest_names(name: str, known: Iterable[str]) -> str:
    """A clause with the known names closest to `name`, or all of them if none is close."""
    known = [str(entry) for entry in known]
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(map(repr, known))}"


def check_manifest(
    manifest: pd.DataFrame,
    *,
    allow_repeated_ids: bool = False,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    classes: Sequence[str] = (),
    own_labels: bool = False,
) -> Reading:
    """Check a manifest and every file that it names, and report all problems at once.

    Args:
        manifest: the table; an image is a path, or several of one case; a label with an image suffix is a mask file,
            any other is a class name.
        allow_repeated_ids: leave case ids that occur more than once to the duplicates policy of `make_split`.
        reading: what is declared: the range of images of more than 8 bits, the classes of label values.
        classes: the names of the values 0, 1, 2 ... of masks, if the source gives them.
        own_labels: whether the values of masks are left to the transforms of the bundle that they belong to.

    Returns:
        how the files are to be read, for `Source.reading`.

    Raises:
        InputError: with row and case of each problem: missing columns, empty or repeated ids, missing or unreadable
            files, masks of another size than their image or with values other than {0, 1} or {0, 255}, labels that are
            files in some rows and class names in others, class names that are paths or of one case each. For volumes
            (NIfTI, or a folder with a DICOM series) also: incomplete series, shapes that are not 3D, spacing that is
            not above 0, NaN and infinity, and labels at another position than their image, with values that are not
            whole numbers from 0, or that leave numbers out.
    """
    raise_if_any(_column_problems(manifest))
    problems = _cell_problems(manifest)
    if not allow_repeated_ids:
        problems += _repeated_id_problems(manifest)
    found, reading = _check_files(manifest, reading, classes, own_labels=own_labels)
    raise_if_any(problems + found)
    formulas = [entry for name in (CASE_ID, PATIENT_ID) for entry in manifest[name] if is_formula(entry)]
    if formulas:
        _log.warning(
            "%d ids, such as %r, start like a spreadsheet formula: in a spreadsheet, open only the report's tables, "
            "which are safe, and not those of run folders, which hold the ids unchanged",
            len(formulas),
            formulas[0],
        )
    _warn_of_likeness(manifest)
    return reading


def _absolute(folder: Path, entry: str, column: str) -> str:
    is_path = entry and (column == IMAGE or entry.lower().endswith(FILE_SUFFIXES))
    return os.path.normpath(os.path.join(folder, entry)) if is_path else entry


def _warn_of_likeness(manifest: pd.DataFrame) -> None:
    """Warn of ids and values that people take for the same."""
    for column in manifest.columns.drop(IMAGE):
        values = manifest[column] if column != LABEL else manifest[LABEL][~is_file_label(manifest[LABEL])]
        alike = nearly_equal(value for value in values if isinstance(value, str))
        if alike:
            _log.warning(
                "%d times, values of %s are the same but for case, spaces, leading zeros or the form of a letter, such "
                "as %s: here they are different patients, cases or classes; if they are not, correct the table",
                len(alike),
                column,
                forms(alike[0]),
            )


def _column_problems(manifest: pd.DataFrame) -> list[str]:
    columns = [str(column) for column in manifest.columns]
    problems = [
        f"column {name!r} is missing; {nearest_names(name, columns) if columns else 'there are no columns'}"
        for name in COLUMNS
        if name not in columns
    ]
    if SUBSET in columns:
        problems.append(f"column {SUBSET!r} is added by the split; rename it in the manifest")
    if not problems and manifest.empty:
        problems.append("the manifest has no rows; expected one row per image")
    return problems


def _cell_problems(manifest: pd.DataFrame) -> list[str]:
    rows = _row_names(manifest)
    problems = []
    for column in COLUMNS:
        blank = manifest[column].isna() | (manifest[column].astype(str).str.strip() == "")
        problems += [f"{rows[i]}: {column} is empty; every image needs one" for i in np.flatnonzero(blank)]
        problems += [
            f"{rows[i]}: {column} {entry!r} has bytes that are not UTF-8, often of a name from Windows; rename it"
            for i, entry in enumerate(manifest[column].astype(str))
            if not is_utf8(entry)
        ]
    is_file = is_file_label(manifest[LABEL])
    if is_file.any() and not is_file.all():
        minority = np.flatnonzero(is_file == (is_file.mean() <= 0.5))
        problems.append(
            f"{is_file.sum()} labels are mask files and {(~is_file).sum()} are class names; use one kind throughout; "
            f"the rarer kind: {'; '.join(f'{rows[i]} {manifest[LABEL].iloc[i]!r}' for i in minority)}"
        )
    return problems + _class_problems(manifest[LABEL][~is_file].astype(str))


def _class_problems(labels: pd.Series) -> list[str]:
    """Why class names are paths, files of another type or ids: what a shifted or misread table holds."""
    paths = labels[labels.str.contains(_NOT_A_CLASS)]
    problems = []
    if len(paths):
        problems.append(
            f"{len(paths)} labels are paths and not class names, such as {paths.iloc[0]!r}; a mask is a file "
            f"that ends in {', '.join(FILE_SUFFIXES)}, and a class name has no slash"
        )
    if len(labels) >= _SOME_CASES and labels.is_unique:
        problems.append(
            f"each of the {len(labels)} cases has a class of its own, such as {labels.iloc[0]!r}; these seem to be "
            "ids or files: correct the labels, or the header of the table"
        )
    return problems


def _repeated_id_problems(manifest: pd.DataFrame) -> list[str]:
    repeated = manifest[CASE_ID].duplicated(keep=False) & (manifest[CASE_ID].astype(str) != "")
    numbers = pd.Series(np.arange(1, len(manifest) + 1), index=manifest.index)[repeated]
    problems = []
    for case_id, same in numbers.groupby(manifest[CASE_ID][repeated], sort=True):
        labels = sorted(set(manifest[LABEL].to_numpy()[same.to_numpy() - 1]))
        under = f" under {len(labels)} labels ({', '.join(labels)})" if len(labels) > 1 else ""
        problems.append(
            f"case_id {case_id!r} occurs {len(same)} times, in rows {', '.join(map(str, same))}{under}; give each "
            "image its own id, or give --on-duplicates drop or together"
        )
    return problems


def _row_names(manifest: pd.DataFrame) -> list[str]:
    return [f"row {number} (case {case_id!r})" for number, case_id in enumerate(manifest[CASE_ID], start=1)]


def _check_files(
    manifest: pd.DataFrame, reading: Reading, classes: Sequence[str], *, own_labels: bool
) -> tuple[list[str], Reading]:
    """The problems of all files, and how they are to be read."""
    rows = _row_names(manifest)
    if own_labels:
        missing = [file for file in manifest[LABEL][is_file_label(manifest[LABEL])] if not os.path.isfile(file)]
        raise_if_any(f"label {file!r} does not exist; check the bundle's list and the folder" for file in missing)
    labels = manifest[LABEL].where(is_file_label(manifest[LABEL]), "").astype(str)
    images = [[str(file) for file in image_files(image) if not pd.isna(file) and file] for image in manifest[IMAGE]]
    labels = labels.mask(pd.Series(own_labels, index=labels.index), "")
    first = pd.Series([next(iter(files), "") for files in images], index=manifest.index)
    is_vol = first.map(is_volume) | labels.map(is_volume)
    pictures, volumes = np.flatnonzero(~is_vol).tolist(), np.flatnonzero(is_vol).tolist()

    def files(part: list[int]) -> tuple[list[list[str]], list[str], list[str]]:
        return [images[number] for number in part], labels.iloc[part].tolist(), [rows[number] for number in part]

    of_pictures, reading = check_pictures(*files(pictures), reading=reading)
    of_volumes, values = check_volumes(*files(volumes), label_map=reading.label_map, channels=own_labels)
    problems = {**dict(zip(pictures, of_pictures, strict=True)), **dict(zip(volumes, of_volumes, strict=True))}
    found = [f"{row}: {problem}" for number, row in enumerate(rows) for problem in problems[number]]
    return found or value_problems(values, classes, reading.label_map), reading
