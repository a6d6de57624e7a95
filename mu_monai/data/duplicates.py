"""Copies in the source: forgetting a case has no effect while a copy of it is retained."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mu_monai.data.case_files import each_file, image_files
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import file_sha256
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID

DuplicatePolicy = Literal["error", "drop", "together"]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A manifest whose copies were resolved.

    Args:
        manifest: the table, in which every case id occurs once.
        dropped: case ids of the dropped rows, sorted; one entry per row.
        together: case ids of each set of copies that was kept, sorted.
        renamed: the new ids of each case id that occurred more than once and was kept.
        kept_for: of each case that was kept in place of dropped copies, their case and patient ids beside its own.
    """

    manifest: pd.DataFrame
    dropped: list[str] = field(default_factory=list)
    together: list[list[str]] = field(default_factory=list)
    renamed: dict[str, list[str]] = field(default_factory=dict)
    kept_for: dict[str, list[str]] = field(default_factory=dict)


def digest_files(paths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """SHA-256 of each file or DICOM folder by path, and the problems of those without; they are read in parallel."""
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as pool:
        results = dict(zip(unique, pool.map(_digest, unique), strict=True))
    damaged = [problem for result in results.values() if isinstance(result, InputError) for problem in result.problems]
    return {path: result for path, result in results.items() if isinstance(result, str)}, damaged


def _digest(path: str) -> str | InputError:
    try:
        return file_sha256(path)
    except InputError as error:
        return error


def resolve_duplicates(
    manifest: pd.DataFrame, digests: Mapping[str, str], policy: DuplicatePolicy = "error"
) -> Resolved:
    """Resolve cases with the same id or the same image content.

    Args:
        manifest: the table.
        digests: SHA-256 by path of the images and mask files.
        policy: `error` refuses them. `drop` keeps one of each set of copies, or none if their labels disagree (masks
            are compared by content, classes by name). `together` keeps all; rows that share an id are renamed `id~1`,
            `id~2` ... in the order of label and path, and `unite_groups` then puts them into one subset.

    Raises:
        InputError: for `error`, listing every set of copies.
    """
    if policy not in get_args(DuplicatePolicy):
        raise InputError(
            f"--on-duplicates {policy!r} is unknown; choose {', '.join(map(repr, get_args(DuplicatePolicy)))}"
        )
    contents = manifest[IMAGE].map(lambda image: each_file(image, digests.__getitem__))
    sets = copy_sets(manifest, digests)
    copied = np.bincount(sets)[sets] > 1
    if not copied.any():
        return Resolved(manifest=manifest)
    if policy == "error":
        raise_if_any(_copy_problems(manifest[copied], sets[copied], contents[copied]))
    if policy == "drop":
        return _drop(manifest, digests, sets, copied)
    return _keep_together(manifest, sets, copied)


def copy_sets(manifest: pd.DataFrame, digests: Mapping[str, str]) -> NDArray[np.intp]:
    """Number of the set of copies that each row belongs to, `(n,)`; copies share a case id or an image's content."""
    files = manifest[IMAGE].map(image_files)
    sets = _connected(manifest[CASE_ID].repeat(files.map(len).tolist()), files.explode().map(digests))
    return sets[np.cumsum([0, *files.map(len)])[:-1]]  # all files of a row are in one set


def original_ids(together: Iterable[Iterable[str]]) -> dict[str, list[str]]:
    """The new ids of each case id that `resolve_duplicates` renamed, recovered from the sets of copies that it kept.

    Example:
        >>> original_ids([["a~1", "a~2", "b"], ["c", "d~7"]])
        {'a': ['a~1', 'a~2']}
    """
    renamed: dict[str, list[str]] = {}
    for members in map(set, together):
        for first in sorted(name for name in members if name.endswith("~1")):
            stem, new = first.removesuffix("~1"), [first]
            while (name := f"{stem}~{len(new) + 1}") in members:
                new.append(name)
            if len(new) > 1 and stem not in members:
                renamed[stem] = new
    return renamed


def unite_groups(groups: pd.Series, case_ids: pd.Series, together: Iterable[Iterable[str]]) -> pd.Series:
    """Give all groups that share a set of copies one name, so that they end up in one subset.

    Args:
        groups: the group (patient) of each row.
        case_ids: the case id of each row.
        together: sets of case ids that belong together.

    Example:
        >>> unite_groups(pd.Series(["p", "q", "r"]), pd.Series(["1", "2", "3"]), [["1", "3"]]).tolist()
        ['p + r', 'q', 'p + r']
    """
    number_of = {case_id: number for number, members in enumerate(together) for case_id in members}
    links = case_ids.map(number_of)
    alone = links.isna()
    links = links.astype(object).mask(alone, "alone " + case_ids.astype(str))
    component = pd.Series(_connected(groups, links), index=groups.index)
    pairs = pd.DataFrame({"component": component, "group": groups.astype(str)}).drop_duplicates()
    several = pairs[pairs["component"].duplicated(keep=False)].sort_values("group")
    united = several.groupby("component")["group"].agg(" + ".join)
    names = component.map(united).astype(object).fillna(groups.astype(str))
    return pd.Series(names, name=groups.name)


def _connected(first: pd.Series, second: pd.Series) -> NDArray[np.intp]:
    """Number the sets of rows that are linked, directly or through others, by an equal value in either column."""
    left, right = pd.factorize(first)[0], pd.factorize(second)[0]
    right = right + left.max() + 1
    size = right.max() + 1
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(size, size))
    labels: NDArray[np.intp] = connected_components(graph, directed=False)[1][left].astype(np.intp)
    return labels


