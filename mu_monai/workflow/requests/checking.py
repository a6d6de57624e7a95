"""Whether a ledger, its versions and their splits are as they were left, and what a backup holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.data import Split, read_split
from mu_monai.files import has_sha256
from mu_monai.keys import CASE_ID, FORGET, PATIENT_ID, SHARDS_JSON, STUDENT, TEACHER, TRAINING_SUBSETS
from mu_monai.record import Ledger, Version, is_exact, pseudonym
from mu_monai.runs import RunRecord, is_run, read_record
from mu_monai.runs.shards import has_shards
from mu_monai.workflow.handover.verifying import FAILED, NOT_CHECKED, OK, Check, checked
from mu_monai.workflow.moved import own_split
from mu_monai.workflow.requests.opened import Opened, evidence_file, open_ledger, split_of

_CLEAN = "it is not a version of this ledger, and was trained on nobody who was forgotten"


def verify_requests(
    folder: str | Path,
    *,
    backups: Iterable[str | Path] = (),
    head: str | None = None,
    split: str | Path | None = None,
) -> list[Check]:
    """Check a ledger against everything that it names, and backups against the ledger.

    Args:
        folder: the folder of the ledger.
        backups: run folders or weights files; each fails if it holds somebody who was forgotten. One that was unlearned
            elsewhere, and not exactly, is not checked.
        head: the digest of an entry, as `request status` told it: the ledger must still have that entry.
        split: the split of the first version, if it is no longer where its run found it.

    Returns:
        the checks; what is gone, such as the folder of a version that was destroyed, is not checked.

    Raises:
        InputError: if there is no ledger, or it was edited, cut or forked.
    """
    opened = open_ledger(folder, split)
    ledger = opened.ledger
    checks = [Check("chain", OK, f"{len(ledger.entries)} entries, each following the one before; salt as it was")]
    if head is not None:
        known = f"entry {ledger.digests.index(head) + 1} has this digest" if head in ledger.digests else ""
        missing = f"no entry has the digest {head}: the ledger was cut, forked, or another copy was put back"
        checks.append(Check("head", OK if known else FAILED, known or missing))
    for version in ledger.versions.values():
        name = f"version {version.number}"
        checks += [
            _checked(name, partial(_weights, ledger, version)),
            _checked(f"split of {name}", partial(_split, opened, version)),
            _checked(f"scores of {name}", partial(_evidence, ledger, version)),
        ]
    return [*checks, *(_checked(f"backup '{place}'", partial(_backup, opened, place)) for place in backups)]


def _checked(name: str, found: Callable[[], tuple[str, str]]) -> Check:
    return checked(name, lambda: Check(name, *found()))


def _weights(ledger: Ledger, version: Version) -> tuple[str, str]:
    place = ledger.place(version)
    if not is_run(place):
        return NOT_CHECKED, f"'{place}' is not there"
    digest = weights_sha256(read_weights(place))
    if digest != version.weights:
        return FAILED, f"the weights in '{place}' are others (SHA-256 {digest}, in the ledger {version.weights})"
    held = ledger.held_by(version.weights)
    return OK, f"SHA-256 {digest[:12]}" + (f"; it still holds request {_listed(held)}" if held else "")


def _split(opened: Opened, version: Version) -> tuple[str, str]:
    file = split_of(opened.ledger.folder, version)
    asking = _asking(opened, _trained(read_split(file), version.role))
    back = sorted(opened.ledger.forgotten_by(version.number) & asking)
    if back:
        return FAILED, f"'{file}' retains patients of request {_listed(back)}, whom this version was to forget"
    return OK, "nobody whom this version was to forget is retained"


def _evidence(ledger: Ledger, version: Version) -> tuple[str, str]:
    file = evidence_file(ledger.folder, version.number)
    if version.evidence is None:
        return NOT_CHECKED, "it had none"
    if not file.is_file():
        return FAILED, f"'{file}' is missing, so that what comes back cannot be told"
    return (OK, "unchanged") if has_sha256(file, version.evidence) else (FAILED, f"'{file}' was changed")


def _backup(opened: Opened, place: str | Path) -> tuple[str, str]:
    """Whether weights are a version that holds somebody forgotten, or were trained on somebody forgotten."""
    ledger = opened.ledger
    weights = weights_sha256(read_weights(place))
    version = ledger.version_with(weights)
    if version is not None:
        held = ledger.held_by(version.weights)
        if held:
            return FAILED, f"it is version {version.number}, which holds request {_listed(held)}: destroy it"
        return OK, f"it is version {version.number}, which holds nobody who was forgotten"
    run = Path(place) if Path(place).is_dir() else Path(place).parent
    if not is_run(run):
        return NOT_CHECKED, "it is not a version of this ledger, and not a run, so what it was trained on is not known"
    record = read_record(run)
    if weights != record.sha256.weights:
        return NOT_CHECKED, (
            f"it is not a version of this ledger, and not the model of '{run}', so what it was trained on is not known"
        )
    return _elsewhere(opened, run, record)


def _elsewhere(opened: Opened, run: Path, record: RunRecord) -> tuple[str, str]:
    """Whether a run that is not a version holds somebody forgotten: from its split, and from what it was made from."""
    split = own_split(run, record)
    if split is None:
        return NOT_CHECKED, "it is not a version of this ledger, and its split is not there"
    held = sorted(opened.ledger.answered.keys() & _asking(opened, _trained(split, record.role)))
    if held:
        return (
            FAILED,
            f"it is not a version of this ledger, and was trained on patients of request {_listed(held)}: destroy it",
        )
    if has_shards(run) or SHARDS_JSON in record.files:
        return NOT_CHECKED, (
            "it is not a version of this ledger; its shards were trained on nobody who was forgotten, and what their "
            "base was trained on is not checked"
        )
    if record.method is not None and is_exact(record.method.target):
        return OK, _CLEAN
    return _started(opened, record, split)


def _started(opened: Opened, record: RunRecord, split: Split) -> tuple[str, str]:
    """Whether a model that was trained on nobody forgotten began with weights that were."""
    ledger, weights = opened.ledger, record.sha256.starting_weights or ""
    version, held = ledger.version_with(weights), ledger.held_by(weights)
    student = record.role == STUDENT
    unlearned = ledger.answered.keys() & _asking(opened, split.rows[FORGET] if student else ())
    kept = sorted(set(held) - unlearned)
    if version is not None and kept:
        return FAILED, (
            f"it is not a version of this ledger, and was made from version {version.number}, which holds request "
            f"{_listed(kept)}: destroy it"
        )
    if unlearned:
        source = f"a model that was trained on patients of request {_listed(sorted(unlearned))}"
        if version is not None:
            source = f"version {version.number}" + (f", which holds request {_listed(held)}" if held else "")
        return NOT_CHECKED, (
            f"it is not a version of this ledger: it was unlearned elsewhere, approximately, from {source}, and nobody "
            "audited it for this ledger"
        )
    if student and version is None:
        return NOT_CHECKED, (
            "it is not a version of this ledger; it was trained on nobody who was forgotten, and what the model that "
            "it was made from was trained on is not known"
        )
    return OK, _CLEAN


def _trained(split: Split, role: str) -> list[Mapping[str, Any]]:
    """The cases that a model was trained on and did not forget."""
    subsets = [name for name in TRAINING_SUBSETS if name != FORGET or role == TEACHER]
    return [row for name in subsets for row in split.rows[name]]


def _asking(opened: Opened, rows: Iterable[Mapping[str, Any]]) -> set[int]:
    """The requests of any of some cases; of their patients as well, where patients are forgotten whole."""
    kinds: dict[Literal["patient", "case"], str] = {"case": CASE_ID}
    if opened.base.provenance.group_by == PATIENT_ID:
        kinds["patient"] = PATIENT_ID
    names = {pseudonym(kind, row[column], opened.salt) for row in rows for kind, column in kinds.items()}
    requests = opened.ledger.requests.items()
    return {number for number, request in requests if not names.isdisjoint((*request.cases, *request.patients))}


def _listed(requests: Iterable[int]) -> str:
    return ", ".join(map(str, requests))
