"""Where jobs run: the option `--workers`, its checks, and the one loop that runs jobs on any engine."""

from __future__ import annotations

import logging
import sys
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mu_monai.errors import InputError, RunError, raise_if_any
from mu_monai.files import link_problems
from mu_monai.workflow.workers.job import Done, Job, work
from mu_monai.workflow.workers.reach import expected, reached

ATTEMPTS = 3
_ENGINES = {"ray": "on_ray.OnRay", "slurm": "on_slurm.OnSlurm"}
_USE = "use a number of processes on this machine such as 2, ray, ray:HOST:PORT, slurm or slurm:PARTITION"
logger = logging.getLogger(__name__)


class Engine(ABC):
    """What runs jobs: an existing scheduler, or processes of this machine.

    Args:
        place: what follows the name of the engine in `--workers`.
        share: the GPU, or the part of one, that a job gets; 0 for none.
        folder: a folder that all workers see.
    """

    at_once = sys.maxsize  # how many jobs it takes; it may let them wait

    @abstractmethod
    def __init__(self, place: str, share: float, folder: Path) -> None:
        """Start it.

        Raises:
            InputError: if it cannot be used.
        """

    @staticmethod
    @abstractmethod
    def problems(place: str, share: float) -> list[str]:
        """Why it cannot be used, as far as that can be told without starting it."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function in a worker. An error of the future means that the worker was lost."""

    @abstractmethod
    def submit_everywhere(self, function: Callable[..., Any], *arguments: Any) -> list[Future[Any]]:
        """Call a function on every machine that workers run on."""

    @abstractmethod
    def close(self, *, now: bool) -> None:
        """End all workers; with `now` also those that work, whose runs can be resumed."""


def worker_problems(workers: str | None, share: float | None) -> list[str]:
    """Why jobs cannot run where they should.

    Args:
        workers: the option `--workers`; None to run in this process.
        share: the option `--gpus-per-job`.

    Example:
        >>> worker_problems("0", None)
        ['--workers 0 is not allowed; use at least 1 process']
    """
    if workers is None:
        return ["--gpus-per-job is for workers; give --workers as well, or omit it"] if share is not None else []
    problems = [] if share is None or 0 < share <= 1 else [_wrong_share(share)]
    try:
        kind, place = _engine(workers)
    except InputError as error:
        return [*error.problems, *problems]
    return [*problems, *([] if problems else kind.problems(place, share or 0.0))]


def _wrong_share(share: float) -> str:
    return f"--gpus-per-job {share:g} is not allowed; a job uses one GPU or a part of one: give a number in (0, 1]"


@contextmanager
def working(
    workers: str | None, share: float | None, *, folder: Path, places: Mapping[str, Path | None]
) -> Iterator[Engine | None]:
    """Start workers, and end them; None without workers.

    Args:
        workers: the option `--workers`; None to run in this process.
        share: the option `--gpus-per-job`.
        folder: the folder that workers write to; made if it is missing.
        places: what workers read, by the name of the option.

    Raises:
        InputError: if they cannot be used: a worker without this version of the package, or one that does not see what
            it has to read.
    """
    if workers is None:
        yield None
        return
    raise_if_any(link_problems(folder))
    kind, place = _engine(workers)
    engine = kind(place, share or 0.0, folder)
    finished = False
    try:
        with expected(folder, places) as seen:
            answers = [_answer(future) for future in engine.submit_everywhere(reached, seen)]
        raise_if_any(dict.fromkeys(f"--workers {workers}: {text}" for texts in answers for text in texts))
        yield engine
        finished = True
    finally:
        engine.close(now=not finished)


def run_jobs(engine: Engine, jobs: Sequence[Job]) -> Iterator[Done]:
    """Run jobs on workers and give each when it has ended, in whatever order; a lost worker's jobs are run again.

    Args:
        engine: where they run.
        jobs: what is to be done; they are started in this order.
    """
    waiting, running, attempts, ended = deque(jobs), dict[Future[Any], Job](), Counter[Path](), 0
    while waiting or running:
        while waiting and len(running) < engine.at_once:
            job = waiting.popleft()
            running[engine.submit(work, job)] = job
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job, lost = running.pop(future), future.exception()
            attempts[job.place] += 1
            if lost is not None and attempts[job.place] < ATTEMPTS:
                logger.warning("%s: its worker was lost (%s); it is run again", job.name, _first_line(lost))
                waiting.appendleft(job)
                continue
            done = future.result() if lost is None else Done(job=job, error=_gave_up(lost))
            ended += 1
            _say(done, f"{ended} of {len(jobs)}")
            yield done


def _gave_up(lost: BaseException) -> RunError:
    return RunError(
        f"{ATTEMPTS} workers were lost with it (last: {_first_line(lost)}), perhaps because the memory is full; use "
        "fewer workers, or less memory: a smaller batch_size or cache_gib"
    )


def _say(done: Done, place: str) -> None:
    for text in done.warnings:
        logger.warning("%s: %s", done.job.name, text)
    if done.error is None:
        logger.info("%s: %s: %.1f s", place, done.job.name, done.seconds)
    else:
        logger.info("%s: %s failed", place, done.job.name)


def _answer(future: Future[Any]) -> list[str]:
    """What a worker says of itself; that it could not even be asked is an answer too."""
    lost = future.exception()
    if lost is None:
        return list(future.result())
    return [f"a worker cannot start ({_first_line(lost)}); install this version of mu-monai where workers run"]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1] if 'Traceback' in lines[0] else lines[0]}"


def _engine(workers: str) -> tuple[type[Engine], str]:
    """The class of an engine, and where it runs."""
    name, _, place = workers.partition(":")
    if name.removeprefix("-").isdecimal() and not place:
        if int(name) < 1:
            raise InputError(f"--workers {workers} is not allowed; use at least 1 process")
        return _imported("processes.Processes"), name
    if name not in _ENGINES or (":" in workers and not place):
        raise InputError(f"--workers {workers!r} is not known; {_USE}")
    return _imported(_ENGINES[name]), place


def _imported(name: str) -> type[Engine]:
    module, _, kind = name.partition(".")
    found: type[Engine] = getattr(import_module(f"{__package__}.{module}"), kind)
    return found
