"""The fields that a record must have, and their kinds: a record that lacks one states less than it seems to."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from mu_monai.keys import RETRAINED, ROLES, STUDENT, SUBSETS
from mu_monai.record.predicate import KEY, NOT_AUDITED, limitations

_MOST = 2**53  # the largest count that JSON readers agree on


class Shape:
    """A kind of value: its name in messages, and a test for it."""

    def __init__(self, name: str, fits: Callable[[Any], bool]) -> None:
        self.name, self.fits = name, fits

    def __or__(self, other: Shape) -> Shape:
        return Shape(f"{self.name} or {other.name}", lambda value: self.fits(value) or other.fits(value))


class Each:
    """A mapping without fixed names, whose values are all of one kind."""

    def __init__(self, shape: Any, names: Callable[[Any], bool] = lambda name: isinstance(name, str)) -> None:
        self.shape, self.names = shape, names


class MayLack:
    """A field that records of earlier versions do not have."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


def _text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_number(value: Any) -> bool:
    return (type(value) is int and abs(value) <= _MOST) or (type(value) is float and math.isfinite(value))


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


NULL = Shape("null", lambda value: value is None)
TEXT = Shape("a nonempty string", lambda value: isinstance(value, str) and bool(value.strip()))
NUMBER = Shape("a finite number", _is_number)
COUNT = Shape("a count", lambda value: type(value) is int and 0 <= value <= _MOST)
FLAG = Shape("true or false", lambda value: isinstance(value, bool))
DIGEST = Shape("64 hexadecimal digits", _text("[0-9a-f]{64}"))
TIME = Shape("a time with a time zone", _is_time)
ANY = Shape("anything", lambda value: True)
_ROLE = "|".join(ROLES)
_PLACE = Shape("a subset", lambda value: value in ("", *SUBSETS))
_UNAUDITED = Shape(f"{NOT_AUDITED!r}", lambda value: isinstance(value, str) and value == NOT_AUDITED)

_RECORD = {
    "model": Shape("a model", _text(_ROLE)),
    "metric": TEXT,
    "subset": _PLACE,
    "value": NUMBER,
    "low": NUMBER | NULL,
    "high": NUMBER | NULL,
    "n_patients": COUNT,
    "reference": Shape("<model>/<subset>", _text(rf"|(?:{_ROLE})(?:/(?:{'|'.join(SUBSETS)}))?")),
    "gap": NUMBER | NULL,
    "gap_low": NUMBER | NULL,
    "gap_high": NUMBER | NULL,
    "ideal": NUMBER | NULL,
    "attack": Shape("a string", lambda value: isinstance(value, str)),
}
_SETTINGS = Each(ANY)
_RUN = {
    "verb": TEXT,
    "command": TEXT,
    "started": TIME,
    "max_epochs": COUNT | NULL,
    "device": TEXT,
    "precision": MayLack(TEXT),
    "processes": MayLack(COUNT | NULL),
    "versions": Each(TEXT),
    "parameters": {"base": COUNT, "trainable": COUNT, "total": COUNT, "share": NUMBER, "coverage": TEXT},
    "checks": [{"name": TEXT, "passed": FLAG, "detail": TEXT}],
    "warnings": [TEXT],
}
_AUDIT = {
    "created": TIME,
    "command": TEXT,
    "versions": Each(TEXT),
    "n_resamples": COUNT,
    "attacks": [{"name": TEXT, "settings": _SETTINGS}],
    "notes": [TEXT],
}
_VERDICT = {
    **{"label": TEXT, "rule": TEXT, "sentence": TEXT, "needed_patients": COUNT | NULL, "but": TEXT},
    "rules": MayLack(COUNT),
}
_SHARED = {
    "format": ANY,
    "created": TIME,
    "bundle": {"name": TEXT, "version": TEXT, "task": TEXT},
    "method": {"name": TEXT, "settings": _SETTINGS, "target": MayLack(TEXT)}
    | dict.fromkeys(("package", "version"), MayLack(TEXT | NULL)),
    "preset": TEXT | NULL,
    "forget_classes": [TEXT],
    "weights": {"student": DIGEST, "teacher": DIGEST},
    "tensors": {"changed": COUNT, "as_before": COUNT},
    "release_search": {"files": Each(DIGEST), "findings": [ANY]},
    "draws": {"n_resamples": COUNT, "seed": COUNT},
    "limitations": [TEXT],
}
_OF_FORMAT: dict[int, dict[str, Any]] = {
    1: {
        "split": {
            "sha256": DIGEST,
            "counts": Each({"patients": COUNT, "cases": COUNT}, lambda name: name in SUBSETS),
            "chosen_by": TEXT | NULL,
            "group_by": TEXT | NULL,
            "seed": COUNT | NULL,
            "phantom": FLAG | NULL,
        },
        "config": {"sha256": DIGEST | NULL},
    },
    2: {
        "split": {"patients": Each(COUNT, lambda name: name in SUBSETS), "phantom": FLAG | NULL},
        "commitments": Each(DIGEST),
    },
}


