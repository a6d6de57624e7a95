"""A ledger with what its pseudonyms mean: the salt, and the split of the first version."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from mu_monai.data import Split, read_split, with_forgotten
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import absence, file_sha256, has_sha256, sync_folder
from mu_monai.keys import CASE_ID, CONFIG_JSON, FORGET, MODEL, MODEL_PT, STUDENT, TEACHER, TRAINING_SUBSETS
from mu_monai.record import (
    Ledger,
    Version,
    append,
    commitment,
    hash_ids,
    is_ledger,
    new_salt,
    pseudonym,
    read_evidence,
    read_ledger,
    read_salt,
    write_evidence,
    write_salt,
)
from mu_monai.runs import Run, has_scores, open_run

SALT_TXT, EVIDENCE_DIR = "ledger-salt.txt", "evidence"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A ledger whose pseudonyms can be told.

    Args:
        ledger: the ledger.
        salt: the salt of its pseudonyms.
        base: the split of the first version, in which nobody is to be forgotten whom that version was trained on.
    """

    ledger: Ledger
    salt: bytes
    base: Split

    @cached_property
    def _cases(self) -> dict[str, str]:
        """The ids of the training cases by their pseudonyms."""
        rows = [row for name in TRAINING_SUBSETS for row in self.base.rows[name]]
        return {pseudonym("case", row[CASE_ID], self.salt): row[CASE_ID] for row in rows}

    def cases(self, requests: Iterable[int]) -> set[str]:
        """The ids of the cases of some requests."""
        asked = {case: number for number in requests for case in self.ledger.requests[number].cases}
        raise_if_any(
            f"request {number} names cases that the split '{self.base.path}' of the first version does not have; put "
            "the original split back"
            for number in sorted({number for case, number in asked.items() if case not in self._cases})
        )
        return {self._cases[case] for case in asked}

    def split(self, requests: Iterable[int]) -> Split:
        """The split with the cases of some requests to be forgotten, and those that the first version forgot."""
        before = {row[CASE_ID] for row in self.base.rows[FORGET]}
        return with_forgotten(self.base, before | self.cases(requests))


def open_ledger(folder: str | Path, split: str | Path | None = None) -> Opened:
    """Open a ledger.

    Args:
        folder: its folder.
        split: the split of the first version, if it is no longer where its run found it.

    Raises:
        InputError: if there is none, it was edited, cut or forked, its salt is another one, or the split of the first
            version is gone or another one.
    """
    ledger = read_ledger(folder)
    first, salt = ledger.first, read_salt(Path(folder) / SALT_TXT)
    if first.salt != commitment("ledger", first.weights, salt):
        raise InputError(
            f"'{Path(folder) / SALT_TXT}' is not the salt of this ledger, so nobody in it can be recognized; put the "
            "original file back"
        )
    file = split_of(ledger.folder, first) if split is None else checked_split(1, first.split, Path(split))
    return Opened(ledger=ledger, salt=salt, base=retained(read_split(file), first.role))


def not_begun(folder: str | Path, run: Run, split: str | Path | None = None) -> Opened:
    """A ledger as it would begin with a run, with a salt of its own; nothing is written.

    Args:
        folder: the folder that it would have.
        run: the run of a finished model.
        split: its split, if it is no longer where the run found it.

    Raises:
        InputError: if the split is another one, or the run's scores cannot be read.
    """
    salt, digest = new_salt(), run.record.sha256.split
    if has_scores(run.folder):
        hash_ids(run.scores, salt)  # which the ledger keeps
    file = run.split if split is None else checked_split(1, digest, Path(split))
    return Opened(ledger=Ledger(Path(folder)), salt=salt, base=retained(read_split(file), run.role))


def begin_ledger(folder: str | Path, run: Run, split: str | Path | None = None) -> None:
    """Begin a ledger with the run of a finished model; nothing happens if it began with that model already.

    Args:
        folder: its folder.
        run: the run.
        split: its split, if it is no longer where the run found it.

    Raises:
        InputError: if the ledger began with another model.
    """

    def first(ledger: Ledger) -> Version:
        raise_if_any(_other_first(ledger, run))
        file = Path(folder) / SALT_TXT
        if not file.exists():
            staged = file.with_name(f".{SALT_TXT}")  # so that a kill leaves no empty salt
            staged.unlink(missing_ok=True)
            write_salt(staged, new_salt())
            os.replace(staged, file)
            sync_folder(file.parent)
        salt = read_salt(file)
        said = commitment("ledger", run.record.sha256.weights, salt)
        version = replace(made_version(Path(folder), 1, run, salt), salt=said)
        return version if split is None else replace(version, split_file=_told(Path(folder), Path(split)))

    if is_ledger(folder):
        raise_if_any(_other_first(read_ledger(folder), run))
    else:
        Path(folder).mkdir(parents=True, exist_ok=True)
        append(folder, first)


