"""`ledger.jsonl`: whom a model was asked to forget, and which version of it answered; one line per entry, chained."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json, shape_problems, sync_folder, write_json
from mu_monai.lock import writing
from mu_monai.record.course import impossible, is_iso
from mu_monai.record.entries import KINDS, Answer, Entry, Request, Start, Version, kind_of
from mu_monai.runs.typed import made, plain, shape_of

LEDGER_JSONL, HEAD_JSON = "ledger.jsonl", "ledger-head.json"
_WAIT = 30.0  # seconds; an entry takes milliseconds to write
_LINE = {"entry": int, "kind": str, "time": str, "previous": str, "content": dict}
_HEAD = {"entries": int, "sha256": str}
_BACK = "put the ledger's folder back as it was, from a copy; nothing was written"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ledger:
    """The entries of a ledger, and what follows from them.

    A request is answered by a version in which nobody else came back. Whatever a refused version answered waits on.

    Args:
        folder: the folder of the ledger, with the versions that it made.
        entries: in the order in which they were written.
        digests: the SHA-256 of each line, to which the next one refers.
        times: when each was written, in ISO 8601, UTC.
        size: the bytes of all whole lines; what follows them was not written to its end.
    """

    folder: Path
    entries: tuple[Entry, ...] = ()
    digests: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    size: int = 0

    @property
    def head(self) -> str:
        """The digest of the last line, which stands for all of them; empty if there is none."""
        return self.digests[-1] if self.digests else ""

    @cached_property
    def requests(self) -> dict[int, Request]:
        """The requests by number."""
        return {entry.number: entry for entry in self.entries if isinstance(entry, Request)}

    @cached_property
    def answers(self) -> list[Answer]:
        """The answers, also those that were refused."""
        return [entry for entry in self.entries if isinstance(entry, Answer)]

    @cached_property
    def accepted(self) -> list[Answer]:
        """The answers in which nobody came back."""
        return [answer for answer in self.answers if not answer.came_back]

    @cached_property
    def versions(self) -> dict[int, Version]:
        """The versions by number: the first, and one for each answer."""
        first = [entry for entry in self.entries if isinstance(entry, Version)]
        return {version.number: version for version in (*first, *(answer.version for answer in self.answers))}

    @property
    def first(self) -> Version:
        """The version that the ledger began with."""
        return next(iter(self.versions.values()))

    @property
    def current(self) -> Version:
        """The version in use: that of the last answer that was not refused."""
        return self.accepted[-1].version if self.accepted else self.first

    @cached_property
    def answered(self) -> dict[int, Answer]:
        """The answer to each request that has one."""
        return {number: answer for answer in self.accepted for number in answer.requests}

    @property
    def waiting(self) -> list[int]:
        """The numbers of the requests that have no answer."""
        return [number for number in self.requests if number not in self.answered]

    @property
    def begun(self) -> Start | None:
        """The last version that was begun, if its answer is still missing."""
        starts = [entry for entry in self.entries if isinstance(entry, Start)]
        return starts[-1] if starts and starts[-1].version not in self.versions else None

    @property
    def next_version(self) -> int:
        """A number that no version has, begun ones included."""
        return 1 + max(entry.version if isinstance(entry, Start) else 1 for entry in self.entries)

    def refused_routes(self, requests: Collection[int]) -> dict[str, Answer]:
        """The routes by which these requests, or some of them, were answered since the version in use, and refused."""
        since = self.answers[self.answers.index(self.accepted[-1]) + 1 :] if self.accepted else self.answers
        return {answer.route: answer for answer in since if set(answer.requests) <= set(requests)}

    def forgotten_by(self, version: int) -> set[int]:
        """The requests whose patients a version was made without, its own and all that were answered before it."""
        found: set[int] = set()
        for answer in self.answers:
            if answer.version.number == version:
                return found | set(answer.requests)
            found |= set() if answer.came_back else set(answer.requests)
        return set()

    def back_in(self, version: Version) -> list[int]:
        """The requests whose patients came back in a version, for which it was refused."""
        return next((answer.came_back for answer in self.answers if answer.version == version), [])

    def held_by(self, weights: str) -> list[int]:
        """The answered requests whose patients are held by weights of a version, or came back in them.

        The same weights may answer several times: a fold that never saw any of them.
        """
        version = self.version_with(weights)
        if version is None:
            return []
        return sorted((self.answered.keys() - self.forgotten_by(version.number)) | set(self.back_in(version)))

    def version_with(self, weights: str) -> Version | None:
        """The last version with a digest of weights."""
        found = [version for version in self.versions.values() if version.weights == weights]
        return found[-1] if found else None

    def request_of(self, cases: Collection[str]) -> int | None:
        """The first request for any of some cases, given by pseudonym."""
        return next((number for number, each in self.requests.items() if not set(cases).isdisjoint(each.cases)), None)

    def day_of(self, entry: Entry) -> date:
        """The day on which an entry was written, in the time of this machine, as deadlines are days here."""
        return datetime.fromisoformat(self.times[self.entries.index(entry)]).astimezone().date()

    def place(self, version: Version) -> Path:
        """The run folder of a version."""
        return self.folder / version.run


def is_ledger(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a ledger with at least one entry.

    Raises:
        InputError: if it held one whose entries are gone, over which no other may be begun.
    """
    file = Path(folder) / LEDGER_JSONL
    found = file.is_file() and b"\n" in file.read_bytes()
    if not found and (Path(folder) / HEAD_JSON).is_file():
        raise InputError(
            f"'{file}' is {'empty' if file.is_file() else 'gone'}, and '{HEAD_JSON}' says that it had entries; {_BACK}"
        )
    return found


