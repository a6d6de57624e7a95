"""What a record states: what was run, on what, what was measured, and what that does not show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mu_monai.keys import FORGET, RETRAINED, STUDENT
from mu_monai.record.evidence import commitment
from mu_monai.record.statement import FORMAT

NOT_AUDITED = "not audited"
KEY = ("model", "metric", "subset", "attack")  # what tells a number of a record from every other
APPROXIMATE = (
    "Unlearning is approximate: what was run and what was measured is stated. It is not stated that nothing of the "
    "forgotten cases is left in the weights."
)
_EXACT = {  # by the full name of the method, which a plugin cannot share
    "mu_monai.methods.shard_refit.ShardRefit": (
        "Unlearning is exact for the adapters of the shards: those that held forgotten cases were trained again "
        "without them, and the others never saw them. It says nothing of what the base was trained on, which the "
        "warnings of the run do."
    ),
    "mu_monai.methods.rollback.Rollback": (
        "The weights are of a model that was trained while the forgotten cases were held out. That is exact for the "
        "weights, and not for what was decided by looking at the cases that were held out, such as settings."
    ),
    "mu_monai.methods.retraining.Retraining": (
        "The weights are of a model that was trained anew on the retained cases alone. That is exact for the weights, "
        "and not for what was decided by looking at the forgotten cases before, such as settings."
    ),
}
_ALWAYS = (
    "The measurements are those that are listed. An attack that was not tried may find more.",
    "Copies of the original model, of its adapters or of the data elsewhere are outside of this record.",
    "The numbers are of this split. On other data the model may behave otherwise.",
)
_TOLD = (
    "Whoever has images of a patient and the released model can compute the scores of that patient: the numbers on the "
    "forgotten here, and more so the rows of the evidence, can then be compared with guesses. Who also has the "
    "original model and the training data can repeat the unlearning for a guess and compare the weights."
)
# runs of earlier versions have only the name and the settings
_METHOD = ("name", "target", "package", "version", "settings")
_AUDIT = ("created", "command", "versions", "n_resamples", "records", "attacks", "notes")
_RUN = (
    *("verb", "command", "started", "max_epochs", "device", "precision", "processes", "versions", "parameters"),
    *("checks", "warnings"),
)


def predicate(
    runs: Mapping[str, Mapping[str, Any]],
    release: Mapping[str, Any],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    draws: Mapping[str, int],
    audit: Mapping[str, Any] | None,
    *,
    salt: bytes,
) -> dict[str, Any]:
    """The predicate of a record without its limitations, which `limitations` derives from it.

    Anyone who guesses the forgotten patients could make their split, or the config with its paths, and compare plain
    digests. A seed often is also that of the selection, and a number of cases can identify a single patient. So the
    record has commitments instead of these digests and seeds, and counts only patients.

    Args:
        runs: `run.json` by role, the student's among them.
        release: `release.json` of the released folder.
        records: by kind, the audit records that were computed from the evidence, as mappings.
        draws: the `n_resamples` and `seed` that they were computed with.
        audit: `audit.json` of the student's run; None if it was not audited.
        salt: the salt of the commitments, which auditors get.

    Example:
        >>> record = predicate({"student": {}}, {}, {"utility": [{"ideal": math.nan}]}, {"seed": 0}, None, salt=b"salt")
        >>> record["records"], record["audit"], record["verdict"]
        ({'utility': [{'ideal': None}]}, 'not audited', 'not audited')
    """
    run = runs[STUDENT]
    content = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": {key: (run.get("bundle") or {}).get(key) for key in ("name", "version", "task")},
        "method": _method(run),
        "preset": run.get("preset"),
        "forget_classes": run.get("forget_classes") or [],
        "split": _split(run),
        "commitments": dict(sorted(_commitments(runs, audit, salt))),
        "weights": dict(release.get("weights") or {}),
        "tensors": {key: len(names) for key, names in (release.get("tensors") or {}).items()},
        "release_search": release.get("search"),
        "runs": {role: _run(role, record) for role, record in runs.items()},
        "draws": dict(draws),
        "records": {kind: without_cases(entries) for kind, entries in records.items()},
        "audit": NOT_AUDITED if audit is None else without_cases({key: audit[key] for key in _AUDIT if key in audit}),
        "verdict": NOT_AUDITED if audit is None else without_cases(audit.get("verdict")),
    }
    finite: dict[str, Any] = without_nan(content)
    return finite


def limitations(said: Mapping[str, Any]) -> Iterator[str]:
    """What the measurements do not show, in sentences that follow from the record itself.

    Args:
        said: the predicate of a record.

    Example:
        >>> said = {"format": 2, "audit": "not audited", "runs": {}, "tensors": {}, "split": {}}
        >>> len(list(limitations(said))), len(list(limitations({**said, "audit": {}, "runs": {"retrained": {}}})))
        (7, 6)
    """
    yield in_what_sense(said.get("method"))
    yield from _ALWAYS
    if said["format"] > 1:
        yield _TOLD
    audit = said["audit"]
    if audit == NOT_AUDITED:
        yield (
            "No audit was run: what is said of membership rests on scores alone, no attack was tried, and there is no "
            "verdict."
        )
    elif not any(record.get("attack") for record in audit.get("records") or []):
        yield "No attack on the weights was tried."
    if RETRAINED not in said["runs"]:
        yield "There was no model retrained without the forgotten cases to compare with; the reference is unseen cases."
    before, changed = (said["tensors"].get(key, 0) for key in ("as_before", "changed"))
    if before:
        yield (
            f"{before} of the {before + changed} tensors of the model are as they were in the original: "
            "unlearning did not touch them."
        )
    patients = _forgotten(said["split"])
    if patients:
        yield f"{patients} forgotten patient{'s' * (patients > 1)}: the fewer, the wider the intervals."
    if said["split"].get("phantom"):
        yield "The data are drawn phantoms and no patients: the record shows the procedure only."


def in_what_sense(method: Mapping[str, Any] | None) -> str:
    """Whether a method forgets exactly, and what that does not cover.

    Args:
        method: its `name` and `target`, as in `run.json`.

    Example:
        >>> in_what_sense({"name": "NPO", "target": "mu_monai.methods.npo.NPO"})[:27]
        'Unlearning is approximate: '
    """
    return _EXACT.get(str((method or {}).get("target")), APPROXIMATE)


def is_exact(target: str) -> bool:
    """Whether a method takes weights that never saw the forgotten, apart from the base of shards.

    Args:
        target: the full name of its class, as in `run.json`; empty if it is not known.

    Example:
        >>> is_exact("mu_monai.methods.rollback.Rollback"), is_exact("mu_monai.methods.npo.NPO"), is_exact("")
        (True, False, False)
    """
    return target in _EXACT


def _forgotten(split: Mapping[str, Any]) -> int:
    """How many patients were forgotten; a record of format 1 counts cases as well."""
    counts = split["patients"].get(FORGET) if "patients" in split else (split.get("counts") or {}).get(FORGET)
    patients = counts.get("patients") if isinstance(counts, Mapping) else counts
    return patients if isinstance(patients, int) else 0


def without_cases(content: Any) -> Any:
    """Audit records without their numbers of cases.

    Example:
        >>> without_cases({"records": [{"metric": "dice", "n_patients": 1, "n_cases": 5}]})
        {'records': [{'metric': 'dice', 'n_patients': 1}]}
    """
    if isinstance(content, Mapping):
        return {key: without_cases(value) for key, value in content.items() if key != "n_cases"}
    return [without_cases(value) for value in content] if isinstance(content, list | tuple) else content


def without_nan(content: Any) -> Any:
    """Content with None instead of NaN and infinity, which JSON does not have.

    Example:
        >>> without_nan({"gap": [math.nan, 0.5]})
        {'gap': [None, 0.5]}
    """
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _method(run: Mapping[str, Any]) -> dict[str, Any] | None:
    method = run.get("method")
    return None if method is None else {key: method[key] for key in _METHOD if key in method}


def _run(role: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """What a record states about a run; not the weights of a retrained model, which depend on who was left out."""
    fields = {key: run[key] for key in _RUN if run.get(key, "") != ""}  # earlier runs know no precision
    return fields if role == RETRAINED else fields | {"weights": (run.get("sha256") or {}).get("weights")}


def _commitments(
    runs: Mapping[str, Mapping[str, Any]], audit: Mapping[str, Any] | None, salt: bytes
) -> Iterator[tuple[str, str]]:
    """By name, commitments to the values that somebody could make again for a guess and compare."""
    digests = {role: run.get("sha256") or {} for role, run in runs.items()}
    values = {"split": digests[STUDENT].get("split"), "audit.seed": None if audit is None else audit.get("seed")}
    for role, run in runs.items():
        values |= {f"{role}.config": digests[role].get("config"), f"{role}.seed": run.get("seed")}
    values["retrained.weights"] = digests.get(RETRAINED, {}).get("weights")
    yield from ((name, commitment(name, value, salt)) for name, value in values.items() if value is not None)


def _split(run: Mapping[str, Any]) -> dict[str, Any]:
    """How many patients each subset has, but not how they were chosen: the choice could then be repeated."""
    provenance = (run.get("split") or {}).get("provenance") or {}
    counts = provenance.get("counts") or {}
    patients = {subset: numbers.get("patients") for subset, numbers in counts.items()}
    return {"patients": patients, "phantom": provenance.get("phantom")}
