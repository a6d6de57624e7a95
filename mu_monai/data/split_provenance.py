"""How a split was made, as its file records it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mu_monai.data.reading import READING, Reading, reading_of, reading_problems
from mu_monai.files import shape_problems
from mu_monai.keys import PATIENT_ID, PROVENANCE

INPUTS = "inputs"  # the columns of further input files
KEPT_FOR = "kept_for"
_SHAPES = {
    "sha256": dict,
    "duplicates": dict,
    "group_by": str,
    "selector": dict | None,
    "classes": list | None,
    "counts": dict,
    "salt": str | None,
    INPUTS: [str],
    KEPT_FOR: dict,
    READING: dict,
}
_COPIES = {"dropped": [str], "together": [[str]]}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a split was made; entries that the file lacks have their defaults.

    Args:
        content: everything that the file records, including entries of other versions that nothing here reads.
        layout: the layout of the source; None if it is not recorded.
        label_set: which of several label sets was read; None if there is only one.
        selector: how the forget cases were chosen, as `describe_selector` returns it; None if none were chosen.
        group_by: the column whose groups are in one subset each.
        classes: the names of the classes, of labels or of masks; None if they have no names.
        counts: patients and cases of each subset.
        sha256: SHA-256 of every file, by its path in the split.
        dropped: the case ids of copies that were left out.
        together: the case ids of each set of copies that was kept.
        kept_for: of each case that was kept in place of dropped copies, their case and patient ids beside its own.
        salt: the salt of the pseudonyms of patients and series; None if there are no pseudonyms.
        reading: how its files are read; as usual if the file says nothing.
    """

    content: Mapping[str, Any]
    layout: str | None
    label_set: str | None
    selector: Mapping[str, Any] | None
    group_by: str
    classes: Sequence[str] | None
    counts: Mapping[str, Mapping[str, int]]
    sha256: Mapping[str, str]
    dropped: Sequence[str]
    together: Sequence[Sequence[str]]
    kept_for: Mapping[str, Sequence[str]]
    salt: str | None
    reading: Reading = field(default_factory=Reading)


def provenance_of(split: Mapping[str, Any]) -> Provenance:
    """The provenance in the content of a split file.

    Args:
        split: the content, in which `provenance_problems` finds nothing wrong.

    Example:
        >>> provenance_of({"provenance": {"seed": 3}}).group_by
        'patient_id'
    """
    content = split[PROVENANCE]
    copies = content.get("duplicates", {})
    return Provenance(
        content=content,
        layout=content.get("layout"),
        label_set=content.get("label_set"),
        selector=content.get("selector"),
        group_by=content.get("group_by", PATIENT_ID),
        classes=content.get("classes"),
        counts=content.get("counts", {}),
        sha256=content.get("sha256", {}),
        dropped=copies.get("dropped", []),
        together=copies.get("together", []),
        kept_for=content.get(KEPT_FOR, {}),
        salt=content.get("salt"),
        reading=reading_of(content.get(READING, {})),
    )


def provenance_problems(provenance: Mapping[str, Any]) -> Iterator[str]:
    """Which entries of a provenance have the wrong type; missing ones are allowed.

    Example:
        >>> list(provenance_problems({"group_by": 3}))
        ['group_by holds a whole number (3) instead of text']
    """
    yield from shape_problems(provenance, {key: kind for key, kind in _SHAPES.items() if key in provenance})
    digests, duplicates = provenance.get("sha256", {}), provenance.get("duplicates", {})
    if isinstance(digests, dict):
        yield from shape_problems(list(digests.values()), [str], "sha256")
    if isinstance(provenance.get("classes"), list):
        yield from shape_problems(provenance["classes"], [str], "classes")
    if isinstance(provenance.get(KEPT_FOR), dict):
        yield from shape_problems(list(provenance[KEPT_FOR].values()), [[str]], KEPT_FOR)
    if isinstance(provenance.get(READING), dict):
        yield from reading_problems(provenance[READING])
    if isinstance(duplicates, dict):
        shapes = {key: shape for key, shape in _COPIES.items() if key in duplicates}
        yield from shape_problems(duplicates, shapes, "duplicates")
