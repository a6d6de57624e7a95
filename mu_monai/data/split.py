"""Divide a manifest by patient into retain, forget, validation and test."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mu_monai.data.case_files import each_file
from mu_monai.data.duplicates import (
    DuplicatePolicy,
    Resolved,
    copy_sets,
    digest_files,
    resolve_duplicates,
    unite_groups,
)
from mu_monai.data.layouts.layout import Source
from mu_monai.data.manifest import COLUMNS, input_columns, is_file_label, nearest_names
from mu_monai.data.near_duplicates import find_near_duplicates
from mu_monai.data.partition import held_out_subsets
from mu_monai.data.phantoms import PHANTOM, PhantomKind
from mu_monai.data.pseudonyms import hash_ids
from mu_monai.data.reading import READING
from mu_monai.data.selection import (
    ForgetFraction,
    ForgetIds,
    ForgetSelector,
    ForgetWhere,
    describe_selector,
    follow_renamed,
    heed_remarks,
    match_cases,
    select_groups,
)
from mu_monai.data.split_file import split_content
from mu_monai.data.split_provenance import INPUTS, KEPT_FOR
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import (
    CASE_ID,
    FORGET,
    IMAGE,
    LABEL,
    PATIENT_ID,
    RETAIN,
    SUBSET,
    TEST,
    VALIDATION,
)

_BLOCK = 10_000  # rows that are made ready to write at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How to split.

    Args:
        forget: which cases to forget; None if the model is trained before any request.
        validation: share of all patients for validation, in [0, 1).
        test: share of all patients for test, in [0, 1); `validation + test` < 1.
        seed: seed of the random division, >= 0.
        group_by: the column whose groups are not divided.
        on_duplicates: see `resolve_duplicates`.
        strict: near-duplicates of forgotten cases in other subsets are an error, not a warning.
    """

    forget: ForgetSelector | None = field(default_factory=ForgetFraction)
    validation: float = 0.2
    test: float = 0.2
    seed: int = 0
    group_by: str = PATIENT_ID
    on_duplicates: DuplicatePolicy = "error"
    strict: bool = False

    def __post_init__(self) -> None:
        raise_if_any(_share_problems(self.validation, self.test, self.seed))


def split_manifest(
    manifest: pd.DataFrame,
    *,
    forget: ForgetSelector | None = ForgetFraction(),  # noqa: B008 - frozen
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    group_by: str | pd.Series = PATIENT_ID,
) -> pd.DataFrame:
    """Add the column `subset`; each group (patient) is in one subset, whatever the order of the rows.

    Args:
        manifest: the table.
        forget: which cases to forget, or None for none yet. Cases named by id or query are never put into validation
            or test, since only a case that was trained on can be forgotten. A query with a share forgets that share of
            the matching training groups and leaves the others where they are.
        validation: share of all groups, in [0, 1).
        test: share of all groups, in [0, 1).
        seed: seed of the random division, >= 0. The same seed gives the same test groups for every fraction or share
            to forget, and a larger fraction includes the groups of a smaller one.
        group_by: the column whose groups are not divided, or the group of each row.

    Raises:
        InputError: if a share is out of range, there are too few groups, or the selector does not fit the manifest.

    Example:
        >>> table = pd.DataFrame({"patient_id": list("aabbccddee"), "case_id": list("0123456789")})
        >>> split_manifest(table, forget=ForgetIds(("d",)))["subset"].tolist()
        ['retain', 'retain', 'retain', 'retain', 'test', 'test', 'forget', 'forget', 'validation', 'validation']
    """
    raise_if_any(_share_problems(validation, test, seed))
    column = _group_column(manifest, group_by)
    groups, names = pd.factorize(column.astype(str).to_numpy(dtype=object), sort=True)
    matched = np.zeros(len(names), dtype=bool)
    if isinstance(forget, ForgetIds | ForgetWhere):
        titles = np.array([f"{column.name} {name!r}" for name in names], dtype=object)
        matched = select_groups(manifest, forget, groups, titles)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = {TEST: _size(test, len(names)), VALIDATION: _size(validation, len(names))}
    selected = matched
    if isinstance(forget, ForgetWhere) and forget.share is not None:
        selected = _drawn(forget.share, matched, order[sum(sizes.values()) :])
    free = order[~selected[order]]
    if isinstance(forget, ForgetFraction):
        sizes[FORGET] = max(1, _round(forget.value * (len(names) - sum(sizes.values()))))
    if sum(sizes.values()) >= len(free):
        raise InputError(_too_few(str(column.name), len(names), int(selected.sum()), sizes))
    subset = np.full(len(names), RETAIN, dtype=object)
    subset[selected] = FORGET
    for name, part in zip(sizes, np.split(free, np.cumsum(list(sizes.values()))), strict=False):
        subset[part] = name
    return manifest.assign(**{SUBSET: subset[groups]})


