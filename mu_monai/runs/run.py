"""Finished runs, opened once: their records, and their files when they are needed, with every problem at once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import (
    AUDIT_JSON,
    CASE_ID,
    CLASSIFICATION,
    CURVE_CSV,
    DECISION_CSV,
    EXAMPLES_NPZ,
    FORGET,
    MODEL,
    MODEL_PT,
    RETRAINED,
    ROLES,
    RUN_JSON,
    SCORES_CSV,
    STUDENT,
    SUBSET,
    TEACHER,
)
from mu_monai.runs.examples import Examples, is_volumes, joined_examples, read_examples
from mu_monai.runs.folder import changed_files
from mu_monai.runs.record import FINISHED, GONE, Digests, RunRecord, read_record
from mu_monai.runs.scores import CLASS_NAMES, SCORE_KEYS, TEXT, needed_columns, read_scores, structures, task_of
from mu_monai.runs.stamped import read_stamped
from mu_monai.tables import read_table

_SHOWN = (CURVE_CSV, EXAMPLES_NPZ, AUDIT_JSON, DECISION_CSV)
_PLANE = (MODEL, SUBSET, CASE_ID, *CLASS_NAMES, "x", "y")
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Run:
    """One finished run; its files are read when they are first needed, and compared with its record.

    Args:
        folder: the run folder.
        record: the content of `run.json`.
    """

    folder: Path
    record: RunRecord

    @property
    def role(self) -> str:
        """`teacher`, `retrained` or `student`."""
        return self.record.role

    @property
    def weights(self) -> Path:
        """The file of its weights."""
        return self.folder / MODEL_PT

    @property
    def split(self) -> Path:
        """The path of its split file when the run was made."""
        return Path(self.record.split.file)

    @property
    def forget_classes(self) -> list[str]:
        """The classes of masks to forget in every case; empty if cases are forgotten."""
        return list(self.record.forget_classes)

    def check(self, *uses: str) -> None:
        """Compare files with the digests in the record.

        Args:
            uses: the files to be used, see `changed_files`.

        Raises:
            InputError: for every used file that was changed, is missing, or was added after the run.
        """
        raise_if_any(changed_files(self.folder, self.record, uses))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The content of `scores.csv`."""
        if not (self.folder / SCORES_CSV).is_file():
            raise InputError(_no_scores(self.folder))
        self.check(SCORES_CSV)
        scores = read_scores(self.folder / SCORES_CSV)
        raise_if_any(_score_problems(self.folder, self.role, scores))
        return scores

    @cached_property
    def curve(self) -> pd.DataFrame:
        """The content of `curve.csv`; empty if the run has none."""
        self.check(CURVE_CSV)
        file = self.folder / CURVE_CSV
        return read_table(file, ["epoch"], numbers=True) if file.is_file() else pd.DataFrame()

    @cached_property
    def examples(self) -> Examples:
        """The arrays of `examples.npz`; empty if the run has none."""
        self.check(EXAMPLES_NPZ)
        return read_examples(self.folder / EXAMPLES_NPZ)

    @cached_property
    def audit(self) -> dict[str, Any]:
        """The content of `audit.json`; empty if the run has none."""
        self.check(AUDIT_JSON)
        file = self.folder / AUDIT_JSON
        return read_stamped(file) if file.is_file() else {}

    @cached_property
    def decision(self) -> pd.DataFrame:
        """The content of `decision.csv`, which the audit of a classifier writes; empty if there is none."""
        self.check(DECISION_CSV)
        file = self.folder / DECISION_CSV
        return read_table(file, _PLANE, text=TEXT) if self.audit.get("decision") and file.is_file() else pd.DataFrame()

    @property
    def task(self) -> str:
        """`segmentation` or `classification`, by what was scored."""
        return task_of(self.scores)

    @property
    def stale_audit(self) -> bool:
        """Whether the audit is of weights other than the run's."""
        audited = ((self.audit.get("models") or {}).get(self.role) or {}).get("weights")
        return bool(self.audit) and audited != (self.record.sha256.weights or None)


