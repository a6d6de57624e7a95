"""Reading of run folders, with every problem reported at once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    MODEL,
    RETRAINED,
    ROLES,
    SCORES_CSV,
    STUDENT,
    SUBSET,
    TEACHER,
)
from mu_monai.report.examples import Examples, is_volumes, joined_examples, read_examples
from mu_monai.runs import changed_files, read_record, read_stamped
from mu_monai.runs.scores import CLASS_NAMES, SCORE_KEYS, TEXT, needed_columns, read_scores, structures, task_of
from mu_monai.tables import read_table

_SHOWN = (CURVE_CSV, EXAMPLES_NPZ, AUDIT_JSON, DECISION_CSV)
_PLANE = (MODEL, SUBSET, CASE_ID, *CLASS_NAMES, "x", "y")
_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished run.

    Args:
        folder: where it lies.
        record: the content of `run.json`.
        scores: the content of `scores.csv`.
        curve: the content of `curve.csv`; empty where the run has none.
        examples: the arrays of `examples.npz`; empty where the run has none.
        audit: the content of `audit.json`; empty where the run has none.
        decision: the content of `decision.csv`, that the audit of a classifier wrote; empty where there is none.
    """

    folder: Path
    record: dict[str, Any]
    scores: pd.DataFrame
    curve: pd.DataFrame
    examples: Examples
    audit: dict[str, Any] = field(default_factory=dict)
    decision: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def role(self) -> str:
        """`teacher`, `retrained` or `student`."""
        return str(self.record["role"])

    @property
    def task(self) -> str:
        """`segmentation` or `classification`, by what was scored."""
        return task_of(self.scores)

    @property
    def stale_audit(self) -> bool:
        """Whether the audit is of other weights than the run's own."""
        audited = ((self.audit.get("models") or {}).get(self.role) or {}).get("weights")
        return bool(self.audit) and audited != (self.record.get("sha256") or {}).get("weights")


@dataclass(frozen=True)
class Runs:
    """The runs of one report: one per role at most, all of one split and bundle.

    Args:
        by_role: the runs in the order of `keys.ROLES`.
    """

    by_role: dict[str, Run]

    @property
    def main(self) -> Run:
        """The run that the report is about: the student's, else the last one trained."""
        return list(self.by_role.values())[-1]

    @property
    def provenance(self) -> dict[str, Any]:
        """The provenance of the split."""
        split: dict[str, Any] = self.main.record.get("split") or {}
        return split.get("provenance") or {}

    @property
    def scores(self) -> pd.DataFrame:
        """The score tables of all runs in one, each model and case once; this is what the audit takes.

        Where the unlearning run scored its teacher again, the rows of the teacher's own run stand.
        """
        table = pd.concat([run.scores for run in self.by_role.values()], ignore_index=True)
        return table.drop_duplicates([MODEL, CASE_ID], ignore_index=True)

    @property
    def examples(self) -> Examples:
        """The examples of the main run, with the other models' answers where they are on the same cases and classes."""
        return joined_examples(self.main.examples, [run.examples for run in self.by_role.values()])

    @property
    def audit(self) -> dict[str, Any]:
        """The audit of the main run; empty where there is none, or one of other weights."""
        return {} if self.main.stale_audit else self.main.audit

    @property
    def decision(self) -> pd.DataFrame:
        """The decision picture of the main run; empty where there is none, or one of other weights."""
        return pd.DataFrame() if self.main.stale_audit else self.main.decision

    @property
    def volumes(self) -> bool:
        """Whether the cases are volumes or have masks of several classes."""
        return is_volumes(self.main.examples) or bool(structures(self.main.scores))

    @property
    def forget_classes(self) -> list[str]:
        """The classes that were to be forgotten in every case; none where cases were."""
        return _forget_classes(self.main)

    @property
    def kept_classes(self) -> list[str]:
        """The classes of masks that were not to be forgotten."""
        return [name for name in structures(self.main.scores) if name not in self.forget_classes]


def read_runs(folders: Sequence[str | Path], *, shown: bool = True) -> Runs:
    """Read the run folders of one report, or of one audit.

    Args:
        folders: at least one run folder; at most one of each role (teacher, retrained, student).
        shown: whether what a page shows beside the scores is read as well: curves, examples and earlier audits.

    Raises:
        InputError: with every problem at once: not a run folder, not finished, no scores, damaged files, two runs
            of the same role, other splits, bundles or classes, models but the teacher that were to forget other
            classes, or these in other cases, a student that did not start from the teacher, models scored twice with
            different results where no hashes of the weights tell.
    """
    problems = [] if folders else ["no run folder is given; give one or more of teacher, retrained and student"]
    runs: list[Run] = []
    for folder in folders:
        try:
            runs.append(_read_run(Path(folder), _SHOWN if shown else ()))
        except InputError as error:
            problems += error.problems
    problems += _same_role(runs)
    problems += _differing("split", [(run, (run.record.get("sha256") or {}).get("split")) for run in runs])
    problems += _differing("bundle", [(run, (run.record.get("bundle") or {}).get("name")) for run in runs])
    problems += _differing("task", [(run, run.task) for run in runs])
    problems += _differing("set of classes", [(run, ", ".join(structures(run.scores))) for run in runs])
    forgot = [(run, ", ".join(sorted(_forget_classes(run))) or "none") for run in runs if run.role != TEACHER]
    problems += _differing("choice of forgotten classes", forgot)
    problems += _other_cases(runs)
    problems += _differing_scores(runs)
    raise_if_any(problems)
    return Runs({run.role: run for run in sorted(runs, key=lambda run: ROLES.index(run.role))})


