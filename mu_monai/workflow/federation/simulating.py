"""Runs the rounds of a federation in NVFlare's simulator, and writes the model that comes out."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from mu_monai.adapters import read_weights, weights_sha256, write_tensors
from mu_monai.keys import MODEL_PT
from mu_monai.runs.federation import Federation, read_federation, round_file, write_federation
from mu_monai.runs.record import FINISHED
from mu_monai.runs.stamp import COMMAND, command_line
from mu_monai.workflow.launching import REASON, failure_of, wait_for

LOG = "simulator.log"
_LOOK = 1.0  # seconds between two looks at what was done
logger = logging.getLogger(__name__)


def nvflare_problems() -> Iterator[str]:
    """Why no federation can run here: NVFlare is missing."""
    if find_spec("nvflare") is None:
        yield "a federation needs NVFlare, which is not installed: pip install 'mu-monai[federated]'"


def simulated(folder: Path, federation: Federation) -> Federation:
    """Run all rounds of a federation; the model to start from is in the folder already.

    Args:
        folder: its folder.
        federation: what is to be done.

    Returns:
        the same with what was done, and with what the sites measured.

    Raises:
        InputError: if a site found its input wrong, or answered with another bundle.
        RunError: if a site failed otherwise, or was killed.
    """
    write_federation(folder, federation)
    command = [sys.executable, "-m", "mu_monai.workflow.federation.job", str(folder.resolve())]
    with tempfile.TemporaryDirectory() as temporary, (folder / LOG).open("wb") as log:
        reason = Path(temporary, "reason.json")
        environment = os.environ | {REASON: str(reason), COMMAND: command_line()}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(federation.everybody))))
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _tell(folder, started)
        code = wait_for(started)
        if code or reason.is_file():
            raise failure_of(reason, f"NVFlare's simulator ended with exit code {code}; '{folder / LOG}' has its log")
    done = read_federation(folder)
    last = done.training[-1].number
    state = read_weights(round_file(folder, last))
    write_tensors(folder / MODEL_PT, state)
    done = replace(done, status=FINISHED, weights=weights_sha256(state))
    write_federation(folder, done)
    return done


def _tell(folder: Path, started: subprocess.Popen[bytes]) -> None:
    """Say which rounds are over while the simulator runs."""
    told = 0
    while started.poll() is None:
        time.sleep(_LOOK)
        rounds = read_federation(folder).rounds
        for work in rounds[told : sum(each.bytes is not None for each in rounds)]:
            told += 1
            logger.info("round %d is over: %s at %s", work.number, work.task, ", ".join(work.sites))
