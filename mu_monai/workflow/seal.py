"""A signed record of a released folder, and the numbers in it that anybody can compute again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.audit import membership_records, utility_records
from mu_monai.errors import raise_if_any
from mu_monai.files import file_sha256, read_json, write_json
from mu_monai.keys import AUDIT_JSON, FORGET, MODEL_PT, STUDENT, SUBSET, TEST
from mu_monai.record import (
    EVIDENCE,
    RECORD_JSON,
    hash_ids,
    hash_text,
    id_problems,
    predicate,
    private_key,
    read_evidence,
    salt_of,
    sign,
    statement,
    without_paths,
    write_evidence,
)
from mu_monai.report import Run, Runs
from mu_monai.workflow.release import BUNDLE, RELEASE_JSON

_RELEASE = {"search": {"files": dict}}

DRAWS = {"n_resamples": 2000, "seed": 0}


def seal(runs: Runs, folder: str | Path, *, key: str | Path) -> Path:
    """Write the evidence and the signed record of a released folder into it.

    Args:
        runs: the student's run, and where there are, its teacher's and the retrained model's.
        folder: what `release` wrote for the student's run.
        key: the private key to sign with, a PEM file.

    Returns:
        the path of the record.

    Raises:
        InputError: where the folder is no release of this student or holds more than was released, a record is there
            already, the audit is of other weights, a text names a patient, or the key cannot be used; then nothing
            is written.
    """
    folder, run = Path(folder), runs.main
    signer = private_key(key)
    raise_if_any(_problems(folder, run))
    scores, salt = runs.scores, salt_of(run.folder)
    with tempfile.TemporaryDirectory() as temporary:
        write_evidence(hash_ids(scores, salt), Path(temporary) / EVIDENCE)
        evidence = read_evidence(Path(temporary) / EVIDENCE)
    content = predicate(
        {role: found.record for role, found in runs.by_role.items()},
        read_json(folder / RELEASE_JSON, _RELEASE),
        computed_records(evidence, runs.forget_classes, DRAWS),
        DRAWS,
        runs.audit or None,
    )
    content = without_paths(hash_text(content, scores, salt))
    raise_if_any(id_problems(content, scores))
    write_evidence(evidence, folder / EVIDENCE)
    write_json(folder / RECORD_JSON, sign(statement(folder, content), signer))
    return folder / RECORD_JSON


def computed_records(
    scores: pd.DataFrame, forget_classes: Sequence[str], draws: Mapping[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """The audit records that follow from a score table alone, by kind: `utility` and `membership`.

    Args:
        scores: the scores of all models.
        forget_classes: the classes of a mask that were forgotten in every case; then nobody's membership is.
        draws: `n_resamples` and `seed` of the intervals.
    """
    found = {"utility": utility_records(scores, forget_classes=forget_classes, **draws), "membership": []}
    if not forget_classes and {FORGET, TEST} <= set(scores[SUBSET]):
        found["membership"] = membership_records(scores, **draws)
    return {kind: [asdict(record) for record in records] for kind, records in found.items()}


def _problems(folder: Path, run: Run) -> Iterator[str]:
    if run.role != STUDENT:
        yield f"a record is of an unlearned model, and the runs that are given hold none ({run.role}); add its run"
        return
    if run.stale_audit:
        yield (
            f"'{run.folder / AUDIT_JSON}' is an audit of other weights than those of the run; audit it again: mu-monai "
            f"audit {run.folder}"
        )
    if not (folder / RELEASE_JSON).is_file():
        yield f"'{folder}' is no released folder; make one with: mu-monai release {run.folder} --out {folder}"
        return
    if (folder / RECORD_JSON).exists():
        yield f"'{folder}' has a record already ({RECORD_JSON}); release the run again into another folder"
        return
    yield from _file_problems(folder, read_json(folder / RELEASE_JSON, _RELEASE)["search"]["files"])
    found = weights_sha256(read_weights(folder / BUNDLE / "models" / MODEL_PT))
    if found != run.record["sha256"]["weights"]:
        yield (
            f"the weights in '{folder}' are not those of the run '{run.folder}' (SHA-256 {found}, in its run.json "
            f"{run.record['sha256']['weights']}); give the folder that was released from this run"
        )


def _file_problems(folder: Path, searched: Mapping[str, str]) -> Iterator[str]:
    """Why the folder is not what was searched when it was released: a record would sign what nobody has seen."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield f"'{name}' in '{folder}' is no plain file, and what it leads to may change; put the file in its place"
        elif path.is_file() and name not in {*searched, RELEASE_JSON, EVIDENCE}:
            yield f"'{name}' was added to '{folder}' after the release, and nobody has searched it; remove it"
    for name, digest in searched.items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            yield f"'{name}' in '{folder}' is not as it was searched; release the run again into another folder"