def _other_first(ledger: Ledger, run: Run) -> list[str]:
    if not ledger.entries or ledger.first.weights == run.record.sha256.weights:
        return []
    return [
        f"the ledger in '{ledger.folder}' began with another model, '{ledger.place(ledger.first)}'; leave out --run, "
        "or give another folder for this model"
    ]


def made_version(folder: Path, number: int, run: Run, salt: bytes) -> Version:
    """The entry of a run, whose scores are written beside the ledger with pseudonyms for ids."""
    evidence = None
    if has_scores(run.folder):
        scores = run.scores[run.scores[MODEL] == run.role]
        file = evidence_file(folder, number)
        write_evidence(hash_ids(scores, salt), file)
        evidence = file_sha256(file)
    return Version(
        number=number,
        run=_told(folder, run.folder),
        role=run.role,
        weights=run.record.sha256.weights,
        split=run.record.sha256.split,
        split_file=_told(folder, run.split),
        evidence=evidence,
    )


def evidence_file(folder: Path, number: int) -> Path:
    """Where the scores of a version are, with pseudonyms for ids."""
    return folder / EVIDENCE_DIR / f"version-{number}.csv"


def evidence_of(folder: Path, version: Version) -> pd.DataFrame | None:
    """The scores of a version with pseudonyms for ids; None if it had none.

    Raises:
        InputError: if they are gone, or not those that the ledger names.
    """
    if version.evidence is None:
        return None
    file = evidence_file(folder, version.number)
    if not has_sha256(file, version.evidence):
        raise InputError(
            f"'{file}', the scores of version {version.number}, is {'changed' if file.is_file() else 'missing'}, and "
            "what came back cannot be told without them; put the original file back"
        )
    return read_evidence(file)


def split_of(folder: Path, version: Version) -> Path:
    """The split of a version: beside its run folder if that was moved with it, or where its run found it.

    Raises:
        InputError: if neither file is that split.
    """
    beside = folder / Path(version.run).with_suffix(".json")
    return checked_split(version.number, version.split, *(beside, folder / version.split_file))


def checked_split(number: int, digest: str, *files: Path) -> Path:
    """The first of some files that is the split of a version.

    Raises:
        InputError: if none is.
    """
    found = next((file for file in files if has_sha256(file, digest)), None)
    if found is None:
        what = "is another one" if files[-1].is_file() else absence(files[-1])
        elsewhere = ", or say where it is now: --split FILE" if number == 1 else ""
        raise InputError(f"the split '{files[-1]}' of version {number} {what}; put it back{elsewhere}")
    return found


def first_run(folder: str | Path, split: str | Path | None = None) -> Run:
    """Open the run that a ledger can begin with.

    Args:
        folder: its folder.
        split: its split, if it is no longer where the run found it.

    Raises:
        InputError: if it is not finished, forgot classes, or its split is gone or another one.
    """
    run = open_run(folder, MODEL_PT, CONFIG_JSON)
    problems = []
    if run.forget_classes:
        problems.append(
            f"'{folder}' forgot classes ({', '.join(run.forget_classes)}), and a ledger is about patients; begin it "
            "with the model that was trained on all of them"
        )
    file = run.split if split is None else Path(split)
    if not has_sha256(file, run.record.sha256.split):
        problems.append(
            f"the split '{file}' that '{folder}' was made with is gone or another one, and a ledger tells by it who "
            "can be forgotten; put it back, or say where it is now: --split FILE"
        )
    raise_if_any(problems)
    return run


def retained(split: Split, role: str) -> Split:
    """The split of a first version: what it was trained on is to be retained until somebody asks."""
    if role == STUDENT:
        return split
    if role == TEACHER:
        return with_forgotten(split, ())
    return replace(split, rows={**split.rows, FORGET: []})  # a retrained model was trained without these


def _told(folder: Path, run: Path) -> str:
    """The path of a run as a ledger names it: relative inside of its folder, which may move."""
    inside, place = folder.resolve(), run.resolve()
    return place.relative_to(inside).as_posix() if place.is_relative_to(inside) else os.fspath(place)
