"""What an audit starts from: the run and the models beside it, read and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.audit import LEAST_SHADOWS, case_groups
from mu_monai.bundle.trust import Trust
from mu_monai.data import read_split
from mu_monai.errors import InputError, collect, raise_if_any, unless_raised
from mu_monai.files import file_sha256
from mu_monai.keys import (
    ADAPTER_DIR,
    FORGET,
    LABEL,
    MODEL_PT,
    RETRAINED,
    SCORES_CSV,
    STUDENT,
    SUBSET,
    SUBSETS,
    TEACHER,
    TEST,
)
from mu_monai.runs import RunRecord, Runs, open_run, open_runs
from mu_monai.runs.record import FINISHED, Digests, OfSplit
from mu_monai.workflow.auditing.attacking import chosen_attacks
from mu_monai.workflow.checks import changed_problems, device_problems


@dataclass(frozen=True, kw_only=True)
class AuditInputs:
    """What is audited, and beside what.

    Args:
        run: the folder of the student's run.
        record: its `run.json`.
        references: folders of retrained models, made with different seeds; the first is what the student is compared
            with.
        siblings: folders of the same unlearning with other seeds.
        teacher: the original model's weights or run folder; none where they are not known.
        attacks: the attacks to run.
        shadows: how many shadow models; 0 for none.
        pool: the folder of shadow models.
        by: the columns to group cases by; none for all that have groups.
        seed: seed of draws and attacks.
        distances: whether networks are compared with the retrained model's.
        device: such as `cpu` or `cuda:0`; by default a GPU where there is one.
        quiet: no progress bars.
        trust: what is known of where the runs come from.
    """

    run: Path
    record: RunRecord
    references: Sequence[Path]
    siblings: Sequence[Path]
    teacher: Path | None
    attacks: Sequence[str]
    shadows: int
    pool: Path | None
    by: Sequence[str]
    seed: int
    distances: bool
    device: str | None
    quiet: bool
    trust: Trust

    @cached_property
    def runs(self) -> Runs:
        """The student's run and that of the first retrained model."""
        return open_runs([self.run, *self.references[:1]], shown=False)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The scores of all models."""
        return self.runs.scores

    def tables(self, folders: Sequence[Path]) -> list[pd.DataFrame]:
        """The scores of further runs on the same split."""
        return [open_runs([folder], shown=False).scores for folder in folders]

    @property
    def split(self) -> Path:
        """The split file that the run names."""
        return Path(self.record.split.file)

    @cached_property
    def cases(self) -> pd.DataFrame | None:
        """All cases with their further columns; none where the split is no longer there, or another one by now."""
        if not self.split.is_file() or file_sha256(self.split) != self.record.sha256.split:
            return None
        content = read_split(self.split)
        return pd.DataFrame([case for name in SUBSETS for case in content[name]])

    @property
    def weights(self) -> dict[str, str]:
        """The weights of every model by its role; those of further retrained models as `retrained-2` and so on."""
        found = {} if self.teacher is None else {TEACHER: str(self.teacher)}
        names = [RETRAINED, *(f"{RETRAINED}-{number}" for number in range(2, len(self.references) + 1))]
        found |= dict(zip(names, map(str, self.references), strict=False))
        return found | {STUDENT: str(self.run / MODEL_PT)}

    @property
    def needs_models(self) -> bool:
        """Whether networks are looked at, and not their scores alone."""
        return bool((self.distances and self.references) or self.attacks)


def read_inputs(
    run: str | Path,
    *,
    teacher: str | Path | None,
    **options: Any,
) -> AuditInputs:
    """Read and check what an audit starts from.

    Args:
        run: the folder of the student's run.
        teacher: what was given as the original model.
        **options: the other fields of `AuditInputs`, paths also as text.

    Raises:
        InputError: every problem: a run that is not an unlearned model of patients, models of other splits or in other
            roles, unknown attacks or columns, weights that are not those of the runs, too few shadow models.
    """
    run, record = Path(run), open_run(run, MODEL_PT, ADAPTER_DIR).record
    found = _inputs(run, record, teacher or record.teacher, **options)
    raise_if_any(_role_problems(run, record))
    raise_if_any(
        collect(
            lambda: _score_problems(found),
            lambda: _option_problems(found),
            lambda: device_problems(found.device),
            lambda: _teacher_problems(found, teacher),
            lambda: _weight_problems(found),
        )
    )
    return found


def unscored_problems(out: Path, split: Path | None, options: Mapping[str, Any]) -> list[str]:
    """Why an audit of a model that is yet to be scored would be refused.

    Args:
        out: the run folder that is to be made.
        split: its split; none where that is broken, and nothing can be compared with it.
        options: `references`, `siblings`, `attacks`, `shadows`, `pool`, `by` and `seed` of the audit.
    """
    if split is None:
        options = {**options, "references": (), "siblings": (), "by": ()}
    digest = "" if split is None else file_sha256(split)
    record = RunRecord(
        status=FINISHED, role=STUDENT, sha256=Digests(split=digest), split=OfSplit(file=str(split or ""))
    )
    return _option_problems(
        _inputs(out, record, None, **options, distances=True, device=None, quiet=True, trust=Trust())
    )


def _inputs(
    run: Path,
    record: RunRecord,
    teacher: str | Path | None,
    *,
    references: Sequence[str | Path],
    siblings: Sequence[str | Path],
    pool: str | Path | None,
    **options: Any,
) -> AuditInputs:
    return AuditInputs(
        run=run,
        record=record,
        references=[Path(path) for path in references],
        siblings=[Path(path) for path in siblings],
        teacher=Path(teacher) if teacher else None,
        pool=None if pool is None else Path(pool),
        **options,
    )


def _option_problems(inputs: AuditInputs) -> list[str]:
    """What is wrong with the options, whether the model is scored already or not."""
    return collect(
        lambda: other_problems(inputs.references, RETRAINED, inputs.record.sha256.split, "--reference"),
        lambda: other_problems(inputs.siblings, STUDENT, inputs.record.sha256.split, "--sibling"),
        lambda: _by_problems(inputs) if inputs.record.split.file else [],
        lambda: unless_raised(chosen_attacks(inputs.attacks)),
        lambda: list(_shadow_problems(inputs)),
        lambda: _seed_problems(inputs.seed),
    )


def _role_problems(run: Path, record: RunRecord) -> Iterator[str]:
    if record.role != STUDENT:
        yield (
            f"'{run}' is the run of a {record.role}, and an audit asks what a model has forgotten; give an "
            "unlearning run, or a bundle with --weights for a model that was not unlearned here"
        )
    elif record.forget_classes:
        yield (
            f"'{run}' forgot the classes {', '.join(record.forget_classes)} in every case and no patient, so nobody "
            "is to be told apart; the report has a table of the classes"
        )


def _score_problems(inputs: AuditInputs) -> list[str]:
    found = set(inputs.scores.loc[inputs.scores["model"] == STUDENT, SUBSET])
    return [
        f"'{inputs.run}' has no scored case of '{subset}'; an audit compares forgotten with unseen (test) patients: "
        "use a split that has both"
        for subset in (FORGET, TEST)
        if subset not in found
    ]


def other_problems(folders: Sequence[Path], role: str, split: str, option: str) -> list[str]:
    """Why runs that are given beside another are not of its split (SHA-256), or not of the wanted role."""
    problems = []
    for folder in folders:
        other = open_run(folder, MODEL_PT, SCORES_CSV).record
        if other.role != role:
            problems.append(f"{option} '{folder}' is the run of a {other.role}; give that of a {role} model")
        if other.sha256.split != split:
            problems.append(f"{option} '{folder}' is of another split than the run; give one of the same split")
    return problems


def _by_problems(inputs: AuditInputs) -> list[str]:
    if inputs.cases is None:
        split = f"split '{inputs.split}' is no longer there, and with it the columns to group by"
        return [f"--by {', '.join(inputs.by)}: the {split}; put it back"] if inputs.by else []
    scored = (inputs.run / SCORES_CSV).is_file()  # else a label may be a class
    return unless_raised(case_groups(inputs.cases, inputs.by, classes=not scored or LABEL in inputs.scores.columns))


def _shadow_problems(inputs: AuditInputs) -> Iterator[str]:
    if bool(inputs.shadows) != bool(inputs.pool):
        yield "--shadows N and --pool FOLDER belong together: how many shadow models there are to be, and where"
    if inputs.shadows and inputs.shadows < LEAST_SHADOWS:
        yield f"--shadows {inputs.shadows} is not allowed; LiRA takes at least {LEAST_SHADOWS}, better 16"


def _seed_problems(seed: int) -> list[str]:
    return [f"--seed {seed} is not allowed; use 0, 1, 2 ..."] if seed < 0 else []


def _teacher_problems(inputs: AuditInputs, given: str | Path | None) -> list[str]:
    """Why what was given as the original model is not that of the run; where models are looked at, all are checked."""
    if given is None or inputs.needs_models:
        return []
    found, wanted = weights_sha256(read_weights(given)), inputs.record.sha256.starting_weights
    if wanted in (None, found):
        return []
    return [
        f"--teacher '{given}' is not the model that '{inputs.run}' was made from (SHA-256 {found}, in its run.json "
        f"{wanted}); give the original"
    ]


def _weight_problems(inputs: AuditInputs) -> list[str]:
    """Models are looked at only where they and the split are those of the run."""
    if not inputs.needs_models:
        return []
    if not inputs.split.is_file():
        raise InputError(f"the split '{inputs.split}' of '{inputs.run}' is no longer there; put it back")
    own = {role: path for role, path in inputs.weights.items() if role in (TEACHER, STUDENT)}
    return changed_problems(inputs.run, inputs.record, inputs.split, own)
