"""The inputs of an audit, the run and the models it is compared with: read and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.audit import case_groups
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.data import Split, open_split, read_split
from mu_monai.errors import collect, raise_if_any, unless_raised
from mu_monai.files import file_sha256
from mu_monai.keys import (
    ADAPTER_DIR,
    CASE_ID,
    FORGET,
    LABEL,
    LOSS,
    MODEL,
    MODEL_PT,
    RETRAINED,
    STUDENT,
    SUBSET,
    TEACHER,
    TEST,
)
from mu_monai.runs import RunRecord, Runs, has_scores, open_run, open_runs, scores_file
from mu_monai.runs.record import FINISHED, GONE, Digests, OfSplit, model_of
from mu_monai.workflow.auditing.attacking import chosen_attacks
from mu_monai.workflow.checks import changed_problems, device_problems
from mu_monai.workflow.moved import SPLIT, gone_problems, moved, other_split
from mu_monai.workflow.options import AuditOptions
from mu_monai.workflow.workers.workers import worker_problems

NO_SPLIT = "the split '{file}', which has the columns to group by, is gone or was replaced; give it as --split FILE"


@dataclass(frozen=True, kw_only=True)
class AuditInputs:
    """What is audited, and what it is compared with.

    Args:
        run: the folder of the student's run.
        record: its `run.json`.
        split: the split of the run; None if it is gone or was replaced by another one.
        teacher: the original model's weights or run folder; None if they are not known.
        options: how it is audited.
        trust: how far the runs are trusted.
    """

    run: Path
    record: RunRecord
    split: Split | None
    teacher: Path | None
    options: AuditOptions
    trust: Trust

    @property
    def references(self) -> list[Path]:
        """Folders of retrained models; the student is compared with the first."""
        return [Path(folder) for folder in self.options.references]

    @property
    def siblings(self) -> list[Path]:
        """Folders of the same unlearning with other seeds."""
        return [Path(folder) for folder in self.options.siblings]

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
    def split_file(self) -> Path:
        """The split file that the run names."""
        return Path(self.record.split.file)

    @property
    def read(self) -> dict[str, Path | None]:
        """The files and folders that are read, by option."""
        split = None if self.split is None else self.split_file
        return {"RUN": self.run / MODEL_PT, "--split": split, "--teacher": self.teacher}

    @cached_property
    def cases(self) -> pd.DataFrame | None:
        """All cases with their further columns; None if the split is not available."""
        return None if self.split is None else self.split.table.drop(columns=SUBSET)

    @property
    def weights(self) -> dict[str, str]:
        """The weights of every model by its role; those of further retrained models as `retrained-2` and so on."""
        found = {} if self.teacher is None else {TEACHER: str(self.teacher)}
        names = [RETRAINED, *(f"{RETRAINED}-{number}" for number in range(2, len(self.references) + 1))]
        found |= dict(zip(names, map(str, self.references), strict=False))
        return found | {STUDENT: str(self.run / MODEL_PT)}

    @property
    def needs_models(self) -> bool:
        """Whether the networks themselves are examined, and not only their scores."""
        return bool((self.options.distances and self.references) or self.options.attacks)


def read_inputs(
    run: str | Path,
    *,
    teacher: str | Path | None,
    split: str | Path | None,
    options: AuditOptions,
    trust: Trust,
) -> AuditInputs:
    """Read and check what an audit starts from.

    Args:
        run: the folder of the student's run.
        teacher: the file or folder given as the original model.
        split: the file given as the run's split.
        options: how it is to be audited.
        trust: how far the runs are trusted.

    Raises:
        InputError: every problem: a run that did not unlearn patients, models of other splits or with other roles,
            unknown attacks or columns, weights that are not those of the runs, too few shadow models.
    """
    run = Path(run)
    record = moved(open_run(run, MODEL_PT, ADAPTER_DIR).record, split=split, teacher=teacher)
    needs = [name for name, given in ((SPLIT, split), (TEACHER, teacher)) if given]
    raise_if_any(gone_problems(run, record, needs))
    file = Path(record.split.file)
    own = file.is_file() and (split is not None or file_sha256(file) == record.sha256.split)
    found = AuditInputs(
        run=run,
        record=record,
        split=read_split(file) if own else None,
        teacher=Path(record.teacher) if record.teacher else None,
        options=options,
        trust=trust,
    )
    raise_if_any(_role_problems(run, record))
    raise_if_any(
        collect(
            lambda: _score_problems(found),
            lambda: [] if split is None else other_split(run, record),
            lambda: _option_problems(found),
            lambda: device_problems(options.device),
            lambda: worker_problems(options.workers, options.gpus_per_job),
            lambda: _teacher_problems(found, teacher),
            lambda: _weight_problems(found),
        )
    )
    return found


def unscored_problems(out: Path, split: Split | None, options: AuditOptions) -> list[str]:
    """Why an audit of a model that is not scored yet would be refused.

    Args:
        out: the run folder that is to be made.
        split: its split; None if it is broken, so that nothing can be compared with it.
        options: how it is to be audited.
    """
    if split is None:
        options = replace(options, references=(), siblings=(), by=())
    digest, file = ("", "") if split is None else (split.sha256, str(split.path))
    record = RunRecord(status=FINISHED, role=STUDENT, sha256=Digests(split=digest), split=OfSplit(file=file))
    return _option_problems(
        AuditInputs(run=out, record=record, split=split, teacher=None, options=options, trust=STRANGER)
    )


def _option_problems(inputs: AuditInputs) -> list[str]:
    """What is wrong with the options, whether or not the model is scored already."""
    return collect(
        lambda: _compared_problems(inputs),
        lambda: _by_problems(inputs) if inputs.record.split.file else [],
        lambda: unless_raised(chosen_attacks(inputs.options.attacks)),
        lambda: list(inputs.options.problems()),
    )


def _role_problems(run: Path, record: RunRecord) -> Iterator[str]:
    if record.role != STUDENT:
        yield (
            f"'{run}' is the run of {record.whose}, and an audit tests what a model has forgotten; give an unlearning "
            "run, or a bundle with --weights for a model that was not unlearned by mu-monai"
        )
    elif record.forget_classes:
        yield (
            f"'{run}' forgot the classes {', '.join(record.forget_classes)} in every case, not patients, so membership "
            "cannot be audited; the report has a table of the classes"
        )
    elif record.forget_images == GONE:
        yield (
            f"'{run}' was made when the images of the forget cases were gone: there are no scores of them, so neither "
            "how far they are forgotten nor their membership can be audited; the report shows what was measured"
        )


def _score_problems(inputs: AuditInputs) -> list[str]:
    found = set(inputs.scores.loc[inputs.scores["model"] == STUDENT, SUBSET])
    broken = inputs.scores[~np.isfinite(inputs.scores[LOSS])]
    return [
        f"the loss of the {model} on case '{cases[CASE_ID].iloc[0]}'"
        f"{f' and {len(cases) - 1} others' if len(cases) > 1 else ''} is not a number, so it cannot be compared; a "
        "model with such weights is broken: train it again with a lower learning rate"
        for model, cases in broken.groupby(MODEL)
    ] + [
        f"'{inputs.run}' has no scored case of '{subset}'; an audit compares forgotten with unseen (test) patients: "
        "use a split that has both"
        for subset in (FORGET, TEST)
        if subset not in found
    ]


def other_problems(folders: Sequence[Path], role: str, split: str, option: str) -> list[str]:
    """Why further runs are not of the run's split (SHA-256), or do not have the required role."""
    problems = []
    for folder in folders:
        run = open_run(folder, MODEL_PT)
        run.check(scores_file(folder).name)
        other = run.record
        if other.role != role:
            problems.append(f"{option} '{folder}' is the run of {other.whose}; give that of {model_of(role)}")
        if other.sha256.split != split:
            problems.append(f"{option} '{folder}' was made with another split; give a run of the same split")
    return problems


