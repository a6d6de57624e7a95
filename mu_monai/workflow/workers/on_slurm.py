"""Workers of Slurm, through submitit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mu_monai.workflow.workers.workers import Engine

_MINUTES = 24 * 60  # of a job, unless SBATCH_TIMELIMIT says otherwise


class OnSlurm(Engine):
    """Jobs of Slurm, which wait in its queue."""

    at_once = 64  # in the queue
    cluster = "slurm"  # submitit can also run them as processes of this machine

    def __init__(self, place: str, share: float, folder: Path) -> None:
        import submitit

        folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-slurm-"))
        self._executor = submitit.AutoExecutor(folder=self._folder, cluster=self.cluster)
        wanted: dict[str, Any] = {"slurm_partition": place} if place else {}
        wanted |= {"gpus_per_node": 1} if share else {}
        self._executor.update_parameters(name="mu-monai", timeout_min=_MINUTES, **wanted)
        self._jobs: list[Any] = []
        self._threads = ThreadPoolExecutor(self.at_once)  # each waits for a job

    @staticmethod
    def problems(place: str, share: float) -> list[str]:
        """Why it cannot be used, as far as that can be told without starting it."""
        problems = []
        if find_spec("submitit") is None:
            problems.append("--workers slurm needs submitit, which is not installed: pip install 'mu-monai[slurm]'")
        if shutil.which("sbatch") is None:
            problems.append("--workers slurm needs Slurm, and sbatch is not found; start the command on a login node")
        if share not in (0, 1):
            problems.append(f"--gpus-per-job {share:g} is not for Slurm, which gives whole GPUs; use 1, or omit it")
        return problems

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function in a worker. An error of the future means that the worker was lost."""
        job = self._executor.submit(function, *arguments)
        self._jobs.append(job)
        return self._threads.submit(job.result)

    def submit_everywhere(self, function: Callable[..., Any], *arguments: Any) -> list[Future[Any]]:
        """Call a function on every machine that workers run on: on one, since Slurm decides which they are."""
        return [self.submit(function, *arguments)]

    def close(self, *, now: bool) -> None:
        """End all workers; with `now` also those that work, whose runs can be resumed."""
        for job in [job for job in self._jobs if not job.done()]:
            job.cancel()
        self._threads.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)
