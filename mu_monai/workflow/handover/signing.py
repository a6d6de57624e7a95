"""A signed record of a released folder, with numbers that can be computed again from its evidence."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.attacks import ATTACKS
from mu_monai.audit import membership_records, utility_records
from mu_monai.audit.verdicts import RULES
from mu_monai.bundle import shipped_bundles
from mu_monai.data import read_split
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import has_sha256, read_json, write_json
from mu_monai.keys import AUDIT_JSON, CASE_ID, FORGET, PATIENT_ID, STUDENT, SUBSET, SUBSETS, TEST
from mu_monai.methods.registry import registered
from mu_monai.record import (
    EVIDENCE,
    RECORD_JSON,
    Identifiers,
    hash_ids,
    id_problems,
    limitations,
    new_salt,
    predicate,
    private_key,
    read_evidence,
    record_problems,
    sign,
    signable,
    statement,
    without_nan,
    write_evidence,
    write_salt,
)
from mu_monai.runs import Run, Runs, is_run
from mu_monai.runs.origin import target_of
from mu_monai.runs.record import GONE
from mu_monai.workflow.handover.agreement import evidence_problems, member_problems
from mu_monai.workflow.handover.derived import gap_problems, rules_of, scored_problems, verdict_problems
from mu_monai.workflow.handover.names import Names, name_problems
from mu_monai.workflow.handover.releasing import RELEASE_JSON
from mu_monai.workflow.handover.sealed import released_bundle, released_weights

logger = logging.getLogger(__name__)
_RELEASE = {"search": {"files": dict}}

DRAWS = {"n_resamples": 2000, "seed": 0}
_PARTS = ("all", "decoder", "head")


def seal(runs: Runs, folder: str | Path, *, key: str | Path) -> Path:
    """Write the evidence and a signed record into a released folder, and their salt next to the folder.

    If this is killed at any time, there is either no record or a complete one, and signing again works.

    Args:
        runs: the student's run and, if there are any, the runs of its teacher and of the retrained model.
        folder: what `release` wrote for the student's run.
        key: the private key to sign with, a PEM file.

    Returns:
        the path of the record; `salt_path` gives that of the salt.

    Raises:
        InputError: if the folder is not a release of this student or holds more than was released, already has a
            record or a salt, the scores are of other cases than the split, the audit is of other weights or does not
            follow from its numbers and the scores, a text names a patient, or the key cannot be used. Nothing is
            written then.
    """
    folder, run = Path(folder), runs.main
    signer = private_key(key)
    raise_if_any(_problems(folder, run))
    salt = new_salt()
    ids = Identifiers(runs.scores, salt)
    with _staging(folder) as staged:
        evidence, record = staged / "scores.csv", staged / RECORD_JSON
        write_evidence(hash_ids(runs.scores, salt), evidence)
        scores = read_evidence(evidence)
        raise_if_any(_other_people(run, scores, salt))
        content = _content(runs, folder, scores, ids, salt)
        raise_if_any([*id_problems(content, ids), *_name_problems(folder, runs.scores)])
        raise_if_any(f"the record cannot be signed: {problem}" for problem in evidence_problems(scores, content))
        raise_if_any(f"the record cannot be signed: {problem}" for problem in record_problems(content))
        write_json(record, sign(statement(folder, content, added={EVIDENCE: evidence}), signer))
        salt_file = staged / "salt.txt"
        write_salt(salt_file, salt)
        (folder / EVIDENCE).parent.mkdir(exist_ok=True)
        # in this order, so that evidence without a record marks a signing that was killed, whose salt nobody has
        os.replace(evidence, folder / EVIDENCE)
        os.replace(salt_file, salt_path(folder))
        os.replace(record, folder / RECORD_JSON)
    return folder / RECORD_JSON


def salt_path(folder: str | Path) -> Path:
    """The salt's path: next to the released folder, because not everyone who gets the folder may have the salt.

    Example:
        >>> salt_path("/shared/released").as_posix()
        '/shared/released.salt.txt'
    """
    place = Path(folder).resolve()
    return place.with_name(f"{place.name}.salt.txt")


def signed(folder: str | Path) -> list[str]:
    """The lines to print after a record was signed: who may get what.

    Args:
        folder: the released folder.
    """
    return [
        f"salt, for auditors only: {salt_path(folder)}",
        f"give '{released_bundle(Path(folder)).name}/' to anybody, the record to those who may know how many patients "
        "were forgotten and what was measured, and 'evidence/' and the salt to auditors only",
    ]


def _content(runs: Runs, folder: Path, evidence: pd.DataFrame, ids: Identifiers, salt: bytes) -> dict[str, Any]:
    """What to sign; refused if the audit does not follow from its own numbers and from these scores."""
    computed, audit = computed_records(evidence, runs.forget_classes, DRAWS), runs.audit or None
    raise_if_any(_audit_problems(runs, audit) if audit else [])
    record = predicate(
        {role: run.record.to_json() for role, run in runs.by_role.items()},
        read_json(folder / RELEASE_JSON, _RELEASE),
        computed,
        DRAWS,
        audit,
        salt=salt,
    )
    content: dict[str, Any] = signable(record, ids, _known())
    return content | {"limitations": list(limitations(content))}


def _audit_problems(runs: Runs, audit: Mapping[str, Any]) -> list[str]:
    """Where an audit does not follow from its own numbers, or these not from the scores by the audit's own draws."""
    run = runs.main
    try:
        records = audit["records"]
        problems = [*_old_rules(audit["verdict"]), *verdict_problems(audit["verdict"], records)]
        problems += gap_problems(records)
        draws = {name: audit[name] for name in DRAWS}
        problems += scored_problems(records, without_nan(computed_records(runs.scores, runs.forget_classes, draws)))
    except InputError as error:
        problems = error.problems
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problems = [f"its content is not that of an audit ({type(error).__name__}: {error})"]
    again = f"give all runs that it compared, or audit it again: mu-monai audit {run.folder}"
    return [f"'{run.folder / AUDIT_JSON}' cannot be signed: {problem}; {again}" for problem in problems]


