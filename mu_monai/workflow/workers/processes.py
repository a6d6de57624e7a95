"""Workers as processes of this machine."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mu_monai.workflow.workers.workers import Engine

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_GRACE = 60.0  # seconds that a worker has to end its run, so that it can be resumed
_context = get_context("spawn")  # a fork would copy a process with threads and locks
_busy = threading.Event()


class Processes(Engine):
    """Processes of this machine, each in a pool of its own, so that it is known whose job was lost with it."""

    def __init__(self, place: str, share: float, folder: Path) -> None:
        self.at_once, self._share = int(place), share
        self._end, self._ours = _context.Pipe(duplex=False)
        self._idle = [(number, self._pool(number)) for number in range(self.at_once)]
        self._working: dict[Future[Any], tuple[int, ProcessPoolExecutor]] = {}

    @staticmethod
    def problems(place: str, share: float) -> list[str]:
        """Why it cannot be used, as far as that can be told without starting it."""
        there = torch.cuda.device_count()
        needed = math.ceil(int(place) / _on_one(share)) if share else 0
        if needed <= there:
            return []
        return [
            f"--workers {place} with --gpus-per-job {share:g} needs {needed} GPUs, and this machine has {there}; use "
            "fewer workers or a smaller share"
        ]

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function in a worker. An error of the future means that the worker was lost."""
        for future in [future for future in self._working if future.done()]:
            self._idle.append(self._working.pop(future))
        number, pool = self._idle.pop(0)
        try:
            future = pool.submit(_worked, function, *arguments)
        except BrokenProcessPool:
            pool = self._pool(number)
            future = pool.submit(_worked, function, *arguments)
        self._working[future] = number, pool
        return future

    def submit_everywhere(self, function: Callable[..., Any], *arguments: Any) -> list[Future[Any]]:
        """Call a function on every machine that workers run on."""
        return [self.submit(function, *arguments)]

    def close(self, *, now: bool) -> None:
        """End all workers; with `now` also those that work, whose runs can be resumed."""
        if now:
            self._ours.close()
        for _, pool in (*self._idle, *self._working.values()):
            pool.shutdown(cancel_futures=True)
        self._ours.close()

    def _pool(self, number: int) -> ProcessPoolExecutor:
        threads = max(1, torch.get_num_threads() // self.at_once)
        return ProcessPoolExecutor(1, _context, _start, (self._end, threads, self._gpu(number)))

    def _gpu(self, number: int) -> str | None:
        """The GPU of a worker, as the environment names it; None to leave it as it is."""
        if not self._share:
            return None
        named = os.environ.get(_VISIBLE)
        visible = named.split(",") if named else [str(place) for place in range(torch.cuda.device_count())]
        return visible[number // _on_one(self._share)]


def _on_one(share: float) -> int:
    """How many workers have one GPU together."""
    return int(1 / share)


def _start(end: Connection, threads: int, gpu: str | None) -> None:
    """Prepare the process of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the command ends its workers
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    if gpu is not None:
        os.environ[_VISIBLE] = gpu
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()


def _end_with(end: Connection) -> None:
    """End this process when the command ends its workers, or has died: the other end of the pipe is closed then."""
    end.poll(None)
    if _busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
    os._exit(1)


def _worked(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; a call that is interrupted ends the process."""
    _busy.set()
    try:
        return function(*arguments)
    except KeyboardInterrupt:
        os._exit(1)
    finally:
        _busy.clear()