def _copy_problems(copies: pd.DataFrame, sets: NDArray[np.intp], contents: pd.Series) -> list[str]:
    problems = []
    for _, rows in copies.assign(_content=contents).groupby(sets):
        reasons = ["id"] * bool(rows[CASE_ID].duplicated().any()) + ["content"] * bool(
            rows["_content"].explode().duplicated().any()
        )
        listed = ", ".join(
            f"{case!r} ({path}, {label})" if rows[LABEL].nunique() > 1 else f"{case!r} ({path})"
            for case, path, label in zip(rows[CASE_ID], rows[IMAGE], rows[LABEL], strict=True)
        )
        problems.append(
            f"cases with the same {' and '.join(reasons)}: {listed}; keep one, or give --on-duplicates drop or together"
        )
    return sorted(problems)


def _drop(
    manifest: pd.DataFrame, digests: Mapping[str, str], sets: NDArray[np.intp], copied: NDArray[np.bool_]
) -> Resolved:
    labels = manifest[LABEL].map(lambda label: digests.get(label, label))
    disagree = (labels.groupby(sets).transform("nunique") > 1).to_numpy()
    order = np.lexsort((manifest[IMAGE].astype(str).to_numpy(str), manifest[CASE_ID].to_numpy(str)))
    first = np.zeros(len(manifest), dtype=bool)
    first[order[~pd.Series(sets[order]).duplicated().to_numpy()]] = True
    keep = ~copied | (first & ~disagree)
    if not keep.any():
        raise InputError(
            "--on-duplicates drop leaves no cases: all are copies with different labels; correct the labels"
        )
    kept_for: dict[str, list[str]] = {}
    for number in np.unique(sets[keep & copied]):
        one, copies = manifest[keep & (sets == number)].iloc[0], manifest[~keep & (sets == number)]
        names = {*copies[CASE_ID].astype(str), *copies[PATIENT_ID].astype(str)} - {one[CASE_ID], one[PATIENT_ID]}
        kept_for |= {str(one[CASE_ID]): sorted(names)} if names else {}
    return Resolved(manifest=manifest[keep], dropped=sorted(manifest[CASE_ID][~keep].astype(str)), kept_for=kept_for)


def _keep_together(manifest: pd.DataFrame, sets: NDArray[np.intp], copied: NDArray[np.bool_]) -> Resolved:
    repeated = manifest[CASE_ID].duplicated(keep=False)
    rank = manifest[repeated].sort_values([LABEL, IMAGE]).groupby(CASE_ID).cumcount() + 1
    renamed = manifest[CASE_ID].astype(object)
    renamed[repeated] = renamed[repeated] + "~" + rank.reindex(renamed[repeated].index).astype(str)
    clash = renamed[renamed.duplicated()]
    raise_if_any(f"case id {name!r} is needed to tell copies apart but is already in use; rename it" for name in clash)
    together: dict[Hashable, list[str]] = renamed[copied].groupby(sets[copied]).agg(sorted).to_dict()
    new_ids = renamed[repeated].groupby(manifest[CASE_ID][repeated]).agg(sorted)
    manifest = manifest.assign(**{CASE_ID: renamed})
    return Resolved(
        manifest=manifest, together=sorted(together.values()), renamed={str(key): new_ids[key] for key in new_ids.index}
    )
