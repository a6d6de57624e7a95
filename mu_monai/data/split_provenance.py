"""How a split came about, as its file tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mu_monai.files import shape_problems
from mu_monai.keys import PATIENT_ID, PROVENANCE

_SHAPES = {
    "sha256": dict,
    "duplicates": dict,
    "group_by": str,
    "selector": dict | None,
    "classes": list | None,
    "counts": dict,
    "salt": str | None,
}
_COPIES = {"dropped": [str], "together": [[str]]}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a split came about; of a file that does not say it, as if it were nothing special.

    Args:
        content: all that the file says, also what other versions wrote and nothing here reads.
        layout: the layout of the source; none where it is not told.
        label_set: which of several label sets was read; none where there is one.
        selector: how the forget cases were chosen, as `describe_selector` gives it; none where nobody was to be.
        group_by: the column whose groups lie in one subset each.
        classes: the names of the classes, of labels or of masks; none where they have none.
        counts: patients and cases of each subset.
        sha256: of every file, by its path as it stands in the split.
        dropped: the case ids of copies that were left out.
        together: the case ids of each set of copies that was kept.
        salt: with which patients and series were given other names; none where they were not.
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
    salt: str | None


def provenance_of(split: Mapping[str, Any]) -> Provenance:
    """The provenance in the content of a split file.

    Args:
        split: the content, of which `provenance_problems` finds nothing to say.

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
        salt=content.get("salt"),
    )


def provenance_problems(provenance: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it must be in what is read of a provenance, as far as it is there.

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
    if isinstance(duplicates, dict):
        wanted = {key: shape for key, shape in _COPIES.items() if key in duplicates}
        yield from shape_problems(duplicates, wanted, "duplicates")
