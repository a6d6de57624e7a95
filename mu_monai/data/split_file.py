"""The split file: a MONAI datalist with provenance, written relative to its folder and checked when read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.data.duplicates import digest_files
from mu_monai.data.manifest import COLUMNS, is_file_label, nearest_names
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json, shape_problems, special_problem, write_json
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, PROVENANCE, RETAIN, SUBSET, SUBSETS

_log = logging.getLogger(__name__)

_PROVENANCE = {
    "sha256": dict,
    "duplicates": dict,
    "group_by": str,
    "selector": dict | None,
    "classes": list | None,
    "counts": dict,
    "salt": str | None,
}


def write_split(target: str | os.PathLike[str], split: dict[str, Any]) -> Path:
    """Write a split with paths relative to its folder, so that folder and images can move together.

    Args:
        target: the JSON file.
        split: as `make_split` returns it, with absolute paths.

    Returns:
        The path written.
    """
    folder = Path(target).absolute().parent
    digests = split[PROVENANCE]["sha256"]
    short = {path: _relative(path, folder) for path in digests}
    lists = {
        name: [{**case, IMAGE: short[case[IMAGE]], LABEL: short.get(case[LABEL], case[LABEL])} for case in split[name]]
        for name in SUBSETS
    }
    provenance = {**split[PROVENANCE], "sha256": {short[path]: digest for path, digest in digests.items()}}
    write_json(target, {**lists, PROVENANCE: provenance})
    return Path(target)


def read_split(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a split file as it stands there, with relative paths and all columns; files are not looked at.

    Raises:
        InputError: listing every key that is missing or holds something else than it must.
    """
    if not Path(path).is_file():
        raise_if_any(filter(None, [special_problem(path)]))
        raise InputError(f"split file {str(path)!r} does not exist; make one with 'mu-monai split'")
    content: dict[str, Any] = read_json(path)
    raise_if_any(_shape_problems(content))
    return content


def case_digests(path: str | os.PathLike[str], subset: str) -> dict[str, str]:
    """The SHA-256 of the image of each case of a subset, by case id.

    Raises:
        InputError: where the split is damaged, or lacks a digest.
    """
    content = read_split(path)
    digests = content[PROVENANCE].get("sha256", {})
    raise_if_any(
        f"split file {str(path)!r} has no digest of the image of case {case[CASE_ID]!r}; make it again with 'mu-monai "
        "split'"
        for case in content[subset]
        if case[IMAGE] not in digests
    )
    return {case[CASE_ID]: digests[case[IMAGE]] for case in content[subset]}


def load_split(
    path: str | os.PathLike[str], *, verify: bool = False, classes: Sequence[str] | None = None
) -> dict[str, list[dict[str, str]]]:
    """Read and check a split file.

    Each case holds `image`, `label`, `case_id`, `patient_id` and `subset` and nothing else: metadata may be missing for
    some cases, and MONAI's `DataLoader` cannot collate that.

    Args:
        path: the split file.
        verify: also compute the SHA-256 of every file and compare it with the provenance.
        classes: the names that a classifier's labels may have; none to accept any label, masks included.

    Returns:
        The cases of each subset, with absolute paths.

    Raises:
        InputError: listing all of: keys that are missing or hold something else, no case to retain, groups (patients),
            case ids or contents in several subsets, files that are missing or, if verified, changed, labels that are no
            name of `classes`.

    Example:
        A bundle writes `"cases": "$mu_monai.data.load_split(@split_file)"` and, for its loaders,
        `"data": "$@cases['retain'] + @cases['forget']"`.
    """
    content = read_split(path)
    provenance = content[PROVENANCE]
    table = pd.concat([pd.DataFrame(content[name]).assign(**{SUBSET: name}) for name in SUBSETS if content[name]])
    digests = provenance.get("sha256", {})
    problems = [] if content[RETAIN] else [f"subset {RETAIN!r} is empty; a split needs cases to train on"]
    problems += _straddling_groups(table, provenance.get("group_by", PATIENT_ID))
    problems += _shared(table, table[CASE_ID], "case_id {!r} occurs", within=True)
    problems += _shared(table, table[IMAGE].map(digests), "content with SHA-256 {} occurs", within=False)
    folder = Path(path).absolute().parent
    problems += _file_problems(table, digests, folder, verify)
    problems += [] if classes is None else _class_problems(table, classes)
    raise_if_any(problems)
    table[IMAGE] = table[IMAGE].map(lambda entry: _absolute(entry, folder))
    table[LABEL] = table[LABEL].where(
        ~is_file_label(table[LABEL]), table[LABEL].map(lambda entry: _absolute(entry, folder))
    )
    rows = zip(*(table[name] for name in (*COLUMNS, SUBSET)), strict=True)
    cases = [dict(zip((*COLUMNS, SUBSET), row, strict=True)) for row in rows]
    return {name: [case for case in cases if case[SUBSET] == name] for name in SUBSETS}


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return Path(path).as_posix()


def _absolute(path: str, folder: Path) -> str:
    return os.path.normpath(folder / path)


