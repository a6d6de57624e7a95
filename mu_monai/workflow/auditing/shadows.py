"""Shadow models: a pool of models trained like the audited one, each without other patients, kept for later audits."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mu_monai.audit import SHADOW
from mu_monai.bundle import Bundle
from mu_monai.bundle.config import read_config
from mu_monai.bundle.trust import STRANGER, Trust, literal_problems, received_config
from mu_monai.data import Split, read_split, split_content, unite_groups, write_split
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import link_problems, read_json, write_json
from mu_monai.keys import (
    CASE_ID,
    FORGET,
    MILESTONES_DIR,
    MODEL,
    PATIENT_ID,
    RETAIN,
    STUDENT,
    SUBSET,
    SUBSETS,
    TEACHER,
    TEST,
    VALIDATION,
)
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.registry import imported, method_at, registered
from mu_monai.runs import RunRecord, is_run, open_run
from mu_monai.runs.origin import target_of
from mu_monai.workflow.options import AuditOptions
from mu_monai.workflow.recipe import own_settings, recipe_of
from mu_monai.workflow.trained_alike import changed_settings, complete, digest, training_digest
from mu_monai.workflow.training import train
from mu_monai.workflow.unlearning import unlearn
from mu_monai.workflow.workers.job import Job
from mu_monai.workflow.workers.workers import Engine, run_jobs

POOL_JSON, OVERLAY_JSON, SPLIT_JSON = "pool.json", "overlay.json", "split.json"
logger = logging.getLogger(__name__)


def shadow_scores(
    run: str | Path,
    *,
    options: AuditOptions,
    teacher: str | Path | None = None,
    split: Split | None = None,
    trust: Trust = STRANGER,
    workers: Engine | None = None,
) -> pd.DataFrame:
    """Train the shadow models that a pool still lacks, and return the scores of all, for LiRA and U-LiRA.

    Every shadow model is trained with the config of the teacher's run on all retained patients and on half of the
    forgotten and unseen ones (`test`), drawn by patient. So it sees about as many patients as the teacher did, and only
    the attacked patients differ. Shadow models come in pairs; one is trained on the half that the other is not, so each
    patient is in exactly half of an even number. If the audited run was unlearned, every shadow model unlearns its half
    again, with the same method and settings. `validation` is never trained on.

    A pool belongs to one split and one training config and serves every run of them. It may be interrupted at any time
    and enlarged later; finished models are not trained again.

    Args:
        run: the audited run.
        options: options of the audit: how many shadow models, in which folder, and on which device they are trained.
        teacher: the run that trained the audited model; by default the teacher's run that the audited run names.
        split: a split to use instead of the run's, such as one whose files have moved.
        trust: how far the runs are trusted.
        workers: what trains them at the same time; None for one after the other in this process.

    Returns:
        the rows of every shadow model on the forgotten and unseen patients, as `audit.shadow_records` reads them.

    Raises:
        InputError: for fewer than 4 shadow models, no pool or one of another split or config, a teacher whose training
            is not known, a split with too few patients, or settings that would execute code.

    Source: LiRA: arXiv 2112.03570; U-LiRA: arXiv 2403.01218. We draw the halves of the attacked patients only.
    """
    if options.pool is None:
        raise InputError("shadow models are kept in a folder that later audits use again; name it with --pool")
    record = open_run(run).record
    trained = _training_run(run, record, teacher)
    training = open_run(trained).record
    split = split or read_split(record.split.file)
    raise_if_any([*options.problems(), *_problems(record, split, trained)])
    overlay = changed_settings(trained, training, "train", trust)
    pool = Path(options.pool)
    _claim(pool, training, overlay, split, trust)
    numbers = range(options.shadows)
    shadows = [_Shadow(pool / f"shadow-{number:03}", number, training, options, trust) for number in numbers]
    if workers is not None:
        _made(shadows, workers, (split, overlay, Path(run), record))
    tables = []
    for shadow in shadows:
        logger.info("shadow model %d of %d", shadow.number + 1, options.shadows)
        names = shadow.make(split, overlay, Path(run), record)
        tables += [shadow.scores(name, model) for name, model in zip(names, (TEACHER, STUDENT), strict=False)]
    return pd.concat(tables, ignore_index=True)


def _made(shadows: Sequence[_Shadow], workers: Engine, arguments: tuple[Any, ...]) -> None:
    """Make what a pool lacks on workers; all have ended when the first that failed is told."""
    jobs = [
        Job(name=f"shadow model {shadow.number + 1}", place=shadow.folder, function=shadow.make, arguments=arguments)
        for shadow in shadows
    ]
    errors = {done.job.place: done.error for done in run_jobs(workers, jobs) if done.error is not None}
    for place in sorted(errors):
        raise errors[place]


class _Shadow:
    """One shadow model's folder in the pool: its split, its training, and what was unlearned from it."""

    def __init__(self, folder: Path, number: int, training: RunRecord, options: AuditOptions, trust: Trust) -> None:
        self.folder, self.number, self.training, self.options, self.trust = folder, number, training, options, trust
        self.split = folder / SPLIT_JSON
        self.seed = f"seed={(training.seed or 0) + 1 + number}"  # not the teacher's seed

    def divide(self, split: Split) -> None:
        """Write its split, always the same: `forget` is the half that it is trained on, `test` the other half."""
        write_split(self.split, _shadow_split(split, self.number, self.training.seed or 0))

    def make(self, split: Split, overlay: Mapping[str, Any], run: Path, record: RunRecord) -> list[str]:
        """Make what its folder lacks; returns the names of its runs: of the model, and of what was unlearned from it.

        Args:
            split: the split of the audited run.
            overlay: the settings of the teacher's training.
            run: the audited run.
            record: its `run.json`.
        """
        self.divide(split)
        self.train(overlay)
        return [TEACHER, self.unlearn(run, record)] if record.verb == "unlearn" else [TEACHER]

    def train(self, overlay: Mapping[str, Any]) -> None:
        """Train it as the teacher was trained."""
        file = self._write_overlay(TEACHER, overlay)
        complete(
            self.folder / TEACHER,
            lambda out, resume: train(
                self.trust.bundle_of(self.training).place,
                split=self.split,
                out=out,
                settings=[self.seed],
                overlays=[file],
                resume=resume,
                device=self.options.device,
                quiet=self.options.quiet,
            ),
        )

    def unlearn(self, run: Path, record: RunRecord) -> str:
        """Unlearn its half as an audited run did; returns the name of the folder, which depends on all settings."""
        overlay, whole = _unlearning(run, record, self.trust)
        name = f"unlearned-{digest(whole)[:12]}"
        file = self._write_overlay(name, overlay)
        complete(
            self.folder / name,
            lambda out, resume: unlearn(
                self.trust.bundle_of(record).place,
                split=self.split,
                teacher=self.folder / TEACHER,
                out=out,
                settings=[self.seed],
                overlays=[file],
                resume=resume,
                trust=self.trust,
                device=self.options.device,
                quiet=self.options.quiet,
            ),
        )
        return name

    def scores(self, name: str, model: str) -> pd.DataFrame:
        """Its scores on the attacked patients."""
        table = open_run(self.folder / name).scores
        chosen = table[(table[MODEL] == model) & table[SUBSET].isin((FORGET, TEST))]
        return chosen.assign(**{SHADOW: self.number})

    def _write_overlay(self, name: str, overlay: Mapping[str, Any]) -> str:
        file = self.folder / f"{name}-{OVERLAY_JSON}"
        write_json(file, overlay)
        return str(file.resolve())


