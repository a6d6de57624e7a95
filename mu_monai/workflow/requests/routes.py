"""The routes by which requests can be answered, best first: exact before approximate before training anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mu_monai.adapters import read_weights
from mu_monai.adapters.milestones import find_milestones
from mu_monai.adapters.rewriting import own_weights_problems
from mu_monai.bundle.config import run_config
from mu_monai.bundle.trust import Trust
from mu_monai.data import Split, read_split
from mu_monai.errors import InputError, collect, raise_if_any, unless_raised
from mu_monai.files import write_json
from mu_monai.keys import MILESTONES_DIR, MODEL_PT, RETAIN, VALIDATION
from mu_monai.methods.retraining import Retraining
from mu_monai.record import Answer, Ledger, Start
from mu_monai.runs import Run, is_finished, open_run
from mu_monai.runs.record import TRAIN
from mu_monai.runs.shards import has_shards
from mu_monai.workflow.evaluating import scored_instead
from mu_monai.workflow.quiet import quiet
from mu_monai.workflow.sharding.folds import rollback
from mu_monai.workflow.sharding.refitting import unlearn_exactly
from mu_monai.workflow.sharding.taking import taking
from mu_monai.workflow.sharding.trained_folds import find_folds
from mu_monai.workflow.trained_alike import changed_settings, complete
from mu_monai.workflow.training import train
from mu_monai.workflow.unlearning import unlearn

REWIND, CALIBRATED = "rewind", "calibrated-erase-to-retain"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A version that is to be made.

    Args:
        first: the run of the first version; None if it is gone.
        current: the run of the version in use.
        start: what the version answers, and with which options.
        split: its split.
        out: its run folder.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.
        trust: how far the runs are trusted.
    """

    first: Run | None
    current: Run
    start: Start
    split: Path
    out: Path
    device: str | None
    quiet: bool
    trust: Trust

    @property
    def source(self) -> Run:
        """Where approximate routes start: the first version, so that approximations do not pile up; or that in use."""
        return self.first or self.current

    @property
    def sharded(self) -> Run:
        """The version in use if it is an average of shards, or else the source."""
        return self.current if has_shards(self.current.folder) else self.source

    @cached_property
    def opened(self) -> Split:
        """Its split, opened."""
        return read_split(self.split)

    def bundle(self, run: Run) -> Path:
        """The bundle that a run was made with."""
        return self.trust.bundle_of(run.record).place


@dataclass(frozen=True, kw_only=True)
class Route:
    """A way to answer requests.

    Args:
        exact: whether the result is a model that never saw the forgotten.
        risk: one sentence.
        problems: why it is not possible for a job.
        make: makes the version, or only says what that would take (`plan`).
        tunable: whether it takes settings.
    """

    exact: bool
    risk: str
    problems: Callable[[Job], list[str]]
    make: Callable[[Job, bool, bool], object]  # plan, resume
    tunable: bool = False


def _rollback_problems(job: Job) -> list[str]:
    if job.start.folds is None:
        return ["no models of a cross-validation are known; name their folder with --folds, if there is one"]
    with quiet("mu_monai", logging.ERROR):
        return collect(lambda: _unfit_folds(job), lambda: unless_raised(_rollback(job, True, False)))


def _unfit_folds(job: Job) -> Iterator[str]:
    """Which folds cannot be used here, and can only be planned."""
    for fold in find_folds(job.start.folds or ""):
        if fold.run is None:
            yield f"the network of {fold.name} cannot be built here"


def _rollback(job: Job, plan: bool, resume: bool) -> object:
    assert job.start.folds is not None
    return rollback(
        job.start.folds,
        split=job.split,
        out=job.out,
        teacher=job.current.folder,
        forget_images_gone=job.start.forget_images_gone,
        plan=plan,
        resume=resume,
        device=job.device,
        quiet=job.quiet,
        trust=job.trust,
    )


def _shards_problems(job: Job) -> list[str]:
    if not has_shards(job.sharded.folder):
        return ["the model was not trained in shards"]
    with quiet("mu_monai", logging.ERROR):
        return collect(lambda: unless_raised(_shards(job, True, False)))


def _shards(job: Job, plan: bool, resume: bool) -> object:
    bundle = job.bundle(job.sharded)
    return unlearn_exactly(
        bundle,
        split=job.split,
        teacher=job.sharded.folder,
        out=job.out,
        forget_images_gone=job.start.forget_images_gone,
        plan=plan,
        resume=resume,
        device=job.device,
        quiet=job.quiet,
        trust=replace(job.trust, bundle=bundle),
    )


def _rewind_problems(job: Job) -> list[str]:
    return collect(lambda: unless_raised(find_milestones(job.source.folder / MILESTONES_DIR)))


def _calibrated_problems(job: Job) -> list[str]:
    problems = ["it needs the images of the forgotten, which are gone"] if job.start.forget_images_gone else []
    return problems if job.opened.rows[VALIDATION] else [*problems, "the split has no validation cases"]


def _by_method(method: str) -> Callable[[Job, bool, bool], object]:
    def make(job: Job, plan: bool, resume: bool) -> object:
        bundle = job.bundle(job.source)
        return unlearn(
            bundle,
            split=job.split,
            teacher=job.source.folder,
            out=job.out,
            method=method,
            budget=job.start.budget,
            forget_images_gone=job.start.forget_images_gone,
            settings=job.start.settings,
            plan=plan,
            resume=resume,
            device=job.device,
            quiet=job.quiet,
            trust=replace(job.trust, bundle=bundle),
        )

    return make