def _shape_problems(content: object) -> list[str]:
    if not isinstance(content, dict):
        return [
            f"a split file holds an object with the keys {', '.join(SUBSETS)} and {PROVENANCE}, "
            f"not a {type(content).__name__}"
        ]
    problems = [f"key {name!r} is missing; a split has {', '.join(SUBSETS)}" for name in SUBSETS if name not in content]
    provenance = content.get(PROVENANCE)
    if not isinstance(provenance, dict):
        problems.append(f"key {PROVENANCE!r} is missing or no object; make the split with 'mu-monai split'")
    else:
        told = [*_provenance_problems(provenance)]
        problems += [f"{PROVENANCE}, {problem}; make the split again with 'mu-monai split'" for problem in told]
    for name in SUBSETS:
        problems += _list_problems(name, content.get(name, []))
    if not problems and not any(content[name] for name in SUBSETS):
        problems.append("all subsets are empty; a split needs cases to retain and to forget")
    return problems


def _list_problems(name: str, cases: object) -> list[str]:
    if not isinstance(cases, list):
        return [f"key {name!r} holds {_shown(cases)}, not a list of cases; make the split again with 'mu-monai split'"]
    problems = []
    for number, case in enumerate(cases, start=1):
        absent = [
            key for key in COLUMNS if not (isinstance(case, dict) and isinstance(case.get(key), str) and case[key])
        ]
        if absent:
            problems.append(f"{name}, case {number}: {', '.join(absent)} missing or no text; every case needs them")
            continue
        nested = [key for key, value in case.items() if isinstance(value, list | dict)]
        if nested:
            problems.append(f"{name}, case {number}: {', '.join(nested)} hold a list or an object; give one value each")
    return problems


def _provenance_problems(provenance: dict[str, Any]) -> Iterator[str]:
    """What of the provenance is read again, as far as it is there."""
    yield from shape_problems(provenance, {key: kind for key, kind in _PROVENANCE.items() if key in provenance})
    digests, duplicates = provenance.get("sha256", {}), provenance.get("duplicates", {})
    if isinstance(digests, dict):
        yield from shape_problems(list(digests.values()), [str], "sha256")
    if isinstance(provenance.get("classes"), list):
        yield from shape_problems(provenance["classes"], [str], "classes")
    if isinstance(duplicates, dict) and "together" in duplicates:
        yield from shape_problems(duplicates, {"together": [[str]]}, "duplicates")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _straddling_groups(table: pd.DataFrame, group_by: str) -> list[str]:
    if group_by not in table:
        return [f"column {group_by!r}, by which the split is grouped, is missing from the cases"]
    problems = _shared(table, table[group_by], f"{group_by} {{!r}} occurs", within=False)
    if group_by != PATIENT_ID:
        patients = _shared(table, table[PATIENT_ID], "patient_id {!r} occurs", within=False)
        if patients:
            _log.warning("the split is grouped by %s, and %d patients lie in several subsets", group_by, len(patients))
    return problems


def _shared(table: pd.DataFrame, values: pd.Series, title: str, *, within: bool) -> list[str]:
    """One sentence per value that several subsets (or, if `within`, several cases of one) have in common."""
    rows = pd.DataFrame(
        {"value": values.to_numpy(), SUBSET: table[SUBSET].to_numpy(), CASE_ID: table[CASE_ID].to_numpy()}
    )
    rows = rows[rows["value"].notna()]
    single = rows if within else rows.drop_duplicates(["value", SUBSET])
    repeated = rows[rows["value"].isin(single["value"][single["value"].duplicated()])]
    problems = []
    for value, found in repeated.groupby("value"):
        places = ", ".join(f"{subset} ({case})" for subset, case in zip(found[SUBSET], found[CASE_ID], strict=True))
        problems.append(
            f"{title.format(value)} in {places}; forgetting is void while a copy stays: make the split again"
        )
    return problems


def _class_problems(table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    masks = is_file_label(table[LABEL])
    problems = []
    if masks.any():
        shown = table[LABEL][masks].iloc[0]
        problems.append(f"{masks.sum()} labels are mask files, such as {shown!r}; a classifier's are names of classes")
    unknown = table[~masks & ~table[LABEL].isin(classes)]
    return problems + [
        f"class {name!r} of {len(ids)} cases, such as {ids.iloc[0]!r}, is none of the bundle's 'classes'; correct the "
        f"label or set other classes; {nearest_names(str(name), classes)}"
        for name, ids in unknown.groupby(LABEL)[CASE_ID]
    ]


def _file_problems(table: pd.DataFrame, digests: dict[str, str], folder: Path, verify: bool) -> list[str]:
    files = dict.fromkeys([*table[IMAGE], *table[LABEL][is_file_label(table[LABEL])]])
    kept = [entry for entry in files if os.path.exists(folder / entry)]  # a DICOM series is a folder
    problems = [
        f"file {_absolute(entry, folder)!r} does not exist; put it back, or make the split again"
        for entry in sorted(files.keys() - set(kept))
    ]
    special = {entry: problem for entry in kept if (problem := special_problem(folder / entry))}
    kept = [entry for entry in kept if entry not in special]
    problems += special.values()
    if verify:
        now, damaged = digest_files(_absolute(entry, folder) for entry in kept)
        problems += damaged
        problems += [
            f"file {_absolute(entry, folder)!r} {'changed after' if entry in digests else 'has no digest from when'} "
            "the split was made; restore it, or make the split again"
            for entry in kept
            if digests.get(entry) != now.get(_absolute(entry, folder), digests.get(entry))
        ]
    return problems
