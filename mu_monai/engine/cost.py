"""What a run costs: sample passes and optimizer steps, counted as they happen, and peak memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.hooks import RemovableHandle

from mu_monai.runs import RunRecord

_COUNT = "cost"  # the place in the engine's state
FORWARD, TRAINED = 1, 3  # a backward pass costs about two forward passes


@dataclass
class PassCount:
    """The sample passes and optimizer steps of a run so far.

    A sample is one item of a batch: an image, or a patch or window of a volume. Its forward pass counts 1; forward and
    backward together count 3.

    Args:
        passes: sample passes.
        steps: optimizer steps.
        paused: whether passes are not counted now, since they only measure what was done.
        taken: earlier trainings whose weights the run takes; what they took counts as the run's own, once for all
            processes.

    Example:
        >>> count, network = PassCount(), nn.Linear(2, 1)
        >>> count.watch(network)
        >>> loss = network(torch.zeros(4, 2)).sum()
        >>> with torch.no_grad():
        ...     _ = network(torch.zeros(4, 2))
        >>> count.passes
        16
    """

    passes: int = 0
    steps: int = 0
    paused: bool = False
    taken: list[RunRecord] = field(default_factory=list)
    _hooks: list[RemovableHandle] = field(default_factory=list, repr=False)

    def watch(self, network: nn.Module) -> None:
        """Count every call of a network from now on."""

        # a function and not a method: copies of the network count for the same run
        def counted(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not self.paused and inputs and isinstance(inputs[0], torch.Tensor):
                self.passes += len(inputs[0]) * (TRAINED if _has_gradient(output) else FORWARD)

        self._hooks.append(network.register_forward_hook(counted))

    def watch_steps(self, optimizer: torch.optim.Optimizer) -> None:
        """Count every step of an optimizer from now on."""

        def stepped(*_: Any) -> None:
            self.steps += 1

        self._hooks.append(optimizer.register_step_post_hook(stepped))

    def close(self) -> None:
        """Count no more, and leave networks and optimizers as they were."""
        while self._hooks:
            self._hooks.pop().remove()


def count_of(engine: Engine) -> PassCount:
    """The count of a trainer's run, which begins with the first call."""
    count: PassCount | None = getattr(engine.state, _COUNT, None)
    if count is None:
        count = PassCount()
        setattr(engine.state, _COUNT, count)
        count.watch(engine.network)
        if getattr(engine, "optimizer", None) is not None:
            count.watch_steps(engine.optimizer)
        engine.add_event_handler(Events.COMPLETED, count.close)
    return count


@contextmanager
def uncounted(engine: Engine) -> Iterator[None]:
    """Passes in here only measure what a run has done, and are not part of what it costs."""
    count = count_of(engine)
    before, count.paused = count.paused, True
    try:
        yield
    finally:
        count.paused = before


def _has_gradient(output: Any) -> bool:
    first = output[0] if isinstance(output, tuple | list) and output else output
    return isinstance(first, torch.Tensor) and first.requires_grad


def forget_peak_memory(device: torch.device) -> None:
    """Reset the peak, because several runs may share a process; for the process this works only on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(device: torch.device) -> float:
    """The peak memory of the run's GPU, or of the process on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