def _training_run(run: str | Path, record: RunRecord, teacher: str | Path | None) -> Path:
    """The run folder that says how the attacked model was trained."""
    if teacher is not None:
        folder = Path(teacher)
    else:
        folder = Path(run) if record.verb == "train" else Path(record.teacher or "").parent
    if not is_run(folder) or open_run(folder).record.verb != "train":
        raise InputError(
            f"how the model of '{run}' was trained is not known, since '{folder}' is not the folder of a training run; "
            "shadow models are trained the same way: give its training run as --teacher"
        )
    return folder


def _problems(record: RunRecord, split: Split, trained: Path) -> Iterator[str]:
    if (
        record.method is not None
        and record.method.settings.get("milestones")
        and not (trained / MILESTONES_DIR).is_dir()
    ):
        yield (
            f"the run was taken back to milestones from elsewhere, and shadow models, which are trained as '{trained}' "
            "was, keep none of their own; train a teacher that keeps them, or omit --shadows"
        )
    if record.forget_classes:
        yield (
            f"the run forgets the class {', '.join(record.forget_classes)} of all patients, and shadow models tell "
            "patients apart; omit --shadows"
        )
    yield from split.problems()
    patients = {name: len(split.patients(name)) for name in (FORGET, TEST)}
    if not patients[FORGET] or patients[TEST] < 2:
        yield (
            f"'{split.path}' has {patients[FORGET]} patients to forget and {patients[TEST]} for test; shadow models "
            "need at least 1 and 2: make a split with more"
        )


