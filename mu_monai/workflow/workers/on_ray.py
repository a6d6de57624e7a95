"""Workers of Ray: a cluster that is there, or one that is started on this machine."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mu_monai.errors import InputError
from mu_monai.workflow.workers.workers import Engine

_ANSWERS_IN, _ENDS_IN = 30, 60  # seconds that a cluster has to answer, and an interrupted run to be written down
_LOCAL = ("127.0.0.1", "localhost")


class OnRay(Engine):
    """Tasks of Ray; Ray decides when and where each runs."""

    def __init__(self, place: str, share: float, folder: Path) -> None:
        _prepare(place)
        import ray

        self._ray = ray
        options: dict[str, Any] = {"address": place} if place else {"address": "local", "include_dashboard": False}
        try:
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"--workers {_named(place)} cannot be used ({error})") from None
        self._nodes = [node for node in ray.nodes() if node["Alive"]]
        self._tasks: dict[Future[Any], Any] = {}
        problems = list(_misfits(self._nodes, place, share))
        if problems:
            ray.shutdown()
            raise InputError(problems)
        # the jobs of a lost worker are run again by `run_jobs`, for every engine alike
        self._call = ray.remote(num_cpus=1, num_gpus=share, max_retries=0)(_called)

    @staticmethod
    def problems(place: str, share: float) -> list[str]:
        """Why it cannot be used, as far as that can be told without starting it."""
        if find_spec("ray") is None:
            return [f"--workers {_named(place)} needs Ray, which is not installed: pip install 'mu-monai[ray]'"]
        return _silent(place) if place else []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function in a worker. An error of the future means that the worker was lost."""
        return self._future(self._call.remote(function, *arguments))

    def submit_everywhere(self, function: Callable[..., Any], *arguments: Any) -> list[Future[Any]]:
        """Call a function on every machine that workers run on."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in self._nodes]
        calls = [self._call.options(num_cpus=0, num_gpus=0, scheduling_strategy=each) for each in there]
        return [self._future(call.remote(function, *arguments)) for call in calls]

    def close(self, *, now: bool) -> None:
        """End all workers; with `now` also those that work, whose runs can be resumed."""
        if now:
            left = [task for future, task in self._tasks.items() if not future.done()]
            for task in left:
                self._ray.cancel(task)  # a KeyboardInterrupt in the worker
            self._ray.wait(left, num_returns=len(left), timeout=_ENDS_IN) if left else None
        self._ray.shutdown()

    def _future(self, task: Any) -> Future[Any]:
        future: Future[Any] = task.future()
        self._tasks[future] = task
        return future


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _named(place: str) -> str:
    return f"ray:{place}" if place else "ray"


def _prepare(place: str) -> None:
    """Set what Ray reads from the environment when it is imported, unless the user has set it."""
    if not place:  # a cluster of its own asks for a token, unless RAY_AUTH_MODE says otherwise
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of this cluster alone, and in no file
    if not place or place.partition(":")[0] in _LOCAL:
        # Ray keeps to 127.0.0.1 by itself on Windows and macOS, and by this also on Linux
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _misfits(nodes: Sequence[Mapping[str, Any]], place: str, share: float) -> Iterator[str]:
    """Why a cluster that has started cannot be used."""
    most = max(node["Resources"].get("GPU", 0.0) for node in nodes)
    if share > most:
        yield (
            f"--gpus-per-job {share:g} does not fit: the largest machine of {_named(place)} has {most:g} GPUs; use a "
            "smaller share, or omit it for jobs on CPUs"
        )
    if not place and nodes[0]["NodeManagerAddress"] not in _LOCAL:
        yield (
            f"--workers ray would listen on {nodes[0]['NodeManagerAddress']}, and not on this machine alone, since Ray "
            "was imported before: import it afterwards, or start a cluster and give --workers ray:auto"
        )


def _silent(place: str) -> list[str]:
    """Why a cluster does not answer; asked in a process of its own, since Ray would wait for minutes."""
    _prepare(place)
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", place]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWERS_IN, check=False)
    except subprocess.TimeoutExpired:
        reason = f"nothing for {_ANSWERS_IN} s"
    else:
        if asked.returncode == 0:
            return []
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
    return [
        f"--workers ray:{place} does not answer as a Ray cluster does ({reason}); check the address, the port (6379 by "
        "default), and the token of the cluster (RAY_AUTH_MODE, RAY_AUTH_TOKEN)"
    ]
