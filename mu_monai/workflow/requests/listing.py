"""What became of the requests of a ledger: one row each, and an answer in words."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd

from mu_monai.record import Answer, Ledger, read_ledger


def request_status(folder: str | Path, *, today: date | None = None) -> tuple[pd.DataFrame, str]:
    """What became of every request; only the ledger is read.

    Args:
        folder: the folder of the ledger.
        today: the day from which days are counted; by default today.

    Returns:
        one row per request: `request`, `received`, `deadline`, `left` (days until the deadline, or that the answer was
        early), `patients`, `cases`, `state`, `version`, `route` and `auc` of the forgotten against unseen patients in
        that version; and a sentence about the version in use with the digest of the last entry.

    Raises:
        InputError: if there is no ledger, or it was edited, cut or forked.
    """
    ledger, day = read_ledger(folder), today or date.today()
    rows = [_row(ledger, number, day) for number in ledger.requests]
    names = ["request", "received", "deadline", "left", "patients", "cases", "state", "version", "route", "auc"]
    begun = ledger.begun
    unfinished = "" if begun is None else f"; version {begun.version} was begun and is not finished"
    said = (
        f"version {ledger.current.number} is in use ({ledger.place(ledger.current)}){unfinished}; entry "
        f"{len(ledger.entries)} has the digest {ledger.head}"
    )
    return pd.DataFrame(rows, columns=names), said


def answer_summary(folder: str | Path, answer: Answer) -> list[str]:
    """What an answer says, in sentences: what it cost, and what was measured on its requests and on all earlier ones.

    Args:
        folder: the folder of the ledger.
        answer: the entry.
    """
    cost = "" if answer.share is None else f", at {100 * answer.share:.1f} % of the training that it started from"
    names = ", ".join(map(str, answer.requests))
    place = Path(folder) / answer.version.run
    lines = [f"version {answer.version.number} answers request {names} by {answer.route}{cost}: {place}"]
    for each in answer.membership:
        between = "" if each.low is None or each.high is None else f" ({each.low:.2f} to {each.high:.2f})"
        before = "" if each.before is None else f", {each.before:.2f} in version 1"
        measured = (
            "not measured" if each.auc is None else f"AUC {each.auc:.2f}{between} against unseen patients{before}"
        )
        lines.append(f"  request {each.request}: {measured}")
    lines += [
        f"request {check.request} came back: AUC {check.now:.2f}, and {check.then:.2f} when it was answered; version "
        f"{answer.version.number} is refused, and its requests wait for another route"
        for check in answer.audit
        if check.came_back
    ]
    if answer.audit and not answer.came_back:
        again = sum(check.now is not None for check in answer.audit)
        whole = f"{again} of {len(answer.audit)} earlier requests were audited again"
        lines.append(f"{whole}; of these, nobody came back" if again else f"{whole}: who came back was not measured")
    return lines


def _row(ledger: Ledger, number: int, today: date) -> dict[str, object]:
    request, answer = ledger.requests[number], ledger.answered.get(number)
    deadline = date.fromisoformat(request.deadline)
    ended = today if answer is None else ledger.day_of(answer)
    return {
        "request": number,
        "received": request.received,
        "deadline": request.deadline,
        "left": (deadline - ended).days,
        "patients": len(request.patients),
        "cases": len(request.cases),
        "state": ("answered" if answer else "waiting") + (", late" if ended > deadline else ""),
        "version": "" if answer is None else answer.version.number,
        "route": "" if answer is None else answer.route,
        "auc": "" if answer is None else _auc(answer, number),
    }


def _auc(answer: Answer, number: int) -> str:
    found = next((each.auc for each in answer.membership if each.request == number), None)
    return "" if found is None else f"{found:.2f}"