def read_ledger(folder: str | os.PathLike[str]) -> Ledger:
    """Read a ledger, and check that each line follows the one before, and that what it tells can have happened.

    A last line without an end was being written when the machine or the program was stopped. Nobody was told that it
    was entered, so it does not count; the next entry replaces it.

    Raises:
        InputError: if there is none, or it was edited, cut or forked, or tells what cannot have happened: with the
            number of the line.
    """
    folder = Path(folder)
    if not is_ledger(folder):
        raise InputError(
            f"'{folder}' holds no {LEDGER_JSONL}; begin one with its first request: mu-monai request add {folder} "
            "--run RUN --forget-ids FILE"
        )
    head = _head(folder)  # before the lines, which may grow in the meantime
    content = (folder / LEDGER_JSONL).read_bytes()
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        logger.info(
            "the last line of '%s' was not written to its end, so nobody was told of it: it does not count",
            folder / LEDGER_JSONL,
        )
    entries: list[Entry] = []
    digests: list[str] = []
    previous: list[str] = []
    times: list[str] = []
    for number, line in enumerate(whole.split(b"\n"), start=1):
        raise_if_any(f"line {number} of '{folder / LEDGER_JSONL}' {text}; {_BACK}" for text in _broken(line))
        told = json.loads(line)
        before = digests[-1] if digests else ""
        raise_if_any(
            f"line {number} of '{folder / LEDGER_JSONL}' {text}; {_BACK}"
            for text in _unchained(told, number, before, previous)
        )
        previous.append(told["previous"])
        times.append(told["time"])
        digests.append(hashlib.sha256(line).hexdigest())
        entries.append(made(KINDS[told["kind"]], told["content"]))
    raise_if_any(f"'{folder / LEDGER_JSONL}' {text}; {_BACK}" for text in _beheaded(head, digests))
    raise_if_any(f"'{folder / LEDGER_JSONL}': {text}; {_BACK}" for text in impossible(entries, times))
    return Ledger(folder, tuple(entries), tuple(digests), tuple(times), len(whole) + 1)