def _compared_problems(inputs: AuditInputs) -> list[str]:
    """Why the retrained models, or the siblings, are not what the run can be compared with."""
    split = inputs.record.sha256.split
    problems = collect(
        lambda: other_problems(inputs.references, RETRAINED, split, "--reference"),
        lambda: other_problems(inputs.siblings, STUDENT, split, "--sibling"),
    )
    return problems or [*_copy_problems(inputs), *_sibling_problems(inputs)]


def copy_problems(option: str, folders: Sequence[Path], seen: dict[str, Path]) -> Iterator[str]:
    """Which runs have the weights of another that was given: the spread over seeds would be too small.

    Args:
        option: how the runs were given, such as `--reference`.
        folders: run folders.
        seen: the folder of each digest of weights that was seen before; those of `folders` are added.
    """
    for folder in folders:
        weights = open_run(folder, MODEL_PT).record.sha256.weights
        first = seen.setdefault(weights, folder)
        if weights and first is not folder:
            yield f"{option} '{folder}' has the weights of '{first}'; give every model once, each of another seed"


def _copy_problems(inputs: AuditInputs) -> Iterator[str]:
    """The run itself may have the weights of a retrained model, which is what exact forgetting is."""
    yield from copy_problems("--reference", inputs.references, {})
    yield from copy_problems("--sibling", inputs.siblings, {inputs.record.sha256.weights: inputs.run})