def _unlearning(run: Path, record: RunRecord, trust: Trust) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a run was unlearned: an overlay, and what it makes of the bundle's config and code.

    The overlay has its method with all settings and all values that its bundle lacks. Milestones are not among them: a
    shadow is taken back to its own, since those of the audited model have seen all patients.
    """
    assert record.method is not None  # an unlearning run has one
    settings = record.method.settings
    raise_if_any(
        f"the record of '{run}' holds code in the settings of the method ({text}), which must be data; do not trust "
        "this run"
        for text in literal_problems(settings, "method.settings")
    )
    bundle = trust.bundle_of(record)
    kind, overlay = _method_of(run, record, trust)
    parser = read_config(bundle.files("unlearn", overlay))
    made = recipe_of(kind, bundle, parser).get("method", parser.get("method"))
    own = {name: value for name, value in (made | settings).items() if name != "milestones"}
    laid = changed_settings(run, record, "unlearn", trust) | {"method": own}
    return laid, {"config": parser.get() | laid, **_code(bundle)}


def _method_of(run: Path, record: RunRecord, trust: Trust) -> tuple[type[UnlearningMethod], list[str]]:
    """The class of a run's method, and the bundle's own settings of it.

    The name in the run never causes an import: it is looked up among the registered methods and in the bundle's
    configs.

    Raises:
        InputError: if neither has it.
    """
    configured, bundle = received_config(run).get("method"), trust.bundle_of(record)
    method = record.method
    assert method is not None  # an unlearning run has one
    said = method.target or (configured.get("_target_") if isinstance(configured, Mapping) else None)
    target, known = str(said or method.name), {kind: name for name, kind in registered().items()}
    kind = method_at(target) if said else next((kind for kind in known if kind.__name__ == target), None)
    if kind is not None:
        return kind, own_settings(bundle, known[kind])
    offered = [(file.stem, read_json(file, dict).get("method")) for file in sorted(bundle.configs.glob("*.json"))]
    for name, own in [*offered, *([("unlearn", configured)] if trust.config else [])]:
        found = imported(own.get("_target_")) if isinstance(own, Mapping) else None
        if found is not None and target in (own["_target_"], target_of(found)):
            return found, [] if name == "unlearn" else [name]
    raise InputError(
        f"the method '{target}' of '{run}' is not registered by an installed package and not in a config of the bundle "
        f"'{bundle.place}', and a run alone cannot choose the code that is executed: install the method's package, "
        "name the bundle whose config has it (--bundle), or, if you know who made the run, use its config as it is "
        "(--trust-config)"
    )


def _code(bundle: Bundle) -> dict[str, str]:
    """The digest of the user's own modules, which a shipped bundle does not have."""
    return {} if bundle.parts is None else {"code": bundle.code_sha256}


def _claim(pool: Path, training: RunRecord, overlay: Mapping[str, Any], split: Split, trust: Trust) -> None:
    """Record in the pool what it is for; refuse a pool that is for something else."""
    now = {
        "format": 1,
        "bundle": training.bundle.name,
        "config": training_digest(training, overlay, trust),
        "split": digest(_people(split)),
        "seed": training.seed,
        **_code(trust.bundle_of(training)),
    }
    raise_if_any(link_problems(pool))
    file = pool / POOL_JSON
    if not file.is_file():
        if pool.is_dir() and any(pool.iterdir()):
            raise InputError(f"'{pool}' holds files and is not a pool of shadow models; give a new folder as --pool")
        write_json(file, now)
    before = read_json(file, dict)
    raise_if_any(
        f"the shadow models in '{pool}' are for another {name} ({before.get(name)}, now {value}); give another --pool"
        for name, value in now.items()
        if before.get(name) != value
    )


def _people(split: Split) -> list[list[str]]:
    """Which image of which patient is in which subset, regardless of file paths."""
    digests = {name: split.digests(name) for name in SUBSETS}
    return sorted(
        [name, case[PATIENT_ID], case[CASE_ID], digests[name][case[CASE_ID]]]
        for name in SUBSETS
        for case in split.rows[name]
    )


def _shadow_split(split: Split, number: int, seed: int) -> dict[str, Any]:
    """A split in which half of the forgotten and unseen patients are `forget` and the others `test`."""
    provenance, cases = split.provenance, split.located
    people = cases[FORGET] + cases[TEST]
    attacked = pd.DataFrame(people)
    groups = unite_groups(attacked[provenance.group_by], attacked[CASE_ID], provenance.together)
    chosen = groups.isin(_half(groups, attacked[SUBSET], number, seed)).to_numpy()
    divided = [{**case, SUBSET: FORGET if inside else TEST} for case, inside in zip(people, chosen, strict=True)]
    left_out = ("salt", "near_duplicates", "chosen_from")
    kept = {key: value for key, value in provenance.content.items() if key not in left_out}
    return split_content(
        cases[RETAIN] + cases[VALIDATION] + divided,
        digests=split.file_digests,
        made={**kept, "selector": None},
        found={"shadow": number},
    )


def _half(groups: pd.Series[str], subsets: pd.Series[str], number: int, seed: int) -> list[str]:
    """Half of the groups of each subset; an odd shadow model gets the half that the one before it left out."""
    rng = np.random.default_rng([seed, number // 2])
    half: list[str] = []
    for subset in (FORGET, TEST):
        drawn = rng.permutation(np.unique(groups[subsets == subset]))
        middle = (len(drawn) + rng.integers(2)) // 2
        half += list(drawn[middle:] if number % 2 else drawn[:middle])
    return half