def _other_people(run: Run, scores: pd.DataFrame, salt: bytes) -> Iterator[str]:
    """Where the scores are of other cases than those of the run's split."""
    if not has_sha256(run.split, run.record.sha256.split):
        logger.warning(
            "the split '%s' is gone or another one, so whether the scores are of its cases was not compared; 'mu-monai "
            "verify --split --salt' compares it",
            run.split,
        )
        return
    for problem in member_problems(scores, read_split(run.split), salt):
        yield f"{problem}; score the runs again: mu-monai evaluate {run.folder}"


def _old_rules(said: Mapping[str, Any]) -> Iterator[str]:
    if rules_of(said) < RULES:
        yield "its verdict is by the rules of an earlier version, by which less was told"


def _known() -> frozenset[str]:
    """The program's own names, which cannot name a patient."""
    bundles = shipped_bundles()
    presets = {path.stem for root in bundles.values() for path in (root / "configs").glob("*.json")}
    kinds = registered()
    methods = {*kinds, *(name for kind in kinds.values() for name in (kind.__name__, target_of(kind)))}
    return frozenset({*bundles, *presets, *methods, *ATTACKS, *SUBSETS, *_PARTS})


def _name_problems(folder: Path, scores: pd.DataFrame) -> list[str]:
    """The files of a release that hold an id; those of earlier versions were not searched when they were made."""
    told = read_json(folder / RELEASE_JSON, {"told": [str]})["told"]
    names = Names({str(name) for key in (CASE_ID, PATIENT_ID) for name in scores[key].unique()})
    return name_problems(folder, names, told, without=(EVIDENCE, RECORD_JSON, RELEASE_JSON))


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A private folder next to the released one for unfinished files; leftovers of a killed signing are removed."""
    place = folder.resolve()
    staged = place.with_name(f".{place.name}.signing")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def computed_records(
    scores: pd.DataFrame, forget_classes: Sequence[str], draws: Mapping[str, int], *, widened: bool = True
) -> dict[str, list[dict[str, Any]]]:
    """The audit records that follow from a score table only, by kind: `utility` and `membership`.

    Args:
        scores: the scores of all models.
        forget_classes: the classes of a mask that were forgotten in every case; these have no records of membership.
        draws: `n_resamples` and `seed` of the intervals.
        widened: whether intervals of few patients are as wide as this version has them.
    """
    utility = utility_records(scores, forget_classes=forget_classes, **draws, widened=widened)
    by_kind = {"utility": utility, "membership": []}
    if not forget_classes and {FORGET, TEST} <= set(scores[SUBSET]):
        by_kind["membership"] = membership_records(scores, **draws, widened=widened)
    return {kind: [asdict(record) for record in records] for kind, records in by_kind.items()}


def _problems(folder: Path, run: Run) -> Iterator[str]:
    if run.role != STUDENT:
        yield f"a record is about an unlearned model, and the given runs have none ({run.role}); add its run"
        return
    if run.record.forget_images == GONE:
        yield (
            f"'{run.folder}' was made when the images of the forget cases were gone: nothing was measured on them, so "
            "a record could not say how far they are forgotten; hand the release over without one"
        )
    if run.stale_audit:
        yield (
            f"'{run.folder / AUDIT_JSON}' is an audit of other weights than those of the run; audit it again: mu-monai "
            f"audit {run.folder}"
        )
    if not (folder / RELEASE_JSON).is_file():
        yield f"'{folder}' is not a released folder; make one with: mu-monai release {run.folder} --out {folder}"
        return
    if (folder / RECORD_JSON).exists():
        yield f"'{folder}' already has a record ({RECORD_JSON}); release the run again into another folder"
        return
    yield from _salt_problems(folder)
    yield from _file_problems(folder, read_json(folder / RELEASE_JSON, _RELEASE)["search"]["files"])
    digest = weights_sha256(read_weights(released_weights(folder)))
    if digest != run.record.sha256.weights:
        yield (
            f"the weights in '{folder}' are not those of the run '{run.folder}' (SHA-256 {digest}; its run.json "
            f"has {run.record.sha256.weights}); give the folder that was released from this run"
        )


def _salt_problems(folder: Path) -> Iterator[str]:
    salt = salt_path(folder)
    if salt.exists() and not (folder / EVIDENCE).exists():  # otherwise a killed signing left both
        yield f"'{salt}' exists and is the salt of another record; move it to where that record is kept"
    inside = next((place for place in salt.parents if is_run(place)), None)
    if inside is not None:
        yield (
            f"'{folder}' is inside the run folder '{inside}', and the salt would be written there too; move the "
            "released folder out of it, then sign"
        )


def _file_problems(folder: Path, searched: Mapping[str, str]) -> Iterator[str]:
    """Why the folder is not what was searched at its release: a record would vouch for files that were not."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield (f"'{name}' in '{folder}' is not a plain file, and its target may change; put the file itself there")
        elif path.is_file() and name not in {*searched, RELEASE_JSON, EVIDENCE}:
            yield f"'{name}' was added to '{folder}' after the release and was not searched; remove it"
    for name, digest in searched.items():
        if not has_sha256(folder / name, digest):
            yield f"'{name}' in '{folder}' is not as it was searched; release the run again into another folder"
