"""Enter a request into the ledger of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from mu_monai.data import ForgetIds, ForgetSelector, requested
from mu_monai.errors import InputError, collect, raise_if_any
from mu_monai.keys import CASE_ID, FORGET, PATIENT_ID, SUBSET
from mu_monai.record import Ledger, Request, append, commitment, is_ledger, pseudonym
from mu_monai.workflow.options import ForgetChoice
from mu_monai.workflow.requests.opened import Opened, begin_ledger, first_run, not_begun, open_ledger
from mu_monai.workflow.splitting import selector_of

DAYS = 30  # until the deadline, where none is given


def add_request(
    folder: str | Path,
    *,
    run: str | Path | None = None,
    forget: ForgetChoice = ForgetChoice(),  # noqa: B008 - frozen
    ids: Sequence[str] = (),
    requester: str | None = None,
    received: str | None = None,
    deadline: str | None = None,
    split: str | Path | None = None,
) -> Request:
    """Enter who is to be forgotten until when; no model and no image is opened.

    Args:
        folder: the folder of the ledger; without a ledger, it is begun.
        run: the run folder of the model, for a new ledger.
        forget: whom to forget: a file of ids, or a condition.
        ids: ids of patients or cases to forget, in place of `forget`.
        requester: who asks, of which only a salted hash is kept.
        received: the day on which the request was received, as `2026-01-31`; by default today.
        deadline: the last day to answer it; by default 30 days after it was received.
        split: the split of the first version, if it is no longer where its run found it.

    Returns:
        the entry.

    Raises:
        InputError: every problem: ids that the model was not trained on, or that were asked for before; nobody left to
            retain; a day that is not one, or has passed; a ledger that was edited, cut or forked. Nothing is written
            then.
    """
    found: dict[str, Any] = {}
    raise_if_any(
        collect(
            lambda: found.update(days=_days(received, deadline)),
            lambda: found.update(selector=_selector(forget, ids)),
            lambda: _no_ledger(folder, run),
        )
    )
    days, selector = found["days"], found["selector"]
    if run is not None:
        first = first_run(run, split)
        if not is_ledger(folder):
            _request(not_begun(folder, first, split), selector, days, requester)  # begins no ledger for nothing
        begin_ledger(folder, first, split)
    made: list[Request] = []

    def request(ledger: Ledger) -> Request:
        made.append(_request(open_ledger(folder, split), selector, days, requester))
        return made[-1]

    append(folder, request)
    return made[-1]


def _selector(forget: ForgetChoice, ids: Sequence[str]) -> ForgetSelector:
    selector = ForgetIds(tuple(ids)) if ids else selector_of(forget)
    if selector is None or (ids and forget != ForgetChoice()):
        raise InputError(
            "say whom to forget, in one way: --forget-ids FILE, --forget-id ID or --forget-where CONDITION"
        )
    return selector


def _no_ledger(folder: str | Path, run: str | Path | None) -> Iterator[str]:
    if is_ledger(folder):
        return
    from mu_monai.workflow.checks import place_problems  # loads MONAI, which later requests spare

    yield from place_problems({"LEDGER": folder})
    if run is None:
        yield f"'{folder}' holds no ledger yet; give the run folder of the model that it is about: --run RUN"


def _request(opened: Opened, selector: ForgetSelector, days: tuple[date, date], requester: str | None) -> Request:
    ledger, salt = opened.ledger, opened.salt
    before = opened.split(ledger.requests)
    table, chosen = requested(before, selector)
    named = set(chosen.value) if isinstance(chosen, ForgetIds) else set()
    already = {row[CASE_ID] for row in before.rows[FORGET]}
    new = table[(table[SUBSET] == FORGET) & ~table[CASE_ID].isin(already)]
    named -= {*new[PATIENT_ID], *new[CASE_ID]}  # of a patient, some cases may have been asked for before
    raise_if_any(_asked_before(opened, before.rows[FORGET], named))
    if new.empty:
        raise InputError("everybody whom the condition finds was asked for before; there is nothing to enter")
    received, deadline = days
    return Request(
        number=len(ledger.requests) + 1,
        received=received.isoformat(),
        deadline=deadline.isoformat(),
        requester=None if requester is None else commitment("requester", requester, salt),
        patients=tuple(sorted({pseudonym("patient", name, salt) for name in new[PATIENT_ID]})),
        cases=tuple(sorted(pseudonym("case", name, salt) for name in new[CASE_ID])),
    )


def _asked_before(opened: Opened, rows: Sequence[Mapping[str, Any]], named: set[str]) -> Iterator[str]:
    """Which ids were asked for in an earlier request, or were forgotten before the ledger began."""
    ledger = opened.ledger
    found = {name: row[CASE_ID] for row in rows for name in (row[PATIENT_ID], row[CASE_ID]) if name in named}
    for name, case in found.items():
        number = ledger.request_of([pseudonym("case", case, opened.salt)])
        if number is None:
            yield f"'{name}' was forgotten before the ledger began, in its first version; take it off the list"
        elif number in ledger.answered:
            version = ledger.answered[number].version.number
            yield f"'{name}' is in request {number} already, which version {version} answered; take it off the list"
        else:
            yield (
                f"'{name}' is in request {number} already, which waits until {ledger.requests[number].deadline}; take "
                "it off the list"
            )


def _days(received: str | None, deadline: str | None) -> tuple[date, date]:
    """The days of a request.

    Raises:
        InputError: for text that is not a day, a day of receipt that is still to come, and a deadline that has passed.
    """
    today = date.today()
    found: dict[str, date] = {}
    problems = collect(
        lambda: _day(found, "--received", received or today.isoformat()),
        lambda: _day(found, "--deadline", deadline or today.isoformat()),
    )
    raise_if_any(problems)
    first = found["--received"]
    if first > today:
        problems.append(f"--received {first} is still to come; give the day on which the request was received")
    last = found["--deadline"] if deadline else min(first, today) + timedelta(days=DAYS)
    if last < today:
        problems.append(
            f"the deadline {last} has passed; give the one that holds now, such as that of an extension: --deadline"
        )
    raise_if_any(problems)
    return first, last


def _day(found: dict[str, date], option: str, text: str) -> Iterator[str]:
    try:
        found[option] = date.fromisoformat(text)
    except ValueError:
        yield f"{option} {text!r} is not a day; write it as 2026-01-31"
