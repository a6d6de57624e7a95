"""Runs the rounds of federations in NVFlare's simulator, and writes the model that comes out of each."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil

from mu_monai.adapters import read_weights, weights_sha256, write_tensors
from mu_monai.keys import MODEL_PT
from mu_monai.runs.federation import Federation, Round, read_federation, round_file, write_federation
from mu_monai.runs.record import FINISHED
from mu_monai.runs.stamp import COMMAND, command_line
from mu_monai.workflow.federation.models import model_problems
from mu_monai.workflow.launching import REASON, failure_of

LOG = "simulator.log"
_LOOK = 1.0  # seconds between two looks at what was done
logger = logging.getLogger(__name__)


def nvflare_problems() -> Iterator[str]:
    """Why no federation can run here: NVFlare is missing."""
    if find_spec("nvflare") is None:
        yield "a federation needs NVFlare, which is not installed: pip install 'mu-monai[federated]'"


def simulated(work: Mapping[Path, Federation], *, resume: bool = False) -> None:
    """Run all rounds of federations in one simulator, one after the other; the models to start from are there already.

    Args:
        work: what is to be done, by its folder; with several, the log is in the first of them.
        resume: whether rounds that are over are kept, as `resume_problems` has checked.

    Raises:
        InputError: if a site found its input wrong, or answered with another bundle.
        RunError: if a site failed otherwise, or was killed.
    """
    for folder, federation in work.items():
        if not resume:
            write_federation(folder, federation)
    left = [folder for folder in work if any(each.bytes is None for each in read_federation(folder).rounds)]
    if left:
        _simulate(left, len({site.name for federation in work.values() for site in federation.everybody}))


def finish(folder: Path) -> None:
    """Write the model of the last round, when all rounds are over and nothing else is left to do."""
    done = read_federation(folder)
    state = read_weights(round_file(folder, done.training[-1].number))
    write_tensors(folder / MODEL_PT, state)
    write_federation(folder, replace(done, status=FINISHED, weights=weights_sha256(state)))


def resume_problems(folder: Path, federation: Federation) -> Iterator[str]:
    """Why a federation that was interrupted cannot go on: its folder is not there, or it was to do something else.

    Args:
        folder: its folder.
        federation: what is to be done now.
    """
    before = read_federation(folder)
    rounds = tuple(replace(each, bytes=None, passes=None, said=()) for each in before.rounds)
    plan = replace(before, rounds=rounds, numbers=(), models=federation.models)
    if before.finished:
        yield f"the federation in '{folder}' is finished; leave out --resume and give a new folder to make another"
    elif not before.models:
        yield (
            f"'{folder}' was begun by an earlier version, which kept no digests of its models, so that nothing shows "
            "what it would go on from; leave out --resume and give a new folder"
        )
    elif plan != federation:
        yield f"'{folder}' was begun with other sites, rounds or settings; resume with the same, or give a new folder"
    elif before.models | federation.models != before.models:
        yield (
            f"'{folder}' was begun from other weights; resume with the same --start, or the same federation, or give a "
            "new folder"
        )
    else:
        left = [each.number for each in before.rounds if each.bytes is None]
        yield from model_problems(folder, before, [left[0] - 1 if left else before.training[-1].number])


def _simulate(folders: Sequence[Path], sites: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        reason = Path(temporary, "reason.json")
        log = folders[0] / LOG
        code = _run(folders, log, reason, sites)
        if code or reason.is_file():
            raise failure_of(reason, f"NVFlare's simulator ended with exit code {code}; '{log}' has its log")


def _run(folders: Sequence[Path], log: Path, reason: Path, sites: int) -> int:
    """Run the job; no site outlives an interruption. Returns the exit code."""
    places = [str(folder.resolve()) for folder in folders]
    command = [sys.executable, "-m", "mu_monai.workflow.federation.flare.job", *places]
    environment = os.environ | {REASON: str(reason), COMMAND: command_line()}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // sites)))
    told = {folder: len(_over(folder)) for folder in folders}
    with log.open("ab") as stream:
        started = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
        try:
            _tell(told, started)
            return started.wait()
        except BaseException:
            _kill(started)
            raise


def _kill(started: subprocess.Popen[bytes]) -> None:
    """End the job and the processes of its sites, which NVFlare puts into groups of their own."""
    with suppress(psutil.NoSuchProcess):
        job = psutil.Process(started.pid)
        for process in [*job.children(recursive=True), job]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    started.wait()


def _tell(told: dict[Path, int], started: subprocess.Popen[bytes]) -> None:
    """Say which rounds are over while the simulator runs, after those that were over before."""
    while started.poll() is None:
        time.sleep(_LOOK)
        for folder, before in told.items():
            over = _over(folder)
            for work in over[before:]:
                _say(work, f"{folder.name}: " if len(told) > 1 else "")
            told[folder] = len(over)


def _over(folder: Path) -> list[Round]:
    return [work for work in read_federation(folder).rounds if work.bytes is not None]


def _say(work: Round, of: str) -> None:
    logger.info("%sround %d is over: %s at %s", of, work.number, work.task, ", ".join(work.sites))
    for sentence in work.said:
        logger.warning("%s: %s", ", ".join(work.sites), sentence)
