"""Derives the verdict and gaps of an audit from its numbers by the public rules, and compares them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from mu_monai.audit import Record, verdict
from mu_monai.audit.verdicts import SHALLOW_SINCE
from mu_monai.keys import STUDENT, TEST
from mu_monai.record import KEY, without_nan
from mu_monai.runs.numbers import AUC, AUC_OF_LOSS, F1, LOGISTIC, Group, Metric, State
from mu_monai.runs.scores import UTILITY

_TOLERANCE = 1e-9
_SCORES = 1e-6  # tolerance between the audit's numbers and those from the evidence, read back by pandas
ByKind = Mapping[str, Sequence[Mapping[str, Any]]]
_PLAIN = (AUC, F1, *UTILITY)  # quantities whose gap is a plain difference
_DRAWN = (LOGISTIC,)  # depends on the order of patients
_DECIDED = ("label", "needed_patients", "evidence")
_WORDED = ("rule", "sentence", "but")


def verdict_problems(
    said: Mapping[str, Any], records: Sequence[Mapping[str, Any]], *, words: bool = True
) -> Iterator[str]:
    """Where a verdict does not follow from its records by the public rules of its version.

    Args:
        said: the verdict in `audit.json` or in a record; without `rules` it is by those of version 1.
        records: the audit's records.
        words: whether its sentences must also match; other versions may word them differently.

    Raises:
        InputError: if the records lack the numbers that a verdict is based on, or its rules are not known.
        TypeError, ValueError, KeyError: if they are not audit records.
    """
    known, rules = [_record(entry) for entry in records], rules_of(said)
    if rules < SHALLOW_SINCE and any(State.parse(record.attack).rate is not None for record in known):
        yield (
            f"the verdict is by rules {rules}, and attacks that name their learning rate came with rules "
            f"{SHALLOW_SINCE}"
        )
    expected = without_nan(asdict(verdict(known, n_unseen=_unseen(known), rules=rules)))
    for key in (*_DECIDED, *(_WORDED if words else ())):
        derived, stated = expected[key], said.get(key)
        if key == "evidence":
            derived, stated = ([_bare(entry) for entry in entries] for entries in (derived, stated or []))
        if not same(stated, derived):
            shown = "" if key == "evidence" else f" is {stated!r}, and the numbers give {derived!r}"
            yield f"the verdict's {key}{shown or ' does not follow from the numbers'}"


def rules_of(said: Mapping[str, Any]) -> int:
    """The version of the rules that a verdict is by; verdicts of earlier versions do not name it.

    Example:
        >>> rules_of({"label": "MATCHED"}), rules_of({"label": "MATCHED", "rules": 2})
        (1, 2)
    """
    return int(said.get("rules", 1))


def gap_problems(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where a gap is not the difference to its stated reference.

    Args:
        records: the audit's records, or a record's.
    """
    values = {tuple(entry[key] for key in KEY): entry["value"] for entry in records}
    for entry in records:
        reference = Group.parse(entry["reference"])
        other = values.get((reference.model, entry["metric"], reference.subset, ""))
        if entry["attack"] or other is None or Metric.parse(entry["metric"]).quantity not in _PLAIN:
            continue
        if not same(entry["gap"], entry["value"] - other, _SCORES):
            yield f"the gap of {named(_key(entry))} is {entry['gap']}, and the numbers give {entry['value'] - other}"


def scored_problems(
    audited: Sequence[Mapping[str, Any]], computed: ByKind, bounds: tuple[ByKind, ByKind] | None = None
) -> Iterator[str]:
    """Where the audit's numbers differ from those of the score table, for every number that both give.

    Args:
        audited: the audit's records, of any model.
        computed: the records computed from the score table, by kind.
        bounds: the same with the widest and the narrowest intervals that other draws could give; None if these are the
            audit's own draws, so that its intervals must be exactly these.
    """
    ours, theirs = _by_key(computed), _by_key({"audit": audited})
    widest, narrowest = (ours, ours) if bounds is None else map(_by_key, bounds)
    for key in ours:
        if key[1] == AUC_OF_LOSS and key not in theirs:  # without the teacher's, a verdict is another one
            yield f"{named(key)} is not in the audit, and the scores give it"
    for key in (key for key in theirs if key in ours):
        problems = _entry_problems(theirs[key], ours[key], widest[key], narrowest[key])
        yield from (f"{named(key)}{problem}" for problem in problems)


def _entry_problems(
    entry: Mapping[str, Any], own: Mapping[str, Any], wide: Mapping[str, Any], narrow: Mapping[str, Any]
) -> Iterator[str]:
    """Where one of the audit's records differs from that of the score table."""
    for field in ("n_patients", "reference"):
        if entry.get(field) != own[field]:
            yield f" ({field}) is {entry.get(field)!r} in the audit, and the scores give {own[field]!r}"
    if Metric.parse(entry["metric"]).of in _DRAWN:
        return
    fields = ("value", *(("gap",) if entry.get("reference") == own["reference"] else ()))
    for field in fields:
        if not same(entry.get(field), own[field], _SCORES):
            text = "" if field == "value" else f" ({field})"
            yield f"{text} is {entry.get(field)} in the audit, and the scores give {own[field]}"
    prefixes = ("", *(("gap_",) if "gap" in fields else ()))
    for field in (f"{prefix}{end}" for prefix in prefixes for end in ("low", "high")):
        if not _between(entry.get(field), wide[field], narrow[field]):
            between = own[field] if wide is narrow else f"a value between {wide[field]} and {narrow[field]}"
            yield f" ({field}) is {entry.get(field)} in the audit, and the scores give {between}"


def _between(value: Any, one: float | None, other: float | None) -> bool:
    """Whether a number lies between two, or all are missing."""
    if value is None or one is None or other is None:
        return value is one is other
    return same(value, min(max(value, min(one, other)), max(one, other)), _SCORES)


def _by_key(records: ByKind) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    return {_key(entry): entry for entries in records.values() for entry in entries}


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in KEY)


def named(key: tuple[Any, ...]) -> str:
    """What a number is of, in words."""
    model, metric, subset, _ = key
    return f"{metric} of the {model} on {subset}"


def same(one: Any, other: Any, tolerance: float = _TOLERANCE) -> bool:
    """Whether two parts of a record are equal, numbers within a tolerance, and of the same type.

    Example:
        >>> same({"a": [1.0, None]}, {"a": [1.0 + 1e-12, None]}), same(1, True), same(10**400, 1.0)
        (True, False, False)
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key], tolerance) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (
            max(abs(one), abs(other)) < 2**1000 and math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        )
    return bool(one == other)


def _record(entry: Mapping[str, Any]) -> Record:
    """An audit record as it was before JSON, which has no NaN; a signed record lacks only the number of cases."""
    numbers = {field.name for field in fields(Record) if field.type == "float"}
    nans = {key: math.nan for key, value in entry.items() if value is None and key in numbers}
    content: dict[str, Any] = {"n_cases": 0, **entry, **nans}
    return Record(**content)


def _bare(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "n_cases"}


def _unseen(records: Sequence[Record]) -> int:
    """The number of unseen patients that the student was tested on."""
    counts = [r.n_patients for r in records if (r.model, r.metric, r.subset, r.attack) == (STUDENT, "loss", TEST, "")]
    return max(counts, default=0)