@dataclass(frozen=True)
class Runs:
    """The runs of one report: at most one per role, all of one split and bundle.

    Args:
        by_role: the runs in the order of `keys.ROLES`.
    """

    by_role: dict[str, Run]

    @property
    def main(self) -> Run:
        """The run that the report is about: the student's, or else the last one in the order of roles."""
        return list(self.by_role.values())[-1]

    @property
    def provenance(self) -> dict[str, Any]:
        """The provenance of the split."""
        return dict(self.main.record.provenance)

    @property
    def scores(self) -> pd.DataFrame:
        """The score tables of all runs in one, each model and case once; the input of the audit.

        If the unlearning run scored its teacher again, the rows from the teacher's own run are used. If it had no
        images of the forget cases, other models' scores of them have nothing to be compared with, and are left out.
        """
        table = pd.concat([run.scores for run in self.by_role.values()], ignore_index=True)
        if self.main.record.forget_images == GONE:
            table = table[table[SUBSET] != FORGET]
        return table.drop_duplicates([MODEL, CASE_ID], ignore_index=True)

    @property
    def examples(self) -> Examples:
        """The examples of the main run, with the predictions of other models for the same cases and classes."""
        return joined_examples(self.main.examples, [run.examples for run in self.by_role.values()])

    @property
    def audit(self) -> dict[str, Any]:
        """The audit of the main run; empty if there is none, or it is of other weights."""
        return {} if self.main.stale_audit else self.main.audit

    @property
    def decision(self) -> pd.DataFrame:
        """The decision plane of the main run; empty if there is none, or it is of other weights."""
        return pd.DataFrame() if self.main.stale_audit else self.main.decision

    @property
    def volumes(self) -> bool:
        """Whether the cases are volumes or have masks of several classes."""
        return is_volumes(self.main.examples) or bool(structures(self.main.scores))

    @property
    def forget_classes(self) -> list[str]:
        """The classes to forget in every case; empty if cases are forgotten."""
        return self.main.forget_classes

    @property
    def kept_classes(self) -> list[str]:
        """The classes of masks that were not to be forgotten."""
        return [name for name in structures(self.main.scores) if name not in self.forget_classes]


def open_run(folder: str | os.PathLike[str], *uses: str) -> Run:
    """Open a finished run with a complete record, and check the files to be used.

    Args:
        folder: the run folder.
        uses: the files to be used, see `changed_files`.

    Raises:
        InputError: with every problem: anything that `read_record` refuses, a run that is not finished or does not name
            its bundle, split or weights, and a used file that was changed, is missing, or was added after the run.
    """
    run = Run(Path(folder), read_record(folder))
    if run.record.status != FINISHED:
        raise InputError(f"the run '{folder}' is {run.record.status}, not finished; continue it with --resume")
    raise_if_any(changed_files(folder, run.record, uses))
    needed = {
        "verb": run.record.verb,
        "bundle.name": run.record.bundle.name,
        "bundle.root": run.record.bundle.root,
        "sha256.split": run.record.sha256.split,
        "sha256.weights": run.record.sha256.weights,
        "split.file": run.record.split.file,
    }
    raise_if_any(
        f"the {RUN_JSON} of '{folder}' has no {name}; the file is damaged: put the original back"
        for name, value in needed.items()
        if not value
    )
    return run


