"""How a user says which cases to forget: a fraction, a list of ids, or a query over the manifest."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mu_monai.data.condition import matching_rows
from mu_monai.data.manifest import nearest_names
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, PATIENT_ID
from mu_monai.tables import by_likeness, forms, likeness, nearly_equal

_log = logging.getLogger(__name__)

_SHOWN = 10  # values or cases listed in a message


@dataclass(frozen=True)
class ForgetFraction:
    """Forget a random share of the training patients.

    Args:
        value: share of the patients that remain after validation and test, in (0, 1); at least one is forgotten.
    """

    value: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and 0 < self.value < 1):
            raise InputError(
                f"forget fraction {self.value!r} is not in (0, 1); 0.1 forgets a tenth of the training patients"
            )


@dataclass(frozen=True)
class ForgetIds:
    """Forget these patients or cases.

    Args:
        value: patient ids or case ids; all cases of a patient must be covered.
        remarks: lines of a list that begin with `#`: remarks, but for those that are an id.
    """

    value: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", tuple(dict.fromkeys(str(entry).strip() for entry in self.value)))
        if not (self.value or self.remarks):
            raise InputError("the list of ids to forget is empty; give at least one patient or case id")


@dataclass(frozen=True)
class ForgetWhere:
    """Forget the cases that a query finds, or a random share of the patients that it finds.

    Args:
        value: a condition over the manifest's columns, such as `device == 'a' and age > 60`.
        share: share of the matching training patients to forget, in (0, 1), at least one; None to forget all.
    """

    value: str
    share: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not (math.isfinite(self.share) and 0 < self.share < 1):
            raise InputError(
                f"--forget-fraction-of {self.share!r} is not in (0, 1); 0.5 forgets half of the patients that "
                f"{self.value!r} finds in training; leave it out to forget them all"
            )


ForgetSelector = ForgetFraction | ForgetIds | ForgetWhere


def describe_selector(selector: ForgetSelector) -> dict[str, Any]:
    """The selector as the provenance of a split records it.

    Example:
        >>> describe_selector(ForgetIds(("p1", "p2")))
        {'kind': 'ids', 'value': ['p1', 'p2']}
        >>> describe_selector(ForgetWhere("device == 'a'", share=0.5))
        {'kind': 'where', 'value': "device == 'a'", 'share': 0.5}
    """
    kind = {ForgetFraction: "fraction", ForgetIds: "ids", ForgetWhere: "where"}[type(selector)]
    share = {"share": selector.share} if isinstance(selector, ForgetWhere) and selector.share is not None else {}
    return {"kind": kind, "value": list(selector.value) if isinstance(selector, ForgetIds) else selector.value, **share}


def is_drawn(selector: ForgetSelector) -> bool:
    """Whether the patients to forget are drawn at random."""
    return isinstance(selector, ForgetFraction) or (isinstance(selector, ForgetWhere) and selector.share is not None)


def heed_remarks(selector: ForgetIds, is_id: Callable[[str], bool]) -> ForgetIds:
    """Take the remarks that are ids for ids, and drop the others.

    Args:
        selector: ids and remarks.
        is_id: whether a text is the id of a patient or case.

    Raises:
        InputError: if no id is left.

    Example:
        >>> heed_remarks(ForgetIds(("p1",), ("#12", "# withdrawn in May")), {"p1", "#12"}.__contains__).value
        ('p1', '#12')
    """
    ids = [remark for remark in selector.remarks if is_id(remark)]
    skipped = [remark for remark in selector.remarks if remark not in ids]
    if skipped:
        _log.info("%d of the lines that begin with # are not ids and are skipped, such as %r", len(skipped), skipped[0])
    if ids:
        _log.warning("%d of the lines that begin with # are ids and are to be forgotten, such as %r", len(ids), ids[0])
    return ForgetIds((*selector.value, *ids))


def follow_renamed(selector: ForgetIds, renamed: Mapping[str, Sequence[str]], manifest: pd.DataFrame) -> ForgetIds:
    """Replace the ids that a user knows by the new ids of renamed cases.

    Args:
        selector: ids as in the source; an id that is also in the manifest is kept.
        renamed: the new ids of each id that was renamed.
        manifest: the table with the new ids.
    """
    known = set(manifest[CASE_ID]) | set(manifest[PATIENT_ID])
    names = [([entry] if entry in known else []) + list(renamed.get(entry, [])) or [entry] for entry in selector.value]
    return ForgetIds(tuple(name for group in names for name in group))


def match_cases(manifest: pd.DataFrame, selector: ForgetIds | ForgetWhere) -> NDArray[np.bool_]:
    """Find the cases that a selector names, `(n,)`.

    Raises:
        InputError: if nothing matches, or an id or column is unknown.
    """
    return _match_ids(manifest, selector) if isinstance(selector, ForgetIds) else _match_query(manifest, selector)


def warn_of_held_out(manifest: pd.DataFrame, held_out: pd.Series, selector: ForgetWhere) -> None:
    """Warn of cases that a query finds and that the model was not trained on, so that they are not forgotten.

    Args:
        manifest: the table.
        held_out: the rows that the model was not trained on, `(n,)`.
        selector: the query.
    """
    matched = matching_rows(manifest, selector.value).fillna(False).to_numpy(dtype=bool)
    found = manifest[CASE_ID][matched & held_out.to_numpy(dtype=bool)].tolist()
    if found:
        _log.warning(
            "query %r also finds %d cases, such as %r, that the model was not trained on: they stay in validation and "
            "test",
            selector.value,
            len(found),
            found[0],
        )


def select_groups(
    manifest: pd.DataFrame, selector: ForgetIds | ForgetWhere, groups: NDArray[np.intp], names: NDArray[Any]
) -> NDArray[np.bool_]:
    """Find the groups to forget.

    Args:
        manifest: the table.
        selector: which cases.
        groups: group number of each row, `(n,)`.
        names: name of each group, `(g,)`.

    Returns:
        `(g,)`, true for the groups to forget.

    Raises:
        InputError: if nothing matches, an id or column is unknown, or only a part of a group matches.
    """
    matched = match_cases(manifest, selector)
    size = np.bincount(groups, minlength=len(names))
    hits = np.bincount(groups[matched], minlength=len(names))
    partial = np.flatnonzero((hits > 0) & (hits < size))
    raise_if_any(_partial_problem(manifest, groups == group, matched, str(names[group])) for group in partial)
    return hits > 0


def _match_ids(manifest: pd.DataFrame, selector: ForgetIds) -> NDArray[np.bool_]:
    cases, patients = manifest[CASE_ID].astype(str), manifest[PATIENT_ID].astype(str)
    known = set(cases) | set(patients)
    unknown = [entry for entry in selector.value if entry not in known]
    alike = by_likeness(known) if unknown else {}
    if len(known) > 1000:  # searching a million ids for the closest would take minutes; examples are good enough
        known = set(sorted(known)[:_SHOWN])
    shown = sorted(known)
    near = {entry: alike.get(likeness(entry)) for entry in unknown}
    raise_if_any(
        f"id {entry!r} to forget is neither a patient_id nor a case_id; "
        + (f"did you mean {forms(same)}?" if same else nearest_names(entry, shown))
        for entry, same in near.items()
    )
    both = cases.isin(selector.value) & cases.isin(patients) & (cases != patients)
    raise_if_any(
        f"id {case!r} to forget is a patient and also a case of patient {patient!r}; choose one by a query, such as "
        f'"patient_id == {case!r}"'
        for case, patient in zip(cases[both], patients[both], strict=True)
    )
    matched: NDArray[np.bool_] = (cases.isin(selector.value) | patients.isin(selector.value)).to_numpy()
    left = by_likeness({*cases[~matched], *patients[~matched]})
    for entry in selector.value:
        if likeness(entry) in left:
            _log.warning("%s: the first is to be forgotten, the other is not", forms([entry, *left[likeness(entry)]]))
    return matched


def _match_query(manifest: pd.DataFrame, selector: ForgetWhere) -> NDArray[np.bool_]:
    matched: NDArray[np.bool_] = matching_rows(manifest, selector.value).fillna(False).to_numpy(dtype=bool)
    if not matched.any():
        raise InputError(f"query {selector.value!r} matches no case; {_values(manifest, selector.value)}")
    for column in _named(manifest, selector.value):
        found, left = ({v for v in manifest[column][rows] if isinstance(v, str)} for rows in (matched, ~matched))
        for alike in nearly_equal(found | left):
            if set(alike) - found and set(alike) - left:
                _log.warning(
                    "query %r does not find all of %s in %s, which may mean the same",
                    selector.value,
                    forms(alike),
                    column,
                )
    return matched


def _named(manifest: pd.DataFrame, query: str) -> list[str]:
    """The columns that a query names."""
    return [name for name in map(str, manifest.columns) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", query)]


def _values(manifest: pd.DataFrame, query: str) -> str:
    """The values of the columns that a query names."""
    clauses = []
    for column in _named(manifest, query):
        values = manifest[column].drop_duplicates().tolist()
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        clauses.append(f"{column} has the values {', '.join(map(repr, values[:_SHOWN]))}{more}")
    return "; ".join(clauses) if clauses else f"the columns are {', '.join(map(str, manifest.columns))}"


def _partial_problem(manifest: pd.DataFrame, members: NDArray[np.bool_], matched: NDArray[np.bool_], name: str) -> str:
    def cases(rows: NDArray[np.bool_]) -> str:
        ids = manifest[CASE_ID].to_numpy()[rows].tolist()
        return ", ".join(map(repr, ids[:_SHOWN])) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")

    return (
        f"{name} would be forgotten only in part: {cases(members & matched)} but not {cases(members & ~matched)}; "
        "select all of these cases, or split with --group-by case_id (cases with copies: with --on-duplicates drop)"
    )