def _read_run(folder: Path, shown: Sequence[str]) -> Run:
    record = read_record(folder)
    raise_if_any(_record_problems(folder, record, (SCORES_CSV, *shown)))
    scores = read_scores(folder / SCORES_CSV)
    raise_if_any(_score_problems(folder, record["role"], scores))
    if not shown:
        return Run(folder=folder, record=record, scores=scores, curve=pd.DataFrame(), examples={})
    curve = (
        read_table(folder / CURVE_CSV, ["epoch"], numbers=True) if (folder / CURVE_CSV).is_file() else pd.DataFrame()
    )
    examples, audit = read_examples(folder / EXAMPLES_NPZ), _read_audit(folder / AUDIT_JSON)
    picture = folder / DECISION_CSV
    decision = read_table(picture, _PLANE, text=TEXT) if audit.get("decision") and picture.is_file() else pd.DataFrame()
    tables: dict[str, Any] = {"scores": scores, "curve": curve, "examples": examples, "decision": decision}
    return Run(folder=folder, record=record, audit=audit, **tables)


def _record_problems(folder: Path, record: Mapping[str, Any], uses: Sequence[str]) -> Iterator[str]:
    if record["status"] != "finished":
        yield f"the run '{folder}' is {record['status']!r}, not finished; complete it through --resume, then report"
    if not (folder / SCORES_CSV).is_file():
        yield f"the run '{folder}' has no {SCORES_CSV}; write it with: mu-monai evaluate {folder}"
    else:
        yield from changed_files(folder, record, uses)


def _read_audit(path: Path) -> dict[str, Any]:
    return read_stamped(path) if path.is_file() else {}


def _forget_classes(run: Run) -> list[str]:
    return list(run.record.get("forget_classes") or [])


def _score_problems(folder: Path, role: str, scores: pd.DataFrame) -> Iterator[str]:
    path, numbers = folder / SCORES_CSV, needed_columns(scores)
    needed = (*SCORE_KEYS, *numbers, *(CLASS_NAMES if task_of(scores) == CLASSIFICATION else ()))
    absent = [name for name in needed if name not in scores.columns]
    if absent:
        yield f"'{path}' has no column {', '.join(map(repr, absent))}; needed: {', '.join(needed)}"
        return
    text = [name for name in numbers if not pd.api.types.is_numeric_dtype(scores[name])]
    if text:
        yield f"'{path}' has text in {', '.join(map(repr, text))}; only numbers are allowed, score the run again"
    if role not in set(scores[MODEL]):
        yield f"'{path}' has no row of the model {role!r}, whose run it is; score the run again"
    twice = scores[scores.duplicated([MODEL, CASE_ID])]
    if len(twice):
        yield f"'{path}' has {len(twice)} cases twice, '{twice[CASE_ID].iloc[0]}' first; keep one row per model"


def _same_role(runs: Sequence[Run]) -> Iterator[str]:
    for role in ROLES:
        same = [f"'{run.folder}'" for run in runs if run.role == role]
        if len(same) > 1:
            yield f"{len(same)} runs have the role {role} ({', '.join(same)}); a report takes one run of each role"


def _differing(what: str, found: Sequence[tuple[Run, Any]]) -> Iterator[str]:
    if len({value for _, value in found}) > 1:
        listed = ", ".join(f"'{run.folder}': {value}" for run, value in found)
        yield (
            f"the runs do not share one {what} ({listed}); a report compares runs of the same {what} only: leave out "
            "those of another (an unlearning run scores its teacher itself)"
        )


def _other_cases(runs: Sequence[Run]) -> Iterator[str]:
    """Where classes are forgotten no case is, so the retrained model must have learned from all of the student's."""
    found = {run.role: run for run in runs if _forget_classes(run)}
    if not {RETRAINED, STUDENT} <= set(found):
        return
    retrained, student = (found[role].record.get("subsets") or [] for role in (RETRAINED, STUDENT))
    if set(retrained) != set(student):
        names = " ".join(f"--forget-class {shlex.quote(name)}" for name in _forget_classes(found[STUDENT]))
        yield (
            f"the retrained model '{found[RETRAINED].folder}' has learned from {', '.join(retrained)} and the "
            f"student '{found[STUDENT].folder}' from {', '.join(student)}; where classes are forgotten no case is, so "
            f"both must have the same: train it again with --subsets {','.join(student)} {names}, or leave it out"
        )


def _differing_scores(runs: Sequence[Run]) -> Iterator[str]:
    """A teacher is scored by its own run and again by the unlearning run; both must have seen the same model.

    The hashes of the weights decide. The scores do only where a hash is missing: the same weights score a little
    differently on another device.
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
                        f"'{row[CASE_ID]}' ({row[name]:.6g} and {row[name + '_other']:.6g}): these are not the same "
                        "weights or data; report runs that belong together"
                    )


def _teacher_hashes(first: Run, second: Run) -> tuple[str, str] | None:
    """The hash of the teacher's weights and of those that the student started from; none where one is missing."""
    found = {run.role: run.record.get("sha256") or {} for run in (first, second)}
    trained, started = found.get(TEACHER, {}).get("weights"), found.get(STUDENT, {}).get("starting_weights")
    return (trained, started) if trained and started else None


def _other_teacher(first: Run, second: Run, trained: str, started: str) -> Iterator[str]:
    if trained != started:
        teacher, student = (first, second) if first.role == TEACHER else (second, first)
        yield (
            f"the unlearning run '{student.folder}' did not start from the weights of the teacher '{teacher.folder}' "
            f"(sha256 of its starting weights {started}, of the teacher's weights {trained}); report it with the "
            "teacher that it started from, or without one (an unlearning run scores its teacher itself)"
        )