def _sibling_problems(inputs: AuditInputs) -> Iterator[str]:
    """In what the siblings differ from the run beyond the seed; a model that is not scored yet has no record."""
    if not inputs.record.bundle.name:
        return
    own = _unlearned_by(inputs.record)
    for folder in inputs.siblings:
        other = _unlearned_by(open_run(folder, MODEL_PT).record)
        apart = [f"{name} {other[name]!r} instead of {own[name]!r}" for name in own if own[name] != other[name]]
        if apart:
            yield (
                f"--sibling '{folder}' is not the same unlearning as '{inputs.run}' ({'; '.join(apart)}); give a run "
                "that differs in its seed alone"
            )


def _unlearned_by(record: RunRecord) -> dict[str, object]:
    method = record.method
    return {
        "bundle": record.bundle.name,
        "method": method.name if method else None,
        "settings": dict(method.settings) if method else {},
        "max_epochs": record.max_epochs,
    }


def _by_problems(inputs: AuditInputs) -> list[str]:
    by = inputs.options.by
    if inputs.cases is None:
        return [f"--by {', '.join(by)}: {NO_SPLIT.format(file=inputs.split_file)}"] if by else []
    scored = has_scores(inputs.run)  # otherwise, a label may be a class
    return unless_raised(case_groups(inputs.cases, by, classes=not scored or LABEL in inputs.scores.columns))


def _teacher_problems(inputs: AuditInputs, given: str | Path | None) -> list[str]:
    """Why the given original model is not the run's; if networks are examined, all weights are checked."""
    if given is None or inputs.needs_models:
        return []
    wanted = inputs.record.sha256.starting_weights
    if wanted is None:
        return changed_problems(inputs.run, inputs.record, None, {TEACHER: str(given)})
    found = weights_sha256(read_weights(given))
    if wanted == found:
        return []
    return [
        f"--teacher '{given}' is not the model that '{inputs.run}' started from (SHA-256 {found}; run.json names "
        f"{wanted}); give the original"
    ]


def _weight_problems(inputs: AuditInputs) -> list[str]:
    """Networks are examined only if they and the split are the run's own, and on the images that were scored."""
    if not inputs.needs_models:
        return []
    raise_if_any(gone_problems(inputs.run, inputs.record))
    own = {role: path for role, path in inputs.weights.items() if role in (TEACHER, STUDENT)}
    split = inputs.split or open_split(inputs.split_file)
    return [*changed_problems(inputs.run, inputs.record, split, own), *split.changed_files]
