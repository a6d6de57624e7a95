"""The problems of a split, as sentences: its shape, overlap between its subsets, its labels and its files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mu_monai.data.case_files import is_image_entry
from mu_monai.data.duplicates import digest_files
from mu_monai.data.manifest import COLUMNS, is_file_label, nearest_names
from mu_monai.data.split_provenance import INPUTS, provenance_problems
from mu_monai.files import special_problem
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, PROVENANCE, SUBSET, SUBSETS

_log = logging.getLogger(__name__)


def split_shape_problems(content: object) -> list[str]:
    """Where content does not have the shape of a split file."""
    if not isinstance(content, dict):
        return [
            f"a split file holds an object with the keys {', '.join(SUBSETS)} and {PROVENANCE}, "
            f"not a {type(content).__name__}"
        ]
    problems = [f"key {name!r} is missing; a split has {', '.join(SUBSETS)}" for name in SUBSETS if name not in content]
    provenance = content.get(PROVENANCE)
    if not isinstance(provenance, dict):
        problems.append(f"key {PROVENANCE!r} is missing or not an object; make the split with 'mu-monai split'")
    else:
        problems += [
            f"{PROVENANCE}, {problem}; make the split again with 'mu-monai split'"
            for problem in provenance_problems(provenance)
        ]
    for name in SUBSETS:
        problems += _list_problems(name, content.get(name, []))
    inputs = provenance.get(INPUTS, []) if isinstance(provenance, dict) else []
    if not problems:
        problems += [
            f"case {case[CASE_ID]!r} has no file of the input {column!r}, which the split says that every case has; "
            "make the split again with 'mu-monai split'"
            for name in SUBSETS
            for case in content[name]
            for column in inputs
            if not isinstance(case.get(column), str)
        ]
    if not problems and not any(content[name] for name in SUBSETS):
        problems.append("all subsets are empty; a split needs cases to retain and to forget")
    return problems


def _list_problems(name: str, cases: object) -> list[str]:
    if not isinstance(cases, list):
        return [f"key {name!r} holds {_shown(cases)}, not a list of cases; make the split again with 'mu-monai split'"]
    problems = []
    for number, case in enumerate(cases, start=1):
        absent = [key for key in COLUMNS if not (isinstance(case, dict) and _is_given(key, case.get(key)))]
        if absent:
            problems.append(f"{name}, case {number}: {', '.join(absent)} missing or not text; every case needs them")
            continue
        nested = [key for key, value in case.items() if isinstance(value, list | dict) and key != IMAGE]
        if nested:
            problems.append(f"{name}, case {number}: {', '.join(nested)} hold a list or an object; give one value each")
    return problems


def _is_given(key: str, entry: object) -> bool:
    return is_image_entry(entry) if key == IMAGE else isinstance(entry, str) and entry != ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def straddling_groups(table: pd.DataFrame, group_by: str) -> list[str]:
    """The groups that are in several subsets."""
    if group_by not in table:
        return [f"column {group_by!r}, by which the split is grouped, is missing from the cases"]
    problems = [
        f"case {case!r} has no {group_by}, by which the split is grouped; fill it in, or make the split again"
        for case in table[CASE_ID][table[group_by].isna()]
    ]
    problems += shared(table, table[group_by], f"{group_by} {{!r}} occurs", within=False)
    if group_by != PATIENT_ID:
        patients = shared(table, table[PATIENT_ID], "patient_id {!r} occurs", within=False)
        if patients:
            _log.warning("the split is grouped by %s, and %d patients are in several subsets", group_by, len(patients))
    return problems


def shared(table: pd.DataFrame, values: pd.Series, title: str, *, within: bool) -> list[str]:
    """One sentence per value that occurs in several subsets (or, if `within`, in several cases of one subset)."""
    rows = pd.DataFrame(
        {"value": values.to_numpy(), SUBSET: table[SUBSET].to_numpy(), CASE_ID: table[CASE_ID].to_numpy()}
    )
    rows = rows[rows["value"].notna()]
    single = rows if within else rows.drop_duplicates(["value", SUBSET])
    repeated = rows[rows["value"].isin(single["value"][single["value"].duplicated()])]
    problems = []
    for value, same in repeated.groupby("value"):
        places = ", ".join(f"{subset} ({case})" for subset, case in zip(same[SUBSET], same[CASE_ID], strict=True))
        problems.append(
            f"{title.format(value)} in {places}; forgetting has no effect while a copy stays: make the split again"
        )
    return problems


def class_name_problems(table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Why labels are not names of these classes."""
    masks = is_file_label(table[LABEL])
    problems = []
    if masks.any():
        shown = table[LABEL][masks].iloc[0]
        problems.append(f"{masks.sum()} labels are mask files, such as {shown!r}; a classifier needs class names")
    unknown = table[~masks & ~table[LABEL].isin(classes)]
    return problems + [
        f"class {name!r} of {len(ids)} cases, such as {ids.iloc[0]!r}, is not in the bundle's 'classes'; correct the "
        f"label or set other classes; {nearest_names(str(name), classes)}"
        for name, ids in unknown.groupby(LABEL)[CASE_ID]
    ]


def mixed_label_problems(table: pd.DataFrame) -> list[str]:
    """Why labels are neither all files nor all names of classes: a damaged path would be taken for a class."""
    masks = is_file_label(table[LABEL])
    if masks.all() or not masks.any():
        return []
    case = table[~masks].iloc[0]
    return [
        f"{(~masks).sum()} of {len(table)} labels are not files, such as {case[LABEL]!r} of case {case[CASE_ID]!r}, "
        "and the others are; a split has masks or classes: restore it, or make it again"
    ]


def file_problems(files: Sequence[str], folder: Path) -> list[str]:
    """Why files cannot be read: they do not exist, or are not ordinary files.

    Args:
        files: their paths, relative to the folder.
        folder: the folder of the split file.
    """
    missing = {entry for entry in files if not os.path.exists(folder / entry)}  # a DICOM series is a folder
    return [
        *(
            f"file {absolute(entry, folder)!r} does not exist; put it back, or make the split again"
            for entry in sorted(missing)
        ),
        *(problem for entry in files if entry not in missing and (problem := special_problem(folder / entry))),
    ]


def changed_files(files: Sequence[str], digests: Mapping[str, str], folder: Path) -> list[str]:
    """Which of the existing files changed after the split was made; all are read.

    Args:
        files: their paths, relative to the folder.
        digests: SHA-256 by path.
        folder: the folder of the split file.
    """
    readable = [entry for entry in files if not file_problems([entry], folder)]
    now, damaged = digest_files(absolute(entry, folder) for entry in readable)
    return damaged + [
        f"file {absolute(entry, folder)!r} {'changed after' if entry in digests else 'has no digest from when'} "
        "the split was made; restore it, or make the split again"
        for entry in readable
        if digests.get(entry) != now.get(absolute(entry, folder), digests.get(entry))
    ]


def absolute(path: str, folder: Path) -> str:
    """The absolute path of a path that a split file gives relative to its folder."""
    return os.path.normpath(os.path.join(folder, path))