def open_runs(folders: Sequence[str | os.PathLike[str]], *, shown: bool = True) -> Runs:
    """Open the run folders of one report, or of one audit, and read their scores.

    Args:
        folders: at least one run folder; at most one of each role (teacher, retrained, student).
        shown: whether to read everything else that a page shows: curves, examples and earlier audits.

    Raises:
        InputError: with every problem at once: not a run folder, not finished, no scores, damaged files, two runs with
            the same role, different splits, bundles or classes, models other than the teacher that forgot different
            classes or learned from different cases, a student that did not start from the teacher, models scored twice
            with different results if no hashes of the weights decide, and an audit that compared with another retrained
            model, if it is shown.
    """
    problems = [] if folders else ["there is no run folder; give one or more of teacher, retrained and student"]
    runs: list[Run] = []
    for folder in folders:
        try:
            runs.append(_read(Path(folder), shown))
        except InputError as error:
            problems += error.problems
    problems += _same_role(runs)
    problems += _differing("split", [(run, run.record.sha256.split) for run in runs])
    problems += _differing("bundle", [(run, run.record.bundle.name) for run in runs])
    problems += _differing("task", [(run, run.task) for run in runs])
    problems += _differing("set of classes", [(run, ", ".join(structures(run.scores))) for run in runs])
    forgotten = [(run, ", ".join(sorted(run.forget_classes)) or "none") for run in runs if run.role != TEACHER]
    problems += _differing("choice of forgotten classes", forgotten)
    problems += _other_cases(runs)
    problems += _differing_scores(runs)
    problems += _other_reference(runs) if shown else []
    raise_if_any(problems)
    return Runs({run.role: run for run in sorted(runs, key=lambda run: ROLES.index(run.role))})


def _read(folder: Path, shown: bool) -> Run:
    """A run with its scores read and, if `shown`, everything else that a page shows."""
    run = Run(folder, read_record(folder))
    raise_if_any(_unready(run, (SCORES_CSV, *(_SHOWN if shown else ()))))
    for name in ("scores", *(("curve", "examples", "audit", "decision") if shown else ())):
        getattr(run, name)
    return run


def _unready(run: Run, uses: Sequence[str]) -> Iterator[str]:
    if run.record.status != FINISHED:
        yield (f"the run '{run.folder}' is {run.record.status!r}, not finished; complete it with --resume, then report")
    if not (run.folder / SCORES_CSV).is_file():
        yield _no_scores(run.folder)
    else:
        yield from changed_files(run.folder, run.record, uses)


def _no_scores(folder: Path) -> str:
    return f"the run '{folder}' has no {SCORES_CSV}; write it with: mu-monai evaluate {folder}"


def _score_problems(folder: Path, role: str, scores: pd.DataFrame) -> Iterator[str]:
    path, numbers = folder / SCORES_CSV, needed_columns(scores)
    needed = (*SCORE_KEYS, *numbers, *(CLASS_NAMES if task_of(scores) == CLASSIFICATION else ()))
    absent = [name for name in needed if name not in scores.columns]
    if absent:
        yield f"'{path}' has no column {', '.join(map(repr, absent))}; needed: {', '.join(needed)}"
        return
    text = [name for name in numbers if not pd.api.types.is_numeric_dtype(scores[name])]
    if text:
        yield f"'{path}' has text in {', '.join(map(repr, text))}; only numbers are allowed: score the run again"
    if role not in set(scores[MODEL]):
        yield f"'{path}' has no row of the run's model {role!r}; score the run again"
    twice = scores[scores.duplicated([MODEL, CASE_ID])]
    if len(twice):
        yield f"'{path}' has {len(twice)} cases twice, '{twice[CASE_ID].iloc[0]}' first; keep one row per model"


def _same_role(runs: Sequence[Run]) -> Iterator[str]:
    for role in ROLES:
        same = [f"'{run.folder}'" for run in runs if run.role == role]
        if len(same) > 1:
            yield f"{len(same)} runs have the role {role} ({', '.join(same)}); a report takes one run of each role"


def _differing(what: str, values: Sequence[tuple[Run, Any]]) -> Iterator[str]:
    if len({value for _, value in values}) > 1:
        listed = ", ".join(f"'{run.folder}': {value}" for run, value in values)
        yield (
            f"the runs do not share one {what} ({listed}); a report only compares runs with the same {what}: leave out "
            "the others (an unlearning run scores its teacher itself)"
        )


