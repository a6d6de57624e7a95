"""Answer all waiting requests with one new version, and audit every earlier one again."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from mu_monai.audit import came_back, loss_membership
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.data import ForgetIds, reselect, write_split
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import file_sha256
from mu_monai.keys import MODEL_PT
from mu_monai.lock import writes
from mu_monai.record import Answer, Ledger, Membership, Recheck, Start, append, without_nan
from mu_monai.runs import Run, open_run
from mu_monai.runs.record import training_passes
from mu_monai.workflow.options import RequestOptions
from mu_monai.workflow.quiet import quiet
from mu_monai.workflow.requests.opened import Opened, checked_split, evidence_of, made_version, open_ledger
from mu_monai.workflow.requests.routes import ROUTES, Job, chosen_route, run_of
from mu_monai.workflow.trained_alike import complete

logger = logging.getLogger(__name__)


def plan_requests(
    folder: str | Path,
    *,
    split: str | Path | None = None,
    options: RequestOptions = RequestOptions(),  # noqa: B008 - frozen
    trust: Trust = STRANGER,
) -> list[str]:
    """Say how the waiting requests would be answered: the route, why no better one, its cost and its risk.

    Nothing is written. What an approximate route would take is measured on a few steps of it, and logged.

    Args:
        folder: the folder of the ledger.
        split: the split of the first version, if it is no longer where its run found it.
        options: how they are to be answered.
        trust: how far the runs are trusted.

    Returns:
        the sentences.

    Raises:
        InputError: if no request is waiting, or no route is possible.
    """
    opened = open_ledger(folder, split)
    begun = opened.ledger.begun
    if begun is not None and options.route is None:
        return [
            f"version {begun.version} was begun by {begun.route}, and is not finished: the same command without --plan "
            "goes on with it",
            *begun.why,
        ]
    with tempfile.TemporaryDirectory() as place:
        job, name, why = _chosen(opened, Path(place), options, trust)
        ROUTES[name].make(replace(job, start=replace(job.start, route=name)), True, False)
    route = ROUTES[name]
    return [
        *_measured_before(opened, job.start.requests),
        *why,
        f"route: {name}, {'exact' if route.exact else 'approximate'}",
        f"risk: {route.risk}",
    ]


@writes("folder")
def answer_requests(
    folder: str | Path,
    *,
    split: str | Path | None = None,
    options: RequestOptions = RequestOptions(),  # noqa: B008 - frozen
    trust: Trust = STRANGER,
) -> Answer:
    """Make the version that answers all waiting requests, and audit in it those that were answered before.

    What was begun is in the ledger before anything is trained, so that the same call goes on with it after a kill.

    Args:
        folder: the folder of the ledger; the version's run folder is made in it.
        split: the split of the first version, if it is no longer where its run found it.
        options: how they are to be answered.
        trust: how far the runs are trusted.

    Returns:
        the entry; with anybody who came back, the version is refused, and the requests wait on.

    Raises:
        InputError: if no request is waiting, no route is possible, or the ledger or a version is not as it was left.
    """
    opened, folder = open_ledger(folder, split), Path(folder)
    begun = opened.ledger.begun
    if begun is None or options.route not in (None, begun.route):
        begun = _begin(opened, folder, options, trust)
    else:
        raise_if_any(_other_options(begun, options))
        logger.info("going on with version %d, by %s", begun.version, begun.route)
    job = _job(opened.ledger, begun, folder, options, trust)
    checked_split(begun.version, begun.split, job.split)
    route = ROUTES[begun.route]
    try:
        complete(job.out, lambda out, resume: route.make(job, False, resume))
    except InputError as error:
        raise InputError(
            [
                *error.problems,
                f"version {begun.version} stays begun: once this is corrected, the same command goes on with it; "
                "another --route begins another one",
            ]
        ) from error
    answer = _answer(opened, begun, _made(job), job)

    def once(ledger: Ledger) -> Answer:
        if ledger.begun != begun:
            raise InputError(f"version {begun.version} is in the ledger already, entered by another command")
        return answer

    append(folder, once)
    return answer


def _made(job: Job) -> Run:
    """The run of a version that was made.

    Raises:
        InputError: if its folder held another run, so that nothing was made.
    """
    run = open_run(job.out, MODEL_PT)
    if run.record.sha256.split != job.start.split:
        raise InputError(
            f"'{job.out}' holds a run of another split, which was not made for version {job.start.version}; move it "
            "away, and give the same command again"
        )
    return run


def _begin(opened: Opened, folder: Path, options: RequestOptions, trust: Trust) -> Start:
    """Choose the route, write the split, and enter what is begun; without a route, nothing is left of it."""
    try:
        job, name, why = _chosen(opened, folder, options, trust)
    except BaseException:
        _split_file(folder, opened.ledger.next_version).unlink(missing_ok=True)
        raise
    for sentence in why:
        logger.info("%s", sentence)
    logger.info("version %d is made by %s", job.start.version, name)
    start = replace(job.start, route=name, why=tuple(why))
    append(folder, lambda ledger: start)
    return start


def _split_file(folder: Path, version: int) -> Path:
    return folder / f"version-{version}.json"


def _other_options(begun: Start, options: RequestOptions) -> Iterator[str]:
    """Which options would make another version than the one that was begun."""
    given = {
        "--folds": (_folds(options), begun.folds),
        "--budget": (options.budget, begun.budget),
        "--set": (tuple(options.settings) or None, begun.settings),
        "--forget-images-gone": (options.forget_images_gone or None, begun.forget_images_gone),
    }
    for name, (now, before) in given.items():
        if now is not None and now != before:
            yield (
                f"version {begun.version} was begun with another {name}; leave it out to go on with it, or begin "
                "another version with another --route"
            )


def _chosen(opened: Opened, folder: Path, options: RequestOptions, trust: Trust) -> tuple[Job, str, list[str]]:
    """What is to be made for the waiting requests in a folder, by which route, and why."""
    ledger = opened.ledger
    if not ledger.waiting:
        raise InputError(
            f"no request is waiting in '{ledger.folder}'; enter one: mu-monai request add {ledger.folder} --forget-ids "
            "FILE"
        )
    number, gone = ledger.next_version, options.forget_images_gone
    raise_if_any(replace(opened.split(ledger.requests), forget_images_gone=gone).problems())
    waiting = ForgetIds(tuple(sorted(opened.cases(ledger.waiting))))
    before = replace(opened.split(ledger.answered), forget_images_gone=gone)
    with quiet("mu_monai.data.reselect", logging.WARNING):  # the file itself forgets none of the earlier requests
        content = reselect(before, waiting)
    file = write_split(_split_file(folder, number), content)
    start = Start(
        version=number,
        requests=tuple(ledger.waiting),
        route="",
        why=(),
        split=file_sha256(file),
        folds=_folds(options),
        budget=options.budget,
        settings=tuple(options.settings),
        forget_images_gone=gone,
    )
    job = _job(ledger, start, folder, options, trust)
    name, why = chosen_route(job, ledger, options.route)
    if job.first is None and not ROUTES[name].exact:
        why = [
            f"version {ledger.first.number} is not in '{ledger.place(ledger.first)}', so that this starts from version "
            f"{ledger.current.number}, and errors of both add up; if it was only moved, put it back",
            *why,
        ]
    return job, name, why


def _folds(options: RequestOptions) -> str | None:
    return None if options.folds is None else str(Path(options.folds).resolve())


def _job(ledger: Ledger, start: Start, folder: Path, options: RequestOptions, trust: Trust) -> Job:
    current = run_of(ledger, ledger.current.number)
    if current is None:
        raise InputError(
            f"'{ledger.place(ledger.current)}', version {ledger.current.number}, which is in use, is not there; put it "
            "back"
        )
    return Job(
        first=run_of(ledger, ledger.first.number),
        current=current,
        start=start,
        split=_split_file(folder, start.version),
        out=folder / f"version-{start.version}",
        device=options.device,
        quiet=options.quiet,
        trust=trust,
    )


def _answer(opened: Opened, start: Start, run: Run, job: Job) -> Answer:
    """The entry of a finished version: what it cost, and what was measured on old and new requests."""
    ledger = opened.ledger
    version = made_version(ledger.folder, start.version, run, opened.salt)
    now, before = (evidence_of(ledger.folder, each) for each in (version, ledger.first))
    cost, whole = run.record.cost, None if job.first is None else training_passes(job.first.folder)
    share = cost.share if cost.share is not None or not whole or cost.passes is None else cost.passes / whole
    return Answer(
        version=version,
        requests=start.requests,
        route=start.route,
        share=share,
        membership=tuple(_membership(ledger, number, now, before) for number in start.requests),
        audit=tuple(sorted(_rechecks(ledger, now), key=lambda check: check.request)),
    )


def _membership(ledger: Ledger, number: int, now: pd.DataFrame | None, before: pd.DataFrame | None) -> Membership:
    request = ledger.requests[number]
    found, original = (None if table is None else loss_membership(table, request.cases) for table in (now, before))
    measured = {} if found is None else {"auc": found.value, "low": found.low, "high": found.high}
    earlier = {} if original is None else {"before": original.value}
    return Membership(request=number, patients=len(request.patients), **without_nan({**measured, **earlier}))


def _rechecks(ledger: Ledger, now: pd.DataFrame | None) -> Iterator[Recheck]:
    """Compare the patients of every earlier request with themselves in the version that answered it."""
    for answer in ledger.accepted:
        then = evidence_of(ledger.folder, answer.version)
        for number in answer.requests:
            cases, all_of_them = ledger.requests[number].cases, len(ledger.answered)
            both = None if then is None or now is None else (then, now)
            found = None if both is None else came_back(*both, cases, looked_at=all_of_them)
            yield Recheck(request=number) if found is None else Recheck(request=number, **without_nan(asdict(found)))


def _measured_before(opened: Opened, requests: Sequence[int]) -> Iterator[str]:
    """How well the version in use knows the patients who wait, which decides nothing."""
    scores = evidence_of(opened.ledger.folder, opened.ledger.current)
    for number in requests:
        request = opened.ledger.requests[number]
        found = None if scores is None else loss_membership(scores, request.cases)
        measured = "was not scored on them"
        if found is not None:
            measured = f"tells their losses from those of unseen patients with an AUC of {found.value:.2f}"
        version = f"version {opened.ledger.current.number}"
        yield f"request {number}, until {request.deadline}, {request.counts}: {version} {measured}"
