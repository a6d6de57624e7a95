"""Judge a finished run: can the forgotten patients still be recognized?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.attacks import search_folder
from mu_monai.audit import (
    Record,
    attack_records,
    attack_sentences,
    closeness_records,
    depth_records,
    distance_records,
    klom_note,
    klom_records,
    membership_notes,
    membership_records,
    patient_table,
    residual_records,
    shadow_notes,
    shadow_records,
    subgroup_table,
    utility_records,
    verdict,
)
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.errors import InputError
from mu_monai.files import atomic_path
from mu_monai.keys import AUDIT_JSON, DECISION_CSV, LABEL, PATIENT_ID, RETRAINED, ROLES, STUDENT, SUBSET, TEACHER, TEST
from mu_monai.lock import writes
from mu_monai.metrics import klom
from mu_monai.record import without_nan
from mu_monai.runs import add_files, read_stamped, write_stamped
from mu_monai.runs.scores import MARGIN
from mu_monai.runs.stamp import command_line, package_versions
from mu_monai.runs.stamped import FORMAT
from mu_monai.workflow.auditing.attacking import chosen_attacks, run_attacks
from mu_monai.workflow.auditing.decision import decision_table
from mu_monai.workflow.auditing.depth import measure_barriers
from mu_monai.workflow.auditing.distances import measure_distances, measure_perturbed
from mu_monai.workflow.auditing.evaluation import Evaluation, open_evaluation
from mu_monai.workflow.auditing.inputs import NO_SPLIT, AuditInputs, read_inputs
from mu_monai.workflow.auditing.shadows import shadow_scores
from mu_monai.workflow.earlier_epochs import milestones_of
from mu_monai.workflow.moved import moved
from mu_monai.workflow.options import AuditOptions
from mu_monai.workflow.workers.workers import Engine, working

_PACKAGES = ("mu-monai", "torch", "monai", "scikit-learn", "numpy")
logger = logging.getLogger(__name__)
_BY_NAMES = (
    "the run folder was searched by file names only, since the original model is not available: copies of its weights "
    "under other names are not found; give it with --teacher"
)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The results of one part of the audit: records, sentences, further keys of `audit.json`, and tables beside it."""

    records: Sequence[Record] = ()
    notes: Sequence[str] = ()
    content: dict[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@writes("out|run")
def audit(
    run: str | Path,
    *,
    teacher: str | Path | None = None,
    split: str | Path | None = None,
    out: str | Path | None = None,
    options: AuditOptions = AuditOptions(),  # noqa: B008 - frozen
    trust: Trust = STRANGER,
) -> Path:
    """Judge a finished run by whether the forgotten patients can be told apart from unseen ones.

    Membership, patients and groups need only the scores of the runs. Distances to the retrained model are measured if
    one is given and they are not switched off; attacks and shadow models run on request.

    Args:
        run: the folder of an unlearning run, or one that `adopt` made.
        teacher: the original model's weights or run folder, where they are no longer where the run found them.
        split: the split file of the run, where it is no longer where the run found it.
        out: the file to write; by default `audit.json` in the run folder.
        options: how it is audited: which models it is compared with, and which attacks run.
        trust: how far the runs are trusted.

    Returns:
        the path of the file.

    Raises:
        InputError: every problem of the input, before anything is computed.
    """
    inputs = read_inputs(run, teacher=teacher, split=split, options=options, trust=trust)
    draws = {"n_resamples": options.n_resamples, "seed": options.seed}
    evaluation = (
        open_evaluation(inputs.run, inputs.weights, split=inputs.split_file, device=options.device, trust=trust)
        if inputs.needs_models
        else None
    )
    with working(
        options.workers, options.gpus_per_job, folder=Path(options.pool or run), places=inputs.read
    ) as workers:
        parts = [measure(inputs, draws) for measure in _measures(inputs, evaluation, workers)]
    records = [record for part in parts for record in part.records]
    unseen = inputs.scores[(inputs.scores[SUBSET] == TEST)][PATIENT_ID].nunique()
    content: dict[str, Any] = {
        "format": FORMAT,
        "command": command_line(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(*_PACKAGES),
        **draws,
        "split": inputs.record.sha256.split,
        "models": _models(inputs),
        "records": [asdict(record) for record in records],
        "verdict": asdict(verdict(records, n_unseen=unseen)),
        "attacks": [],
        "attacks_asked": chosen_attacks(options.attacks),
        "subgroups": [],
        "searched": [],
        "notes": [note for part in parts for note in part.notes],
    }
    for part in parts:
        content |= part.content
    target = inputs.run / AUDIT_JSON if out is None else Path(out)
    for name, table in ((name, table) for part in parts for name, table in part.tables.items()):
        with atomic_path(target.with_name(name)) as path:
            table.to_csv(path, index=False)
    _say_what_goes(target, content["attacks_asked"])
    write_stamped(target, without_nan(content))
    if target.parent.resolve() == inputs.run.resolve():
        add_files(inputs.run, target.name, *(name for part in parts for name in part.tables))
    return target


def _say_what_goes(target: Path, attacks: Sequence[str]) -> None:
    """Warn of attacks in the earlier audit that the new one, which replaces it, does not have."""
    try:
        earlier = read_stamped(target).get("attacks_asked", []) if target.is_file() else []
    except InputError:  # a damaged one is replaced as well
        return
    gone = [name for name in earlier if name not in attacks]
    if gone:
        logger.warning(
            "'%s' had %s, which this audit, its replacement, does not have. Their results are kept: --attacks %s adds "
            "them again in "
            "seconds",
            target,
            ", ".join(gone),
            ",".join([*attacks, *gone]),
        )


_Measure = Callable[[AuditInputs, dict[str, Any]], _Part]


def _measures(inputs: AuditInputs, evaluation: Evaluation | None, workers: Engine | None) -> list[_Measure]:
    """The parts of this audit, the quick ones first."""
    found: list[_Measure] = [_utility, _membership, _patients, _subgroups, _searched, _closeness]
    if inputs.siblings:
        found.append(_klom)
    if evaluation is not None and inputs.references and inputs.options.distances:
        found.append(partial(_distances, evaluation))
    if evaluation is not None and inputs.options.distances and LABEL in inputs.scores:
        found.append(partial(_decision, evaluation))
    if evaluation is not None and inputs.options.attacks:
        found.append(partial(_attacks, evaluation))
    if inputs.options.shadows:
        found.append(partial(_shadows, workers))
    return found


def _utility(inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    return _Part(records=utility_records(inputs.scores, **draws))


def _membership(inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    return _Part(records=membership_records(inputs.scores, **draws), notes=membership_notes(inputs.scores))


def _patients(inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    return _Part(content={"patients": patient_table(inputs.scores).to_dict("records")})


def _subgroups(inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    if inputs.cases is None:
        return _Part(notes=[f"no groups: {NO_SPLIT.format(file=inputs.split_file.name)}"])
    table = subgroup_table(inputs.scores, inputs.cases, by=inputs.options.by, **draws)
    notes = [] if len(table) else ["no groups: the split has no column with 2 to 20 values, or no teacher was scored"]
    return _Part(content={"subgroups": table.to_dict("records")}, notes=notes)


def _closeness(inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    if not inputs.references:
        return _Part(
            notes=["no retrained model was given (--reference): forgotten patients are compared only with unseen ones"]
        )
    return _Part(records=closeness_records(inputs.scores, others=inputs.tables(inputs.references[1:]), **draws))


def _klom(inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    students, retrained = inputs.tables([inputs.run, *inputs.siblings]), inputs.tables(inputs.references)
    if len(retrained) < 2:
        return _Part(notes=["no KLoM: it needs the runs of several retrained models (--reference, repeated)"])
    if any(MARGIN not in table for table in (*students, *retrained)):
        return _Part(notes=[f"no KLoM: some score tables lack {MARGIN}; 'mu-monai evaluate RUN' scores a run again"])
    return _Part(
        records=klom_records(klom(students, retrained), **draws), notes=[klom_note(len(students), len(retrained))]
    )


def _distances(evaluation: Evaluation, inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    found = measure_distances(evaluation, seed=inputs.options.seed)
    deep = depth_records(found.weights, measure_barriers(evaluation, seed=inputs.options.seed))
    near = residual_records(measure_perturbed(evaluation, seed=inputs.options.seed), **draws)
    return _Part(records=[*distance_records(found.cases, found.layers, found.weights, **draws), *deep, *near])


def _decision(evaluation: Evaluation, inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    try:
        table = decision_table(evaluation, inputs.scores, seed=inputs.options.seed)
    except InputError as error:  # a network whose head is not known
        return _Part(notes=[f"no decision picture: {error}"])
    return _Part(content={"decision": {"file": DECISION_CSV}}, tables={DECISION_CSV: table})


def _attacks(evaluation: Evaluation, inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    models = {role: evaluation.models[role] for role in ROLES if role in evaluation.models}
    scores = inputs.scores[inputs.scores["model"].isin(list(models))]
    found = run_attacks(
        replace(evaluation, models=models),
        inputs.run,
        inputs.options.attacks,
        scores=scores,
        seed=inputs.options.seed,
        quiet=inputs.options.quiet,
    )
    records = attack_records(found.scores, **draws)
    ran = [{"name": name, "settings": settings} for name, settings in found.settings.items()]
    return _Part(records=records, notes=[*attack_sentences(records), *found.notes], content={"attacks": ran})


def _shadows(workers: Engine | None, inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    known = inputs.teacher
    trained = known.parent if known and known.is_file() else known
    pool = shadow_scores(
        inputs.run,
        options=inputs.options,
        teacher=trained,
        split=inputs.split,
        trust=inputs.trust,
        workers=workers,
    )
    return _Part(records=shadow_records(inputs.scores, pool, **draws), notes=shadow_notes(inputs.scores, pool))


def _models(inputs: AuditInputs) -> dict[str, dict[str, Any]]:
    """The weights that the numbers were measured on."""
    digests, scored = inputs.record.sha256, set(inputs.scores["model"])
    found: dict[str, dict[str, Any]] = {STUDENT: {"run": str(inputs.run), "weights": digests.weights}}
    if inputs.teacher is not None and TEACHER in scored:
        found[TEACHER] = {"run": str(inputs.teacher), "weights": digests.starting_weights}
    reference = inputs.runs.by_role.get(RETRAINED)
    if reference is not None:
        found[RETRAINED] = {"run": str(reference.folder), "weights": reference.record.sha256.weights}
    return {role: found[role] for role in ROLES if role in found}


def _searched(inputs: AuditInputs, draws: dict[str, Any]) -> _Part:
    """Files of the run folder from which the original can be rebuilt."""
    original = _original(inputs)
    if original is None:
        return _Part(content={"searched": [asdict(found) for found in search_folder(inputs.run)]}, notes=[_BY_NAMES])
    student, notes = read_weights(inputs.run), []
    try:
        found = search_folder(
            inputs.run, original, student, milestones_of(moved(inputs.record, teacher=inputs.teacher))
        )
    except InputError as error:  # a milestone cannot be read
        found = search_folder(inputs.run, original, student)
        notes = [f"the run folder was not searched for earlier epochs of the original: {error}"]
    return _Part(content={"searched": [asdict(each) for each in found]}, notes=notes)


def _original(inputs: AuditInputs) -> dict[str, torch.Tensor] | None:
    """The weights of the original; None if they are not known, gone, or no longer those of the run."""
    if inputs.teacher is None or not inputs.teacher.exists():
        return None
    state = read_weights(inputs.teacher)
    return state if inputs.record.sha256.starting_weights in (None, weights_sha256(state)) else None
