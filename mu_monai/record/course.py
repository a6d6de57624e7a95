"""Whether the entries of a ledger can have followed each other: a chain can be whole, and what it tells impossible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from mu_monai.record.entries import Answer, Entry, Request, Start, Version


@dataclass
class _Before:
    """What a ledger told before an entry."""

    requests: int = 0
    versions: int = 0  # the number of the last version that was begun; 0 before the first
    answered: set[int] = field(default_factory=set)
    begun: Start | None = None  # what the next answer must answer
    time: datetime | None = None

    def take(self, entry: Entry, time: str) -> None:
        """Add an entry."""
        self.time = datetime.fromisoformat(time)
        if isinstance(entry, Request):
            self.requests += 1
        elif isinstance(entry, Start):
            self.versions, self.begun = entry.version, entry
        elif isinstance(entry, Answer):
            self.answered |= set() if entry.came_back else set(entry.requests)
            self.begun = None
        else:
            self.versions = 1


def impossible(entries: Sequence[Entry], times: Sequence[str]) -> Iterator[str]:
    """The first entry that cannot have followed the ones before it, with the number of its line.

    Args:
        entries: the entries of a ledger, in their order.
        times: when each was written, in ISO 8601.

    Example:
        >>> begun = Start(version=2, requests=(1,), route="rewind", why=(), split="s")
        >>> list(impossible([begun], ["2026-01-31T09:00:00+00:00"]))
        ['line 1 is not the first version, with which a ledger begins']
    """
    before = _Before()
    for line, (entry, time) in enumerate(zip(entries, times, strict=True), start=1):
        problem = next(_problems(before, entry, time), None)
        if problem is not None:
            yield f"line {line} {problem}"
            return
        before.take(entry, time)


def _problems(before: _Before, entry: Entry, time: str) -> Iterator[str]:
    """Why an entry cannot follow."""
    yield from _time_problems(before, time)
    if not before.versions and not isinstance(entry, Version):
        yield "is not the first version, with which a ledger begins"
    elif isinstance(entry, Version):
        yield from _version_problems(before, entry)
    elif isinstance(entry, Request):
        yield from _request_problems(before, entry)
    elif isinstance(entry, Start):
        yield from _start_problems(before, entry)
    else:
        yield from _answer_problems(before, entry)


def _time_problems(before: _Before, time: str) -> Iterator[str]:
    now = datetime.fromisoformat(time)
    if now.tzinfo is None:
        yield f"was written at {time}, without a time zone"
    elif before.time is not None and now < before.time:
        yield f"was written at {time}, before the line above it, {before.time.isoformat()}"


def _version_problems(before: _Before, entry: Version) -> Iterator[str]:
    if before.versions:
        yield "is a second first version"
    if entry.number != 1:
        yield f"is version {entry.number}, and a ledger begins with version 1"


def _request_problems(before: _Before, entry: Request) -> Iterator[str]:
    if entry.number != before.requests + 1:
        yield f"is request {entry.number}, and the next one is {before.requests + 1}"
    days = {"received": entry.received, "deadline": entry.deadline}
    wrong = [f"its {name} is {day!r}, which is not a day" for name, day in days.items() if not is_iso(date, day)]
    yield from wrong
    if not wrong and date.fromisoformat(entry.received) > date.fromisoformat(entry.deadline):
        yield f"was received on {entry.received}, after its deadline, {entry.deadline}"


def _start_problems(before: _Before, entry: Start) -> Iterator[str]:
    if entry.version != before.versions + 1:
        yield f"begins version {entry.version}, and the next one is {before.versions + 1}"
    yield from _not_waiting(before, entry.requests)


def _answer_problems(before: _Before, entry: Answer) -> Iterator[str]:
    made, begun = entry.version.number, before.begun
    if begun is None or begun.version != made:
        yield f"answers with version {made}, and " + (
            "none was begun" if begun is None else f"version {begun.version} was begun"
        )
    elif (begun.requests, begun.route) != (entry.requests, entry.route):
        yield (
            f"answers request {_listed(entry.requests)} by {entry.route}, and version {made} was begun for request "
            f"{_listed(begun.requests)} by {begun.route}"
        )
    yield from _not_waiting(before, entry.requests)
    audited = sorted({check.request for check in entry.audit} - before.answered)
    if audited:
        yield f"audits request {_listed(audited)}, which no version had answered"


def _not_waiting(before: _Before, requests: Sequence[int]) -> Iterator[str]:
    if not requests:
        yield "names no request"
    strange = [number for number in requests if not 1 <= number <= before.requests]
    if strange:
        yield f"is for request {_listed(strange)}, which the lines above do not have"
    answered = [number for number in requests if number in before.answered]
    if answered:
        yield f"is for request {_listed(answered)}, which was answered already"


def is_iso(kind: type[date], text: str) -> bool:
    """Whether a text is a day (`date`) or a time (`datetime`) in ISO 8601."""
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
