"""The course of the learning rate over a run."""

from __future__ import annotations

import math

from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer

CONSTANT, ONE_CYCLE = "constant", "one-cycle"
SCHEDULES = (CONSTANT, ONE_CYCLE)
RISES_AND_FALLS = "the learning rate rises and falls"
_SPANS = "mu_monai_spans"
_RISE, _START = 0.2, 1 / 25  # the share of the run that rises, and the share of the peak that it begins with


def share_of_peak(schedule: str, progress: float) -> float:
    r"""The learning rate at a point of a run, as a share of its highest.

    .. math::
        c(a, b, x) = b + (a - b) \frac{1 + \cos \pi x}{2}, \qquad
        \text{one-cycle: } c(\tfrac1{25}, 1, \tfrac{t}{0.2}) \text{ up to } t = 0.2, \text{ then }
        c(1, 0, \tfrac{t - 0.2}{0.8})

    Args:
        schedule: `constant` or `one-cycle`.
        progress: how much of the run is over, `t`, in [0, 1].

    Source:
        Smith & Topin, *Super-Convergence* (arXiv 1708.07120), in the form of torch's `OneCycleLR`, which counts steps;
        this one is a function of the share of a run, since runs end early and budgets are of sample passes.

    Example:
        >>> [round(share_of_peak("one-cycle", progress), 3) for progress in (0, 0.1, 0.2, 0.6, 1)]
        [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if schedule == CONSTANT:
        return 1.0
    progress = min(max(progress, 0.0), 1.0)
    if progress < _RISE:
        return _between(_START, 1.0, progress / _RISE)
    return _between(1.0, 0.0, (progress - _RISE) / (1 - _RISE))


def _between(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def span(engine: Engine, course: str) -> None:
    """Let a trainer's run only be resumed with as many epochs as it was started with.

    Args:
        engine: the trainer.
        course: what takes its course over all epochs, such as `the learning rate rises and falls`.
    """
    setattr(engine.state, _SPANS, course)


def spans(engine: Engine) -> str | None:
    """What takes its course over all epochs of a trainer's run; None if the run may go on for more of them."""
    return getattr(engine.state, _SPANS, None)


class OneCycle:
    """Lets the learning rate of a training rise to its full value and fall to 0, a function of its steps alone.

    Attach it before the run folder, since a checkpoint holds the rates of its own epoch. A run is only resumed with the
    same number of epochs.
    """

    def __init__(self) -> None:
        self._peaks: list[float] = []  # the learning rates of the config

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the start of the run and of every step."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def _start(self, engine: SupervisedTrainer) -> None:
        self._peaks = [group["lr"] for group in engine.optimizer.param_groups]
        span(engine, RISES_AND_FALLS)

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Set the learning rate of a step."""
        progress = (engine.state.iteration - 1) / (engine.state.max_epochs * engine.state.epoch_length)
        share = share_of_peak(ONE_CYCLE, progress)
        for group, peak in zip(engine.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = share * peak