def _other_reference(runs: Sequence[Run]) -> Iterator[str]:
    """A page that shows an audit is about the retrained model that the audit compared with, and no other."""
    by_role = {run.role: run for run in runs}
    if not {RETRAINED, STUDENT} <= set(by_role):
        return
    student, retrained = by_role[STUDENT], by_role[RETRAINED]
    audited = (student.audit.get("models") or {}).get(RETRAINED) or {}
    if audited and audited.get("weights") != retrained.record.sha256.weights:
        yield (
            f"the audit of '{student.folder}' compared it with another retrained model ('{audited.get('run')}') than "
            f"'{retrained.folder}'; report with that one, or audit again: mu-monai audit {student.folder} --reference "
            f"{retrained.folder}"
        )


def _other_cases(runs: Sequence[Run]) -> Iterator[str]:
    """If classes are forgotten, no case is: the retrained model must have learned from all of the student's cases."""
    by_role = {run.role: run for run in runs if run.forget_classes}
    if not {RETRAINED, STUDENT} <= set(by_role):
        return
    retrained, student = (by_role[role].record.subsets for role in (RETRAINED, STUDENT))
    if set(retrained) != set(student):
        names = " ".join(f"--forget-class {shlex.quote(name)}" for name in by_role[STUDENT].forget_classes)
        yield (
            f"the retrained model '{by_role[RETRAINED].folder}' has learned from {', '.join(retrained)} and the "
            f"student '{by_role[STUDENT].folder}' from {', '.join(student)}; if classes are forgotten, no case is, so "
            f"both need the same subsets: retrain with --subsets {','.join(student)} {names}, or leave it out"
        )


def _differing_scores(runs: Sequence[Run]) -> Iterator[str]:
    """A teacher is scored by its own run and again by the unlearning run; both must have scored the same model.

    The hashes of the weights decide. Scores decide only if a hash is missing, since the same weights have slightly
    different scores on another device.
    """
    for index, first in enumerate(runs):
        for second in runs[index + 1 :]:
            hashes = _teacher_hashes(first, second)
            if hashes is not None:
                yield from _other_teacher(first, second, *hashes)
                continue
            both = first.scores.merge(second.scores, on=[MODEL, CASE_ID], suffixes=("", "_other"))
            shared = [name for name in needed_columns(first.scores) if name in second.scores]
            for name in shared if len(both) and first.task == second.task else ():
                apart = (both[name] - both[f"{name}_other"]).abs()
                if apart.max() > _TOLERANCE:
                    row = both.iloc[int(apart.argmax())]
                    yield (
                        f"'{first.folder}' and '{second.folder}' disagree about the {name} of the {row[MODEL]} on case "
                        f"'{row[CASE_ID]}' ({row[name]:.6g} and {row[name + '_other']:.6g}): their weights or data "
                        "differ; report runs that belong together"
                    )


def _teacher_hashes(first: Run, second: Run) -> tuple[str, str] | None:
    """The hashes of the teacher's weights and of the student's starting weights; None if one is missing."""
    digests = {run.role: run.record.sha256 for run in (first, second)}
    trained = digests.get(TEACHER, Digests()).weights
    started = digests.get(STUDENT, Digests()).starting_weights
    return (trained, started) if trained and started else None


def _other_teacher(first: Run, second: Run, trained: str, started: str) -> Iterator[str]:
    if trained != started:
        teacher, student = (first, second) if first.role == TEACHER else (second, first)
        yield (
            f"the unlearning run '{student.folder}' did not start from the weights of the teacher '{teacher.folder}' "
            f"(sha256 of its starting weights {started}, of the teacher's weights {trained}); report it with the "
            "teacher that it started from, or without one (an unlearning run scores its teacher itself)"
        )
