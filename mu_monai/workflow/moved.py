"""Runs whose split or teacher is no longer where it was: the user says where it is now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mu_monai.data import Split, read_split
from mu_monai.errors import InputError
from mu_monai.files import absence, file_sha256
from mu_monai.keys import STUDENT, TEACHER
from mu_monai.runs import RunRecord
from mu_monai.workflow.checks import changed_problems, is_own

SPLIT = "split"


def moved(record: RunRecord, *, split: str | Path | None = None, teacher: str | Path | None = None) -> RunRecord:
    """A run's record with the places where its split and its teacher are now.

    Args:
        record: its `run.json`.
        split: the split file; by default that of the record.
        teacher: the weights or run folder that it started from; by default that of the record.

    Example:
        >>> record = RunRecord(status="finished", role="student", teacher="old/teacher")
        >>> moved(record, teacher="new/teacher").teacher
        'new/teacher'
    """
    return replace(
        record,
        split=replace(record.split, file=str(split or record.split.file)),
        teacher=None if teacher is None and record.teacher is None else str(teacher or record.teacher),
    )


def gone_problems(run: str | Path, record: RunRecord, needs: Sequence[str] = (SPLIT, TEACHER)) -> Iterator[str]:
    """Which files that a run was made from are not where they should be, and the option that says where they are.

    Args:
        run: the run folder.
        record: its record, after `moved`.
        needs: `split`, `teacher` or both; a run that is not a student's has no teacher.
    """
    if SPLIT in needs and not Path(record.split.file).is_file():
        yield (
            f"the split '{record.split.file}' of '{run}' {absence(record.split.file)}; if it was moved, say where it "
            "is now: --split FILE"
        )
    if TEACHER in needs and record.role == STUDENT and record.teacher and not Path(record.teacher).exists():
        yield (
            f"the teacher '{record.teacher}' of '{run}' does not exist; if it was moved, say where it is now: "
            "--teacher RUN or --teacher FILE"
        )


def own_split(run: str | Path, record: RunRecord) -> Split | None:
    """The split that a run was made with; None if it is gone, or another one was written in its place.

    It is where the record says, or beside the run folder, as a ledger and the folds of a cross-validation keep it.

    Args:
        run: the run folder.
        record: its `run.json`.
    """
    for file in (Path(record.split.file), Path(run).with_suffix(".json")):
        try:
            split = read_split(file) if file.is_file() else None
        except InputError:  # another file has this name now
            continue
        if split is not None and is_own(record, split):
            return split
    return None


def other_split(run: Path, record: RunRecord) -> list[str]:
    """Why the split of a record, after `moved`, is not the one that the run was made with."""
    file = Path(record.split.file)
    if not file.is_file() or file_sha256(file) == record.sha256.split:
        return []
    return changed_problems(run, record, read_split(file), {})