def _drawn(share: float, matched: NDArray[np.bool_], training: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The groups to forget, `(g,)`: a share of the matched groups in training, in the order of the draw."""
    open_to = training[matched[training]]
    if not len(open_to):
        raise InputError(
            f"share {share} has nobody to take from: all {int(matched.sum())} groups that the condition finds were "
            "drawn for validation and test; draw with another --seed, or make these subsets smaller"
        )
    drawn = np.zeros_like(matched)
    drawn[open_to[: max(1, _round(share * len(open_to)))]] = True
    return drawn


def make_split(source: Source, settings: SplitSettings | None = None) -> dict[str, Any]:
    """Resolve duplicates, split, and return the content of a split file with its provenance.

    Args:
        source: a manifest that `check_manifest(..., allow_repeated_ids=True)` accepts, and where it comes from.
        settings: how to split.

    Returns:
        The four subsets and `provenance`, with absolute paths; `write_split` makes them relative.

    Raises:
        InputError: for unresolved duplicates, for sets of copies to drop of which the selector names only a part, for
            anything that `split_manifest` refuses and, if strict, for near-duplicates.
    """
    settings = settings or SplitSettings()
    manifest = source.manifest.reset_index(drop=True).astype({name: str for name in COLUMNS if name != IMAGE})
    manifest[IMAGE] = manifest[IMAGE].map(lambda image: each_file(image, str))
    if isinstance(settings.forget, ForgetIds):
        known, salt = {*manifest[CASE_ID], *manifest[PATIENT_ID]}, source.salt
        ids = settings.forget
        ids = heed_remarks(ids, known.__contains__) if salt is None else hash_ids(ids, known, salt)
        settings = replace(settings, forget=ids)
    inputs = input_columns(manifest)
    digests, damaged = digest_files(_files(manifest, inputs))
    raise_if_any(damaged)
    sets = copy_sets(manifest, digests)
    resolved = resolve_duplicates(manifest, digests, settings.on_duplicates)
    if source.held_out is not None:
        raise_if_any(_copies_held_out(manifest, sets, source.held_out))
    forget = settings.forget
    if resolved.dropped and isinstance(forget, ForgetIds | ForgetWhere):
        forget = _follow_dropped(forget, manifest, sets, resolved)
    if isinstance(forget, ForgetIds):
        forget = follow_renamed(forget, resolved.renamed, resolved.manifest)
    groups = _united(manifest, sets, resolved, settings.group_by)
    table = _split_resolved(resolved, forget, settings, source.held_out, groups).sort_values(CASE_ID, kind="stable")
    near = find_near_duplicates(table, reading=source.reading)
    report_near_duplicates(near, settings.strict)
    classes = class_names(table)
    _warn_of_missing_classes(table, classes)
    used = dict.fromkeys(_files(table, inputs))
    history = {
        "source": source.path,
        "layout": source.layout,
        "label_set": source.label_set,
        **({} if source.patterns is None else {"patterns": asdict(source.patterns)}),
        "phantom": PHANTOM in table and bool(table[PHANTOM].isin(get_args(PhantomKind)).all()),
        "selector": None if settings.forget is None else describe_selector(settings.forget),
        "group_by": settings.group_by,
        "seed": settings.seed,
        "validation": settings.validation,
        "test": settings.test,
        "classes": classes or list(source.classes) or None,
        **({INPUTS: inputs} if inputs else {}),
        **({READING: content} if (content := source.reading.content()) else {}),
    }
    copies = {
        "duplicates": {
            "policy": settings.on_duplicates,
            "dropped": resolved.dropped,
            "together": resolved.together,
        },
        "near_duplicates": near,
        **({KEPT_FOR: resolved.kept_for} if resolved.dropped else {}),
        **({} if source.salt is None else {"salt": source.salt}),
    }
    return split_content(_records(table), digests={path: digests[path] for path in used}, made=history, found=copies)


def _files(table: pd.DataFrame, inputs: Sequence[str]) -> list[str]:
    """The files of all cases: images, masks, and those of further inputs."""
    further = [path for column in inputs for path in table[column]]
    return [*table[IMAGE].explode(), *table[LABEL][is_file_label(table[LABEL])], *further]


def _follow_dropped(
    forget: ForgetIds | ForgetWhere, manifest: pd.DataFrame, sets: NDArray[np.intp], resolved: Resolved
) -> ForgetIds | ForgetWhere:
    """Refuse a request for only a part of a set of copies; drop its ids that are gone, since it names the kept copy."""
    matched = match_cases(manifest, forget)
    in_split = manifest.index.isin(resolved.manifest.index)
    survives = pd.Series(in_split).groupby(sets).transform("any").to_numpy(dtype=bool)
    titles = pd.Series(
        [
            f"{case!r} (patient {patient!r})"
            for case, patient in zip(manifest[CASE_ID], manifest[PATIENT_ID], strict=True)
        ]
    )
    partial = np.intersect1d(sets[matched & survives], sets[~matched & survives])
    raise_if_any(
        f"copies would be forgotten only in part: {', '.join(titles[matched & (sets == number)])} but not "
        f"{', '.join(titles[~matched & (sets == number)])}; add the other to the request, or correct the source"
        for number in partial
    )
    if not isinstance(forget, ForgetIds):
        return forget
    known = set(resolved.manifest[CASE_ID]) | set(resolved.manifest[PATIENT_ID])
    copied = set(manifest[CASE_ID][survives]) | set(manifest[PATIENT_ID][survives])
    raise_if_any(
        f"id {entry!r} to forget was dropped, since its copies have other labels; remove it from the list, or keep "
        "copies with --on-duplicates together"
        for entry in forget.value
        if entry not in known | copied
    )
    return ForgetIds(tuple(entry for entry in forget.value if entry in known))


def _split_resolved(
    resolved: Resolved,
    forget: ForgetSelector | None,
    settings: SplitSettings,
    held_out: frozenset[str] | None,
    groups: pd.Series,
) -> pd.DataFrame:
    manifest = resolved.manifest
    if held_out is None:
        shares = {"validation": settings.validation, "test": settings.test}
        return split_manifest(manifest, forget=forget, **shares, seed=settings.seed, group_by=groups)
    apart = held_out_subsets(manifest, groups, held_out, forget, settings.seed)
    training = manifest.drop(apart.index)
    divided = split_manifest(
        training, forget=forget, validation=0, test=0, seed=settings.seed, group_by=groups[training.index]
    )
    return pd.concat([divided, manifest.loc[apart.index].assign(**{SUBSET: apart})])


def _united(manifest: pd.DataFrame, sets: NDArray[np.intp], resolved: Resolved, group_by: str | pd.Series) -> pd.Series:
    """The group of each case that is left; groups that share a set of copies are one, also if all but one are gone."""
    if resolved.together:
        return unite_groups(_group_column(resolved.manifest, group_by), resolved.manifest[CASE_ID], resolved.together)
    groups = _group_column(manifest, group_by)
    if resolved.dropped:
        groups = unite_groups(groups, manifest[CASE_ID], manifest[CASE_ID].groupby(sets).agg(list))
    return groups.loc[resolved.manifest.index]


def _copies_held_out(manifest: pd.DataFrame, sets: NDArray[np.intp], held_out: frozenset[str]) -> Iterator[str]:
    """Cases that the model was trained on and that were held out as well, under another name."""
    apart = manifest[CASE_ID].isin(held_out).to_numpy()
    for number in np.intersect1d(sets[apart], sets[~apart]):
        first, second = (manifest[CASE_ID][one & (sets == number)].iloc[0] for one in (apart, ~apart))
        yield (
            f"case {first!r}, which the bundle held out, is a copy of {second!r}, which its model was trained on, so "
            f"it is not unseen; take {first!r} out of the bundle's lists"
        )


def _share_problems(validation: float, test: float, seed: int) -> list[str]:
    problems = [
        f"{name} share {share!r} is not in [0, 1); 0.2 takes a fifth of the patients"
        for name, share in ((VALIDATION, validation), (TEST, test))
        if not (math.isfinite(share) and 0 <= share < 1)
    ]
    if not problems and validation + test >= 1:
        problems.append(f"validation {validation} + test {test} leave nothing to train on; their sum must be below 1")
    if seed < 0:
        problems.append(f"seed {seed!r} is negative; choose a whole number >= 0")
    return problems


def _group_column(manifest: pd.DataFrame, group_by: str | pd.Series) -> pd.Series:
    if isinstance(group_by, str) and group_by not in manifest:
        raise InputError(f"group_by {group_by!r} is not a column; {nearest_names(group_by, manifest.columns)}")
    column = manifest[group_by] if isinstance(group_by, str) else group_by
    empty = np.flatnonzero(column.isna())
    raise_if_any(f"row {row + 1}: {column.name} is empty, but the split groups by it; fill it in" for row in empty)
    return column


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _size(share: float, groups: int) -> int:
    return max(1, _round(share * groups)) if share > 0 else 0


def _too_few(column: str, groups: int, selected: int, sizes: dict[str, int]) -> str:
    required = {**sizes, FORGET: sizes.get(FORGET, selected)}
    return (
        f"{groups} groups by {column} are too few for {', '.join(f'{name} {size}' for name, size in required.items())} "
        "and at least 1 to retain; lower these shares, or forget fewer"
    )


def report_near_duplicates(near: list[dict[str, Any]], strict: bool) -> None:
    """Warn about every pair, or refuse them all if `strict`."""
    sentences = [
        f"case {pair['forget']!r} to forget looks like {pair['other']!r} in {pair['subset']} ({pair['distance']} of "
        "256 bits differ); forget both or remove one"
        for pair in near
    ]
    if strict:
        raise_if_any(sentences)
    for sentence in sentences:
        _log.warning(sentence)


def class_names(table: pd.DataFrame) -> list[str]:
    """The classes of a table in alphabetical order; empty if its labels are masks.

    Example:
        >>> class_names(pd.DataFrame({"label": ["nevus", "melanoma", "nevus"]}))
        ['melanoma', 'nevus']
    """
    return sorted(set(table[LABEL][~is_file_label(table[LABEL])]))


def _warn_of_missing_classes(table: pd.DataFrame, classes: list[str]) -> None:
    """Warn about the classes that validation or test lacks: these cannot be scored on unseen cases."""
    for subset in (VALIDATION, TEST):
        present = set(table[LABEL][table[SUBSET] == subset])
        missing = [name for name in classes if name not in present]
        if present and missing:
            _log.warning(
                "%s has no case of %s, so these classes cannot be scored there: make it larger, or draw with another "
                "seed (this is intended for a class that is forgotten as a whole)",
                subset,
                ", ".join(map(repr, missing)),
            )


def _records(table: pd.DataFrame) -> Iterator[dict[Hashable, Any]]:
    """Rows that JSON can represent: no NaN or infinity, no numpy or time types."""
    times = dict.fromkeys(table.select_dtypes(["datetime", "datetimetz", "timedelta"]), str)
    for start in range(0, len(table), _BLOCK):
        plain = table.iloc[start : start + _BLOCK].replace([np.inf, -np.inf], np.nan).astype(times)
        yield from plain.astype(object).where(plain.notna(), None).to_dict("records")
