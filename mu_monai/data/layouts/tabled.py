"""Pictures anywhere in a folder, whose classes and patients are in a table."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mu_monai.data.layouts.listing import LayoutInput, Listing, stem_of, suffix_of
from mu_monai.data.layouts.pairing import by_name, same_name_problems, with_patient_ids
from mu_monai.data.pictures.opening import PICTURE_SUFFIXES
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID
from mu_monai.tables import read_table

_log = logging.getLogger(__name__)

_LESION = "lesion_id"
_NO_CLASS = "_weight"  # of columns of ISIC 2019's test table that say how much a picture counts in the challenge


@dataclass(frozen=True, kw_only=True)
class Tabled:
    """Tables that say what pictures show.

    Args:
        tables: an expression for the names of the tables with the classes, without regard to case.
        case: the column of the picture's name, with or without its suffix.
        classes: columns with the names of classes, of which `label_set` chooses one; empty if every class has a column
            of its own, with 1 where it applies.
        more: an expression for the names of tables with more columns of the same pictures.
    """

    tables: str
    case: str
    classes: tuple[str, ...] = ()
    more: str = ""


TABLED: dict[str, tuple[Tabled, str]] = {
    "ham10000": (
        Tabled(tables=r"HAM10000_metadata(\.csv|\.tab|\.txt)?", case="image_id", classes=("dx",)),
        "HAM10000: HAM10000_metadata.csv, and its pictures in folders of any name",
    ),
    "isic-2018-task3": (
        Tabled(
            tables=r"ISIC2018_Task3_(Training|Validation|Test)_GroundTruth\.csv",
            case="image",
            more=r"ISIC2018_Task3_(Training|Validation|Test)_LesionGroupings\.csv",
        ),
        "ISIC 2018 Task 3: ISIC2018_Task3_Training_GroundTruth.csv, and its pictures in folders of any name",
    ),
    "isic-2019": (
        Tabled(
            tables=r"ISIC_2019_(Training|Test)_GroundTruth\.csv",
            case="image",
            more=r"ISIC_2019_(Training|Test)_Metadata\.csv",
        ),
        "ISIC 2019: ISIC_2019_Training_GroundTruth.csv, and its pictures in folders of any name",
    ),
    "isic-archive": (
        Tabled(
            tables=r"metadata\.csv",
            case="isic_id",
            classes=("diagnosis", *(f"diagnosis_{level}" for level in range(1, 6)), "benign_malignant"),
        ),
        "an export of the ISIC archive: metadata.csv with isic_id and a column diagnosis..., and its pictures",
    ),
}


def fits_tabled(listing: Listing, tabled: Tabled) -> bool:
    """Whether a folder has such a table, with the name of one of its pictures; a damaged table is not one, and told."""
    try:
        tables = [read_table(file, text=(tabled.case,), foreign=True) for file in _named(listing, tabled.tables)]
    except InputError as error:
        _log.warning("%s", error)
        return False
    described = {name for table in tables if tabled.case in table for name in map(stem_of, table[tabled.case].dropna())}
    pictures = {stem_of(path) for path in _pictures(listing)}
    return bool(described & pictures) and (not tabled.classes or bool(class_columns(listing, tabled)))


def class_columns(listing: Listing, tabled: Tabled) -> list[str]:
    """The columns that can name the class."""
    present = {name for file in _named(listing, tabled.tables) for name in read_table(file, foreign=True)}
    return [name for name in tabled.classes if name in present]


def read_tabled(reading: LayoutInput, tabled: Tabled) -> pd.DataFrame:
    """Read pictures and their tables into a manifest.

    A lesion's pictures have one patient, as for `read_isic`. Pictures that no table describes, rows without a picture
    and rows without a class are left out.

    Args:
        reading: the folder; the label set is the column that names the class.
        tabled: its tables.

    Raises:
        InputError: if two pictures have the same name, a table describes a picture twice, or a row has not one class.
    """
    listing = reading.listing
    table = _described(reading, tabled)
    pictures = _pictures(listing)
    named = by_name(pictures.values(), stem_of)
    raise_if_any(same_name_problems(named))
    files = {name: same[0] for name, same in named.items()}
    empty = table[LABEL].isna() | (table[LABEL].astype(str).str.strip() == "")
    absent = ~table[CASE_ID].isin(set(files))
    described = set(table[CASE_ID])
    unknown = [file for name, file in files.items() if name not in described]
    reading.leave_out("rows of the table have no picture", table[CASE_ID][absent].tolist())
    reading.leave_out("pictures have no class in the table", [files[case] for case in table[CASE_ID][empty & ~absent]])
    reading.leave_out("pictures are not in the table", unknown)
    table = table[~empty & ~absent]
    table[IMAGE] = [str(files[case].absolute()) for case in table[CASE_ID]]
    return with_patient_ids(table.sort_values(CASE_ID).reset_index(drop=True))


def _described(reading: LayoutInput, tabled: Tabled) -> pd.DataFrame:
    """All rows of the tables by case id, with their class and the columns of the further tables."""
    table = _joined(_named(reading.listing, tabled.tables), tabled)
    label = table[reading.label_set] if reading.label_set else _of_columns(table)
    table = table.drop(columns=[name for name in (LABEL, IMAGE) if name in table]).assign(**{LABEL: label})
    more = _named(reading.listing, tabled.more) if tabled.more else []
    if more:
        further = _joined(more, tabled)
        known = [name for name in further if name in table and name != CASE_ID]
        table = table.merge(further.drop(columns=known), on=CASE_ID, how="left", validate="one_to_one")
    return table


def _joined(files: Iterable[Path], tabled: Tabled) -> pd.DataFrame:
    text = (tabled.case, PATIENT_ID, _LESION, *tabled.classes)
    table = pd.concat([read_table(file, [tabled.case], text=text, foreign=True) for file in files], ignore_index=True)
    table = table.drop(columns=[name for name in (CASE_ID,) if name in table]).rename(columns={tabled.case: CASE_ID})
    table[CASE_ID] = table[CASE_ID].map(stem_of)
    twice = table[CASE_ID][table[CASE_ID].duplicated()].unique()
    raise_if_any(f"the tables describe {name!r} more than once; keep one row" for name in twice)
    return table


def _of_columns(table: pd.DataFrame) -> pd.Series:
    """The class of each row, from the one of its columns that holds 1."""
    chosen = [
        name
        for name in map(str, table)
        if pd.api.types.is_numeric_dtype(table[name]) and set(table[name]) <= {0, 1} and not name.endswith(_NO_CLASS)
    ]
    marks = table[chosen] == 1
    raise_if_any(
        f"{case!r} has not one class but {int(count)} (columns {', '.join(map(str, chosen))}); mark one with 1"
        for case, count in zip(table[CASE_ID], marks.sum(axis=1), strict=True)
        if count != 1
    )
    return marks.idxmax(axis=1).astype(object)


def _named(listing: Listing, name: str) -> list[Path]:
    return [file for file in listing.files.values() if re.fullmatch(name, file.name, re.IGNORECASE)]


def _pictures(listing: Listing) -> dict[str, Path]:
    return {
        path: file
        for path, file in listing.files.items()
        if suffix_of(path) in PICTURE_SUFFIXES and not stem_of(path).endswith("_superpixels")
    }