def _retraining_problems(job: Job) -> list[str]:
    if job.first is None or job.first.record.verb != TRAIN:
        return ["the training that the model came from is not known here; train a new model, and begin a new ledger"]
    first = job.first
    problems = [] if job.start.budget is None else ["--budget is a share of a training, and this is one"]
    return problems + collect(
        lambda: unless_raised(changed_settings(first.folder, first.record, TRAIN, job.trust)),
        lambda: own_weights_problems(read_weights(first.folder / MODEL_PT)),
    )


def _retraining(job: Job, plan: bool, resume: bool) -> object:
    """Train on the retained cases, in a folder beside, and take the weights: the version is a run like any other."""
    assert job.first is not None
    if resume and scored_instead(job.out, job.device, job.trust, split=job.split, teacher=job.source.folder):
        return job.out
    record = job.first.record
    if plan:
        passes = record.cost.passes
        known = "how many sample passes that is, its run does not say" if passes is None else f"{passes} sample passes"
        logger.info("the run would take what the first training took: %s", known)
        return job.out
    training = job.out.with_name(f"{job.out.name}-training")
    complete(training, lambda out, again: _trained_anew(job, out, again))
    trained = open_run(training, MODEL_PT).record
    if (trained.sha256.split, trained.subsets) != (job.start.split, (RETAIN,)):
        raise InputError(
            f"'{training}' is not a training without those who version {job.start.version} forgets; move it away, and "
            "give the same command again"
        )
    config = taking(
        Retraining,
        {"weights": str(training.resolve())},
        bundle=job.trust.bundle_of(record),
        split=job.opened,
        teacher=job.source.folder,
        out=job.out,
        trust=job.trust,
        gone=job.start.forget_images_gone,
        device=job.device,
        quiet=job.quiet,
        resume=resume,
    )
    run_config(config.files, config.overrides)
    return job.out


def _trained_anew(job: Job, out: Path, resume: bool) -> None:
    overlay, record = job.out.with_name(f"{job.out.name}-settings.json"), job.source.record
    write_json(overlay, changed_settings(job.source.folder, record, TRAIN, job.trust))
    train(
        job.bundle(job.source),
        split=job.split,
        out=out,
        subsets=[RETAIN],
        forget_images_gone=job.start.forget_images_gone,
        settings=[f"seed={record.seed}", *job.start.settings],
        overlays=[str(overlay.resolve())],
        resume=resume,
        device=job.device,
        quiet=job.quiet,
    )


ROUTES: dict[str, Route] = {
    "rollback": Route(
        exact=True,
        risk="None from the weights, which never saw the forgotten; what was decided by looking at the held-out fold, "
        "such as settings, stays. The model was trained on one fold less.",
        problems=_rollback_problems,
        make=_rollback,
    ),
    "shards": Route(
        exact=True,
        risk="None from the adapters, which are those of a training without the forgotten; a base that was trained on "
        "them still knows them.",
        problems=_shards_problems,
        make=_shards,
    ),
    REWIND: Route(
        exact=False,
        risk="Approximate: what the milestone had learned from the forgotten stays; only what is measured is known.",
        problems=_rewind_problems,
        make=_by_method(REWIND),
        tunable=True,
    ),
    CALIBRATED: Route(
        exact=False,
        risk="Approximate: losses of the forgotten are raised to those of unseen patients, and further training may "
        "bring some of it back.",
        problems=_calibrated_problems,
        make=_by_method(CALIBRATED),
        tunable=True,
    ),
    "retraining": Route(
        exact=True,
        risk="None from the weights, which never saw the forgotten; it costs a whole training.",
        problems=_retraining_problems,
        make=_retraining,
        tunable=True,
    ),
}


def chosen_route(job: Job, ledger: Ledger, given: str | None) -> tuple[str, list[str]]:
    """The first route that is possible and was not refused for these requests, and why no better one.

    Args:
        job: the version that is to be made; its route is not looked at.
        ledger: the ledger.
        given: the route that the user chose, which must be possible.

    Raises:
        InputError: if the given route, or every route, is not possible.
    """
    if given is not None and given not in ROUTES:
        raise InputError(f"--route {given} is not known; use one of {', '.join(ROUTES)}")
    refused = ledger.refused_routes(job.start.requests)
    why: list[str] = []
    for name in ROUTES if given is None else [given]:
        problems = list(_problems(ROUTES[name], job, None if given else refused.get(name)))
        if not problems:
            return name, why if given is None else ["it was chosen with --route"]
        why += [f"{name} is not possible: {'; '.join(problems)}"]
    raise InputError([*why, "no route is left for these requests; correct what stands in the way, or retrain by hand"])


def _problems(route: Route, job: Job, refused: Answer | None) -> Iterator[str]:
    if refused is not None:
        back = ", ".join(map(str, refused.came_back))
        yield f"version {refused.version.number}, made in this way, was refused, since request {back} came back in it"
    if not route.tunable and job.start.settings:
        yield "it takes no --set"
    yield from route.problems(job)


def run_of(ledger: Ledger, number: int) -> Run | None:
    """The run of a version; None if it is gone.

    Raises:
        InputError: if its folder holds other weights than the version had.
    """
    version = ledger.versions[number]
    if not is_finished(ledger.place(version)):
        return None
    run = open_run(ledger.place(version))
    raise_if_any(
        [f"'{run.folder}' is not version {number}: its weights are others; put the original folder back"]
        if run.record.sha256.weights != version.weights
        else []
    )
    return run
