"""Try something in a process of its own, and name what came of it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mu_monai import cli

CLEAR, STATED, RIGHT = "clear error", "stated repair", "accepted rightly"
SILENT, TRACEBACK, HANG = "SILENT", "TRACEBACK", "HANG"
OUTCOMES, BAD = (CLEAR, STATED, RIGHT, SILENT, TRACEBACK, HANG), (SILENT, TRACEBACK, HANG)
_UNEXPECTED = "--debug ...' shows where"  # how the program ends an error of no known kind


@dataclass(frozen=True)
class Tried:
    """What came of it.

    Args:
        code: the exit code; None if the process ended without one.
        said: everything that was printed.
        result: what the work returned, to be compared.
        hung: whether it had to be ended.
    """

    code: int | None
    said: str
    result: str = ""
    hung: bool = False


Work = Callable[[], tuple[int, str, str]]  # to exit code, what was printed, and a result


def call(*arguments: object) -> tuple[int, str]:
    """Exit code and output of a command; -1 for an exception that reached the top."""
    sys.argv = ["mu-monai", *map(str, arguments)]
    logging.getLogger().handlers.clear()  # so that this call logs to where it is read
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except BaseException:
            said.write(traceback.format_exc())
            code = -1
    return code, said.getvalue()


def started(work: Work, report: Path) -> int:
    """Begin work in a copy of this process, which has everything loaded; the number of that process."""
    report.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            found = work()
        except BaseException:
            found = (-1, traceback.format_exc(), "")
        partial = report.with_suffix(".part")
        partial.write_text(json.dumps(found))
        partial.rename(report)
    finally:
        os._exit(0)


def ended(child: int, seconds: float) -> bool:
    """Wait for a process; it is killed if it takes longer. Whether it ended by itself."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def here(work: Work) -> Tried:
    """Work with sound input in this process, so that all later ones have loaded what it needs."""
    return Tried(*work())


def tried(work: Work, report: Path, patience: float) -> Tried:
    """Work in a process of its own, which is ended after some seconds."""
    if not ended(started(work, report), patience):
        return Tried(None, "", hung=True)
    if not report.is_file():
        return Tried(None, "the process died")
    return Tried(*json.loads(report.read_text()))


def needed(report: Path, *arguments: object) -> None:
    """Call a command that must succeed."""
    done = tried(lambda: (*call(*arguments), ""), report, 600)
    if done.code != 0:
        sys.exit(f"mu-monai {' '.join(map(str, arguments))} ended with {done.code}:\n{done.said}")


def outcome(found: Tried, sound: Tried) -> str:
    """The name of what came of damaged input.

    Args:
        found: the attempt; its result is compared.
        sound: the same with sound input: what it printed and what the result should be.
    """
    if found.hung:
        return HANG
    if found.code in (None, -1) or "Traceback (most recent call last)" in found.said or _UNEXPECTED in found.said:
        return TRACEBACK
    if found.code != 0:
        return CLEAR
    warned = set(_warnings(found.said)) - set(_warnings(sound.said))
    if found.result == sound.result:
        return STATED if warned else RIGHT
    return STATED if warned else SILENT


def _warnings(said: str) -> Iterator[str]:
    return (line for line in said.splitlines() if line.startswith("WARNING"))


# -- damage to any file ------------------------------------------------------------------------------------------------


def broken(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Bytes with one fault, and which."""
    kind = rng.choice(["bit", "byte", "cut", "zeros", "twice", "empty"])
    place = rng.randrange(len(content)) if content else 0
    if kind == "bit" and content:
        return _flipped(content, place, 1 << rng.randrange(8)), f"bit at {place}"
    if kind == "byte" and content:
        return _flipped(content, place, rng.randrange(1, 256)), f"byte at {place}"
    if kind == "cut":
        return content[:place], f"cut at {place}"
    if kind == "zeros":
        return content[:place] + bytes(len(content) - place), f"zeros from {place}"
    if kind == "twice":
        return content[:place] + content[place:] * 2, f"doubled from {place}"
    return b"", "emptied"


def _flipped(content: bytes, place: int, mask: int) -> bytes:
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
