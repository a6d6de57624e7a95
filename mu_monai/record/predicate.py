"""What a record says: what was run, on what, what was measured, and where that ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mu_monai.keys import FORGET, RETRAINED, STUDENT
from mu_monai.record.statement import FORMAT

_ALWAYS = (
    "Unlearning is approximate: this record states what was run and what was measured. It does not state that nothing "
    "of the forgotten cases is left in the weights.",
    "The measurements are those that are listed. An attack that was not tried may find more.",
    "Copies of the original model, of its adapters or of the data elsewhere are outside of this record.",
    "The numbers are of this split. On other data the model may behave otherwise.",
)
_AUDIT = ("created", "command", "versions", "seed", "n_resamples", "records", "attacks", "notes")


def predicate(
    runs: Mapping[str, Mapping[str, Any]],
    release: Mapping[str, Any],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    draws: Mapping[str, int],
    audit: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The predicate of a record.

    Args:
        runs: `run.json` by role, the student's among them.
        release: `release.json` of the released folder.
        records: audit records that were computed from the evidence, as mappings, by kind.
        draws: `n_resamples` and `seed` that they were computed with.
        audit: `audit.json` of the student's run; none where it was not audited.

    Example:
        >>> said = predicate({"student": {}}, {}, {"utility": [{"ideal": math.nan}]}, {"seed": 0}, None)
        >>> said["records"], said["audit"], said["verdict"]
        ({'utility': [{'ideal': None}]}, 'not audited', 'not audited')
    """
    run = runs[STUDENT]
    content = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": {key: (run.get("bundle") or {}).get(key) for key in ("name", "version", "task")},
        "method": run.get("method"),
        "preset": run.get("preset"),
        "forget_classes": run.get("forget_classes") or [],
        "split": _split(run),
        "config": {"sha256": (run.get("sha256") or {}).get("config")},
        "weights": dict(release.get("weights") or {}),
        "tensors": {key: len(names) for key, names in (release.get("tensors") or {}).items()},
        "release_search": release.get("search"),
        "runs": {role: _run(found) for role, found in runs.items()},
        "draws": dict(draws),
        "records": records,
        "audit": "not audited" if audit is None else {key: audit[key] for key in _AUDIT if key in audit},
        "verdict": "not audited" if audit is None else audit.get("verdict"),
        "limitations": list(limitations(runs, release, audit)),
    }
    found: dict[str, Any] = without_nan(content)
    return found


def limitations(
    runs: Mapping[str, Mapping[str, Any]], release: Mapping[str, Any], audit: Mapping[str, Any] | None
) -> Iterator[str]:
    """Where what was measured ends, in sentences.

    Args:
        runs: as `predicate` takes them.
        release: as `predicate` takes it.
        audit: as `predicate` takes it.

    Example:
        >>> len(list(limitations({"student": {}}, {}, {}))), len(list(limitations({"student": {}}, {}, None)))
        (6, 6)
    """
    yield from _ALWAYS
    if audit is None:
        yield (
            "No audit was run: what is said of membership rests on scores alone, no attack was tried, and there is no "
            "verdict."
        )
    elif not any(record.get("attack") for record in audit.get("records") or []):
        yield "No attack on the weights was tried."
    if RETRAINED not in runs:
        yield "There was no model retrained without the forgotten cases to compare with; the reference is unseen cases."
    before, changed = ((release.get("tensors") or {}).get(key, []) for key in ("as_before", "changed"))
    if before:
        yield (
            f"{len(before)} of the {len(before) + len(changed)} tensors of the model are as they were in the original: "
            "unlearning did not touch them."
        )
    split = _split(runs[STUDENT])
    patients = (split["counts"].get(FORGET) or {}).get("patients")
    if patients:
        yield f"{patients} forgotten patient{'s' * (patients > 1)}: the fewer, the wider the intervals."
    if split["phantom"]:
        yield "The data are drawn phantoms and no patients: the record shows the procedure only."


def without_nan(content: Any) -> Any:
    """JSON has no NaN: it is null.

    Example:
        >>> without_nan({"gap": [math.nan, 0.5]})
        {'gap': [None, 0.5]}
    """
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("verb", "command", "started", "seed", "max_epochs", "seconds", "device", "versions", "parameters", "checks")
    return {key: run[key] for key in (*keys, "warnings") if key in run} | {
        "weights": (run.get("sha256") or {}).get("weights")
    }


def _split(run: Mapping[str, Any]) -> dict[str, Any]:
    """The split's digest and what tells nobody's name: of who is forgotten only how many, and how they were chosen."""
    provenance = (run.get("split") or {}).get("provenance") or {}
    return {
        "sha256": (run.get("sha256") or {}).get("split"),
        "counts": provenance.get("counts") or {},
        "chosen_by": (provenance.get("selector") or {}).get("kind"),
        "group_by": provenance.get("group_by"),
        "seed": provenance.get("seed"),
        "phantom": provenance.get("phantom"),
    }
