"""A manifest: one row per image with `case_id`, `patient_id`, `image`, `label` and any metadata columns."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mu_monai.data.pictures import opened
from mu_monai.data.volumes.files import VOLUME_SUFFIXES, is_volume, volume_problems
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import is_utf8, special_problem
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, SUBSET
from mu_monai.tables import forms, is_formula, nearly_equal, read_table

_log = logging.getLogger(__name__)

COLUMNS = (CASE_ID, PATIENT_ID, IMAGE, LABEL)
FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", *VOLUME_SUFFIXES)
_BINARY = ({0, 1}, {0, 255})
_JPEG_REACH = 40  # how far JPEG compression at usual qualities was seen to move a mask's pixels from 0 and 255


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
    return manifest


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


def check_manifest(manifest: pd.DataFrame, *, allow_repeated_ids: bool = False) -> None:
    """Check a manifest and every file that it names, and report all problems at once.

    Args:
        manifest: the table; a label with an image suffix is a mask file, any other is a class name.
        allow_repeated_ids: leave case ids that occur more than once to the duplicates policy of `make_split`.

    Raises:
        InputError: with row and case of each problem: missing columns, empty or repeated ids, missing or unreadable
            files, masks of another size than their image or with values other than {0, 1} or {0, 255}, labels that are
            files in some rows and class names in others. For volumes (NIfTI, or a folder with a DICOM series) also:
            incomplete series, shapes that are not 3D, spacing that is not above 0, NaN and infinity, and labels at
            another position than their image or with values that are not whole numbers from 0.
    """
    raise_if_any(_column_problems(manifest))
    problems = _cell_problems(manifest)
    if not allow_repeated_ids:
        problems += _repeated_id_problems(manifest)
    raise_if_any(problems + _file_problems(manifest))
    formulas = [entry for name in (CASE_ID, PATIENT_ID) for entry in manifest[name] if is_formula(entry)]
    if formulas:
        _log.warning(
            "%d ids, such as %r, start like a spreadsheet formula: in a spreadsheet, open only the report's tables, "
            "which are safe, and not those of run folders, which hold the ids unchanged",
            len(formulas),
            formulas[0],
        )
    _warn_of_likeness(manifest)


def _absolute(folder: Path, entry: str, column: str) -> str:
    is_path = entry and (column == IMAGE or entry.lower().endswith(FILE_SUFFIXES))
    return os.path.normpath(folder / entry) if is_path else entry


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


def _file_problems(manifest: pd.DataFrame) -> list[str]:
    rows = _row_names(manifest)
    labels = manifest[LABEL].where(is_file_label(manifest[LABEL]), "").astype(str)
    images = manifest[IMAGE].fillna("").astype(str)
    problems: dict[int, list[str]] = {}
    volumes = np.flatnonzero(images.map(is_volume) | labels.map(is_volume))
    pictures = np.setdiff1d(np.arange(len(rows)), volumes)
    with ThreadPoolExecutor() as pool:
        problems |= zip(pictures, pool.map(_pair_problems, images.iloc[pictures], labels.iloc[pictures]), strict=True)
    columns = ([column[number] for number in volumes] for column in (images.tolist(), labels.tolist(), rows))
    problems |= zip(volumes, volume_problems(*columns), strict=True)
    return [f"{row}: {problem}" for number, row in enumerate(rows) for problem in problems[number]]


def _pair_problems(image: str, label: str) -> list[str]:
    problems: list[str] = []
    picture = _open("image", image, problems, _without_pixels) if image else None
    mask = _open("mask", label, problems, np.asarray) if label else None
    if picture is not None and mask is not None and picture.shape[:2] != mask.shape[:2]:
        problems.append(
            f"mask {label!r} is {_extent(mask)} but its image {image!r} is {_extent(picture)}; give both the same size"
        )
    if mask is not None:
        problems += _mask_problems(label, mask)
    return problems


def _without_pixels(picture: Image.Image) -> np.ndarray:
    """An array with the picture's size that takes no memory."""
    return np.broadcast_to(np.uint8(0), (picture.height, picture.width))


def _open(kind: str, path: str, problems: list[str], keep: Callable[[Image.Image], np.ndarray]) -> np.ndarray | None:
    """The part of a file that `keep` returns, or None if it has a problem, which is then added to `problems`."""
    if not os.path.isfile(path) and not special_problem(path):
        problems.append(
            f"{kind} {path!r} does not exist; paths are absolute or relative to the manifest{_slashes(path)}"
        )
        return None
    try:
        with opened(path) as picture:
            return keep(picture)
    except InputError as error:
        problems += [f"{kind} {problem}" for problem in error.problems]
        return None
    except (OSError, SyntaxError, ValueError) as error:
        problems.append(f"{kind} {path!r} cannot be read ({error}); it may be truncated: replace the file")
        return None


def _slashes(path: str) -> str:
    return "; folders are separated by / here, and not by \\" if "\\" in path and os.sep == "/" else ""


def _extent(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _mask_problems(path: str, mask: np.ndarray) -> list[str]:
    if mask.ndim > 2:
        return [f"mask {path!r} has {mask.shape[2]} channels; save it with a single channel"]
    values = np.unique(mask)
    if any(set(values.tolist()) <= allowed for allowed in _BINARY):
        return []
    shown = ", ".join(map(str, values[:8].tolist())) + (", ..." if len(values) > 8 else "")
    near = (values <= _JPEG_REACH) | (values >= 255 - _JPEG_REACH)
    lossy = (near.all() and values.max() > 255 - _JPEG_REACH) or path.lower().endswith((".jpg", ".jpeg"))
    advice = "this looks like JPEG noise around 0 and 255: threshold it at 128 and save it as PNG"
    return [
        f"mask {path!r} has {len(values)} values ({shown}); a binary mask holds {{0, 1}} or {{0, 255}}"
        + (f"; {advice}" if lossy else "")
    ]