def record_problems(said: Mapping[str, Any]) -> list[str]:
    """What a record of its format lacks, and where it contradicts itself.

    Args:
        said: the predicate.

    Example:
        >>> record_problems({"format": 2})[:2]
        ["'created' is missing", "'bundle' is missing"]
    """
    shape = list(_shape_problems(said, _shape_of(said), ""))
    return shape or [*_twice(said), *_inconsistent(said), *_unlimited(said)]


def _shape_of(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of a record, which depends on its format, on its runs, and on whether it was audited."""
    first, runs = predicate["format"] == 1, predicate.get("runs")
    record = _RECORD | ({"n_cases": COUNT} if first else {})
    seed = {"seed": COUNT | NULL} if first else {}
    run = _RUN | seed | ({"seconds": NUMBER} if first else {})
    roles = [role for role in ROLES if role == STUDENT or (isinstance(runs, Mapping) and role in runs)]
    weights = {role: {"weights": DIGEST} if first or role != RETRAINED else {} for role in roles}
    unbounded = record | {
        "value": NUMBER | NULL
    }  # steps that an attack never took are infinite, a ratio of none is none
    audited = isinstance(predicate.get("audit"), Mapping) or isinstance(predicate.get("verdict"), Mapping)
    return {
        **_SHARED,
        **_OF_FORMAT[predicate["format"]],
        "runs": {role: run | weights[role] for role in roles},
        "records": {"utility": [record], "membership": [record]},
        "audit": _AUDIT | seed | {"records": [unbounded]} if audited else _UNAUDITED,
        "verdict": _VERDICT | {"evidence": [record]} if audited else _UNAUDITED,
    }


def _shape_problems(value: Any, shape: Any, field: str) -> Iterator[str]:
    if isinstance(shape, MayLack):
        yield from _shape_problems(value, shape.shape, field)
    elif isinstance(shape, Shape):
        if not shape.fits(value):
            yield f"'{field}' is not {shape.name}"
    elif isinstance(shape, list):
        yield from _list_problems(value, shape[0], field)
    else:
        yield from _mapping_problems(value, shape, field)


def _list_problems(value: Any, shape: Any, field: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"'{field}' is not a list"
        return
    for index, entry in enumerate(value):
        yield from _shape_problems(entry, shape, f"{field}.{index}")


def _mapping_problems(value: Any, shape: Mapping[str, Any] | Each, field: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"'{field or 'the record'}' is not a mapping"
        return
    inside = f"{field}." if field else ""
    if isinstance(shape, Each):
        yield from (f"'{inside}{name}' is not known" for name in value if not shape.names(name))
        fields: dict[str, Any] = dict.fromkeys(value, shape.shape)
    else:
        needed = [name for name in shape if not isinstance(shape[name], MayLack)]
        yield from (f"'{inside}{name}' is missing" for name in needed if name not in value)
        yield from (f"'{inside}{name}' is not known" for name in value if name not in shape)
        fields = {name: shape[name] for name in shape if name in value}
    for name, inner in fields.items():
        yield from _shape_problems(value[name], inner, f"{inside}{name}")


def _twice(predicate: Mapping[str, Any]) -> Iterator[str]:
    """Numbers that are listed twice: one of them could be wrong."""
    audit = predicate["audit"]
    lists = {**predicate["records"], "audit": audit["records"] if isinstance(audit, Mapping) else []}
    for kind, records in lists.items():
        counted = Counter(tuple(record[key] for key in KEY) for record in records)
        names = [" ".join(filter(None, key)) for key, number in counted.items() if number > 1]
        if names:
            yield f"{len(names)} numbers of {kind} are listed twice, such as {names[0]}"


def _inconsistent(predicate: Mapping[str, Any]) -> Iterator[str]:
    if (predicate["audit"] == NOT_AUDITED) != (predicate["verdict"] == NOT_AUDITED):
        yield f"'audit' and 'verdict' disagree: only one of them is {NOT_AUDITED!r}"
    if predicate["format"] == 1:
        return
    if not predicate["records"]["utility"]:
        yield "'records.utility' is empty"
    needed = {"split", *(f"{role}.{what}" for role in predicate["runs"] for what in ("config", "seed"))}
    needed |= {"retrained.weights"} if "retrained" in predicate["runs"] else set()
    needed |= {"audit.seed"} if predicate["audit"] != NOT_AUDITED else set()
    if set(predicate["commitments"]) != needed:
        yield f"'commitments' holds {', '.join(sorted(predicate['commitments']))}, not {', '.join(sorted(needed))}"


def _unlimited(predicate: Mapping[str, Any]) -> Iterator[str]:
    missing = [sentence for sentence in limitations(predicate) if sentence not in predicate["limitations"]]
    if missing:
        yield f"'limitations' lacks {len(missing)} that follow from the record, such as: {missing[0]}"
