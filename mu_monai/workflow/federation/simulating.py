"""Runs the rounds of a federation in NVFlare's simulator, and writes the model that comes out."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil

from mu_monai.adapters import read_weights, weights_sha256, write_tensors
from mu_monai.keys import MODEL_PT
from mu_monai.runs.federation import Federation, read_federation, round_file, write_federation
from mu_monai.runs.record import FINISHED
from mu_monai.runs.stamp import COMMAND, command_line
from mu_monai.workflow.launching import REASON, failure_of

LOG = "simulator.log"
_LOOK = 1.0  # seconds between two looks at what was done
logger = logging.getLogger(__name__)


def nvflare_problems() -> Iterator[str]:
    """Why no federation can run here: NVFlare is missing."""
    if find_spec("nvflare") is None:
        yield "a federation needs NVFlare, which is not installed: pip install 'mu-monai[federated]'"


def simulated(folder: Path, federation: Federation, *, resume: bool = False) -> Federation:
    """Run all rounds of a federation; the model to start from is in the folder already.

    Args:
        folder: its folder.
        federation: what is to be done.
        resume: whether rounds that are over are kept, as `resumed` has checked.

    Returns:
        the same with what was done, and with what the sites measured.

    Raises:
        InputError: if a site found its input wrong, or answered with another bundle.
        RunError: if a site failed otherwise, or was killed.
    """
    if not resume:
        write_federation(folder, federation)
    if any(each.bytes is None for each in read_federation(folder).rounds):
        _simulate(folder, len(federation.everybody))
    done = read_federation(folder)
    state = read_weights(round_file(folder, done.training[-1].number))
    write_tensors(folder / MODEL_PT, state)
    done = replace(done, status=FINISHED, weights=weights_sha256(state))
    write_federation(folder, done)
    return done


def resume_problems(folder: Path, federation: Federation) -> Iterator[str]:
    """Why a federation that was interrupted cannot go on: its folder is not there, or it was to do something else.

    Args:
        folder: its folder.
        federation: what is to be done now.
    """
    before = read_federation(folder)
    if before.finished:
        yield f"the federation in '{folder}' is finished; leave out --resume and give a new folder to make another"
    plan = replace(
        before, rounds=tuple(replace(each, bytes=None, passes=None, said=()) for each in before.rounds), numbers=()
    )
    if plan != federation and not before.finished:
        yield f"'{folder}' was begun with other sites, rounds or settings; resume with the same, or give a new folder"


def _simulate(folder: Path, sites: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        reason = Path(temporary, "reason.json")
        code = _run(folder, reason, sites)
        if code or reason.is_file():
            raise failure_of(reason, f"NVFlare's simulator ended with exit code {code}; '{folder / LOG}' has its log")


def _run(folder: Path, reason: Path, sites: int) -> int:
    """Run the job; no site outlives an interruption. Returns the exit code."""
    command = [sys.executable, "-m", "mu_monai.workflow.federation.flare.job", str(folder.resolve())]
    environment = os.environ | {REASON: str(reason), COMMAND: command_line()}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // sites)))
    with (folder / LOG).open("ab") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _tell(folder, started)
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


def _tell(folder: Path, started: subprocess.Popen[bytes]) -> None:
    """Say which rounds are over while the simulator runs."""
    told = sum(each.bytes is not None for each in read_federation(folder).rounds)
    while started.poll() is None:
        time.sleep(_LOOK)
        rounds = read_federation(folder).rounds
        for work in rounds[told : sum(each.bytes is not None for each in rounds)]:
            told += 1
            logger.info("round %d is over: %s at %s", work.number, work.task, ", ".join(work.sites))
            for sentence in work.said:
                logger.warning("%s: %s", ", ".join(work.sites), sentence)
