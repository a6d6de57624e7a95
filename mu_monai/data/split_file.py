"""The split file: a MONAI datalist with provenance and relative paths, read once and checked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.data.case_files import each_file, image_digest
from mu_monai.data.manifest import COLUMNS, is_file_label
from mu_monai.data.split_checks import (
    absolute,
    changed_files,
    class_name_problems,
    file_problems,
    mixed_label_problems,
    shared,
    split_shape_problems,
    straddling_groups,
)
from mu_monai.data.split_provenance import INPUTS, Provenance, provenance_of
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import absence, file_sha256, read_json, special_problem, write_json
from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, PATIENT_ID, PROVENANCE, RETAIN, SUBSET, SUBSETS
from mu_monai.runs.stamp import cases_sha256

_log = logging.getLogger(__name__)

Cases = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split file that was read.

    Args:
        path: the file.
        sha256: SHA-256 of the file.
        rows: the cases of each subset with all columns, as in the file: paths are relative to its folder.
        provenance: how the split was made.
        forget_images_gone: whether the files of the forget cases are left alone: they may be missing, and `cases` has
            no forget case.
    """

    path: Path
    sha256: str
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    provenance: Provenance
    forget_images_gone: bool = False

    @cached_property
    def table(self) -> pd.DataFrame:
        """All cases as in the file, with their `subset`."""
        return pd.DataFrame([{**row, SUBSET: name} for name in SUBSETS for row in self.rows[name]])

    @cached_property
    def located(self) -> dict[str, list[dict[str, Any]]]:
        """The cases of each subset with all columns, absolute paths and `subset`."""
        names, folder = self.table[LABEL], self._folder
        files = {path: absolute(path, folder) for path in names[is_file_label(names)]}

        def case(row: Mapping[str, Any], subset: str) -> dict[str, Any]:
            label = files.get(row[LABEL], row[LABEL])
            image = each_file(row[IMAGE], lambda path: absolute(path, folder))
            inputs = {name: absolute(row[name], folder) for name in self.inputs}
            return {**row, **inputs, IMAGE: image, LABEL: label, SUBSET: subset}

        return {name: [case(row, name) for row in self.rows[name]] for name in SUBSETS}

    @property
    def inputs(self) -> list[str]:
        """The columns of further input files."""
        return list(self.provenance.content.get(INPUTS, []))

    @cached_property
    def cases(self) -> Cases:
        """The cases of each subset with absolute paths, as `load_split` gives them."""
        columns = (*COLUMNS, *self.inputs, SUBSET)
        there = {name: () if name in self._gone else part for name, part in self.located.items()}
        return {name: [{key: case[key] for key in columns} for case in part] for name, part in there.items()}

    @cached_property
    def file_digests(self) -> dict[str, str]:
        """The SHA-256 of each file when the split was made, by its absolute path."""
        folder = self._folder
        return {absolute(path, folder): digest for path, digest in self.provenance.sha256.items()}

    def digests(self, subset: str) -> dict[str, str]:
        """The SHA-256 of the image of each case of a subset, by case id.

        Raises:
            InputError: if the split lacks a digest.
        """
        digests = {case[CASE_ID]: image_digest(case[IMAGE], self.provenance.sha256) for case in self.rows[subset]}
        raise_if_any(
            f"split file {str(self.path)!r} has no digest of the image of case {case!r}; make it again with "
            "'mu-monai split'"
            for case, digest in digests.items()
            if digest is None
        )
        return {case: digest for case, digest in digests.items() if digest is not None}

    def patients(self, subset: str) -> set[str]:
        """The ids of the patients of a subset."""
        return {case[PATIENT_ID] for case in self.rows[subset]}

    @property
    def cases_sha256(self) -> str:
        """The SHA-256 of its cases and of the contents of their files, wherever they are."""
        return cases_sha256(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """What is in the file."""
        return {**self.rows, PROVENANCE: self.provenance.content}

    @cached_property
    def changed_files(self) -> list[str]:
        """Which images and masks changed after the split was made; the first call reads them all."""
        return changed_files(self._files, self.provenance.sha256, self._folder)

    @property
    def edited(self) -> str:
        """Which subsets hold another number of cases than when the split was made, in words; empty if none does."""
        counts = self.provenance.counts
        known = {name: counts[name] for name in SUBSETS if isinstance(counts.get(name), Mapping)}
        before = {name: known[name]["cases"] for name in known if "cases" in known[name]}
        return ", ".join(
            f"{name} holds {len(self.rows[name])} cases and was made with {number}"
            for name, number in before.items()
            if number != len(self.rows[name])
        )

    def warn_of_edits(self) -> None:
        """Log how the split was edited since it was made, if it was."""
        edited = self.edited
        if edited:
            _log.warning("'%s' was edited after it was made: %s; make sure that no case is missing", self.path, edited)

    def problems(self, *, verify: bool = False, classes: Sequence[str] | None = None) -> list[str]:
        """The problems of its content and its files; the arguments are those of `open_split`."""
        table = self.table
        files = table.explode(IMAGE)
        problems = [] if self.rows[RETAIN] else [f"subset {RETAIN!r} is empty; a split needs cases to train on"]
        problems += straddling_groups(table, self.provenance.group_by)
        problems += shared(table, table[CASE_ID], "case_id {!r} occurs", within=True)
        problems += shared(
            files, files[IMAGE].map(self.provenance.sha256), "content with SHA-256 {} occurs", within=False
        )
        problems += mixed_label_problems(table)
        problems += file_problems(self._files, self._folder)
        problems += self.changed_files if verify else []
        return problems + ([] if classes is None else class_name_problems(table, classes))

    @property
    def _folder(self) -> Path:
        return self.path.absolute().parent

    @property
    def _gone(self) -> tuple[str, ...]:
        """The subsets whose files are left alone."""
        return (FORGET,) if self.forget_images_gone else ()

    @property
    def _files(self) -> list[str]:
        table = self.table[~self.table[SUBSET].isin(self._gone)]
        labels = table[LABEL]
        further = [path for name in self.inputs for path in table[name]]
        return list(dict.fromkeys([*table[IMAGE].explode(), *labels[is_file_label(labels)], *further]))


def split_content(
    rows: Iterable[Mapping[Any, Any]], *, digests: Mapping[str, str], made: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of a split file, with absolute paths.

    Args:
        rows: all cases with their columns and `subset`, with values that JSON can represent.
        digests: SHA-256 of each file by its absolute path.
        made: the part of the provenance about how the split was made.
        found: the part of the provenance about copies and look-alikes that were found.

    Example:
        >>> content = split_content(
        ...     [{"case_id": "1", "patient_id": "a", "subset": "retain"}], digests={}, made={"seed": 0}, found={}
        ... )
        >>> content["retain"], content["provenance"]["counts"]["retain"]
        ([{'case_id': '1', 'patient_id': 'a'}], {'patients': 1, 'cases': 1})
    """
    lists: dict[str, list[dict[str, Any]]] = {name: [] for name in SUBSETS}
    for row in rows:
        lists[row[SUBSET]].append({str(key): value for key, value in row.items() if key != SUBSET})
    counts = {
        name: {"patients": len({case[PATIENT_ID] for case in part}), "cases": len(part)} for name, part in lists.items()
    }
    return {**lists, PROVENANCE: {**made, "counts": counts, "sha256": dict(digests), **found}}


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
    short = _relative_to(folder, digests)
    files = (LABEL, *split[PROVENANCE].get(INPUTS, ()))

    def moved(case: Mapping[str, Any]) -> dict[str, Any]:
        own = {key: short.get(case[key], case[key]) for key in files if key in case}
        return {**case, IMAGE: each_file(case[IMAGE], short.__getitem__)} | own

    provenance = {**split[PROVENANCE], "sha256": {short[path]: digest for path, digest in digests.items()}}
    write_json(target, {**{name: map(moved, split[name]) for name in SUBSETS}, PROVENANCE: provenance})
    return Path(target)


def read_split(path: str | os.PathLike[str]) -> Split:
    """Read a split file; its images need not exist any more.

    Raises:
        InputError: with every key that is missing or has the wrong type.
    """
    if not Path(path).is_file():
        raise_if_any(filter(None, [special_problem(path)]))
        raise InputError(f"split file {str(path)!r} {absence(path)}; make one with 'mu-monai split'")
    content: dict[str, Any] = read_json(path)
    raise_if_any(split_shape_problems(content))
    rows = {name: content[name] for name in SUBSETS}
    return Split(path=Path(path), sha256=file_sha256(path), rows=rows, provenance=provenance_of(content))


def open_split(
    path: str | os.PathLike[str],
    *,
    verify: bool = False,
    classes: Sequence[str] | None = None,
    forget_images_gone: bool = False,
) -> Split:
    """Read a split file, and check its content and its files.

    Args:
        path: the split file.
        verify: also compute the SHA-256 of every file and compare it with the provenance.
        classes: the names that a classifier's labels may have; None to accept any label, masks included.
        forget_images_gone: whether the forget cases' files may be missing; they are not opened even if they exist.

    Raises:
        InputError: with all of these: keys that are missing or have the wrong type, no case to retain, groups
            (patients), case ids or contents in several subsets, files that are missing or, if verified, changed, and
            labels that are not in `classes`.
    """
    split = replace(read_split(path), forget_images_gone=forget_images_gone)
    raise_if_any(split.problems(verify=verify, classes=classes))
    return split


def load_split(
    path: str | os.PathLike[str],
    *,
    verify: bool = False,
    classes: Sequence[str] | None = None,
    forget_images_gone: bool = False,
) -> Cases:
    """Read and check a split file, and return its cases.

    Each case has only `image`, `label`, `case_id`, `patient_id`, `subset` and further input files: metadata may be
    missing for some cases, and MONAI's `DataLoader` cannot collate that.

    Args:
        path: the split file.
        verify: see `open_split`.
        classes: see `open_split`.
        forget_images_gone: see `open_split`.

    Returns:
        The cases of each subset, with absolute paths; no forget cases if their images are gone.

    Raises:
        InputError: see `open_split`.

    Example:
        A bundle has `"cases": "$mu_monai.data.load_split(@split_file)"` and, for its loaders,
        `"data": "$@cases['retain'] + @cases['forget']"`.
    """
    return open_split(path, verify=verify, classes=classes, forget_images_gone=forget_images_gone).cases


def load_leaving(path: str | os.PathLike[str]) -> Cases:
    """The cases of a split of which everything that was trained on is to be forgotten, as when a site leaves.

    Its `retain` cases are in `forget` as well. They stay in `retain`, since a trainer needs batches; a method has to
    put others in their place, as `GradientAscent` does.

    Args:
        path: the split file.

    Raises:
        InputError: see `open_split`.
    """
    cases = load_split(path)
    return {**cases, FORGET: [{**case, SUBSET: FORGET} for case in cases[RETAIN]]}


def _relative_to(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Each path relative to a folder; of many files in few folders, only the folders take time."""

    @cache
    def relative(path: str) -> str:
        try:
            return Path(os.path.relpath(path, folder)).as_posix()
        except ValueError:  # another drive on Windows
            return Path(path).as_posix()

    def of(path: str) -> str:
        place, _, name = path.rpartition(os.sep)
        if name in ("", os.curdir, os.pardir) or not place:
            return relative(path)
        return name if (found := relative(place)) == os.curdir else f"{found.rstrip('/')}/{name}"

    return {path: of(path) for path in paths}