def append(folder: str | os.PathLike[str], make: Callable[[Ledger], Entry]) -> Ledger:
    """Add an entry to a ledger, and return only when it is on the disk.

    Args:
        folder: the folder of the ledger; without one, the entry is its first.
        make: gives the entry, from the ledger as it is while nobody else can write to it.

    Returns:
        the ledger with the entry.

    Raises:
        InputError: if the ledger was edited, cut or forked, the entry cannot follow the ones before it, or whatever
            `make` raises. Nothing is written then.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> first = Version(
        ...     number=1, run="runs/teacher", role="teacher", weights="a1", split="b2", split_file="split.json"
        ... )
        >>> ledger = append(folder, lambda ledger: first)
        >>> ledger.current.weights, ledger.waiting, read_ledger(folder) == ledger
        ('a1', [], True)
    """
    file = Path(folder) / LEDGER_JSONL
    with writing(file, wait=_WAIT):
        ledger = read_ledger(folder) if is_ledger(folder) else Ledger(Path(folder))
        entry = make(ledger)
        # a clock that was set back must not make the ledger one that cannot have been written
        now = max([*ledger.times[-1:], datetime.now(UTC).isoformat(timespec="seconds")], key=datetime.fromisoformat)
        raise_if_any(
            f"nothing was written to '{file}': {text}"
            for text in impossible((*ledger.entries, entry), (*ledger.times, now))
        )
        line = json.dumps(
            {
                "entry": len(ledger.entries) + 1,
                "kind": kind_of(entry),
                "time": now,
                "previous": ledger.head,
                "content": plain(entry),
            },
            allow_nan=False,
        ).encode()
        with file.open("r+b" if file.is_file() else "xb") as stream:
            stream.truncate(ledger.size)
            stream.seek(ledger.size)
            stream.write(line + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(file.parent)
        digest = hashlib.sha256(line).hexdigest()
        write_json(Path(folder) / HEAD_JSON, {"entries": len(ledger.entries) + 1, "sha256": digest})
    return Ledger(
        folder=ledger.folder,
        entries=(*ledger.entries, entry),
        digests=(*ledger.digests, digest),
        times=(*ledger.times, now),
        size=ledger.size + len(line) + 1,
    )


def _broken(line: bytes) -> Iterator[str]:
    """Why a line is not an entry."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        yield f"is not an entry ({error}): it was edited or damaged"
        return
    problems = shape_problems(told, _LINE)
    if not problems and told["kind"] not in KINDS:
        problems = [f"its kind is {told['kind']!r}, which is not one of {', '.join(KINDS)}"]
    if not problems:
        problems = shape_problems(told["content"], shape_of(KINDS[told["kind"]]), "its content")
    if not problems and not is_iso(datetime, told["time"]):
        problems = [f"its time is {told['time']!r}"]
    if problems:
        yield f"is not an entry ({'; '.join(problems)}): it was edited or damaged"


def _unchained(told: dict[str, Any], number: int, before: str, previous: Collection[str]) -> Iterator[str]:
    """Why a line does not follow the ones before it."""
    if told["previous"] == before and told["entry"] == number:
        return
    if told["previous"] in previous:
        twin = 1 + list(previous).index(told["previous"])
        yield f"follows the same entry as line {twin}: the ledger was forked, and two continuations were put together"
    elif told["entry"] != number:
        yield f"is entry {told['entry']}: the ledger was cut, or its lines were put in another order"
    else:
        yield f"does not follow line {number - 1}, which was edited after it was written"


def _head(folder: Path) -> dict[str, Any] | None:
    file = folder / HEAD_JSON
    return read_json(file, _HEAD) if file.is_file() else None


def _beheaded(head: dict[str, Any] | None, digests: list[str]) -> Iterator[str]:
    """Why the lines do not reach what was last written: both files would have to be older."""
    if head is None:
        if len(digests) > 1:
            yield f"has {len(digests)} entries, and {HEAD_JSON}, which tells how many there were, is missing"
    elif head["entries"] > len(digests):
        yield f"has {len(digests)} entries, and had {head['entries']}: it was cut, or an older copy was put back"
    elif head["sha256"] not in digests[head["entries"] - 1 : head["entries"]]:
        yield (
            f"has another entry {head['entries']} than was written: it was forked, and this is another continuation, "
            "or it was edited"
        )
