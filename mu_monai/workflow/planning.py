"""What an unlearning run would take, from a few steps of it in a temporary folder."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer

from mu_monai.bundle.config import run_config
from mu_monai.engine import count_of
from mu_monai.workflow.quiet import quiet

_STEPS = 4  # the first is not timed: it warms up
_ENDLESS = 10**9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would take.

    Args:
        steps: optimizer steps, about.
        passes: sample passes, at most; see `mu_monai.engine.PassCount`.
        seconds: on this machine, with reading the images; without the scores at the end.
        disk: bytes of the finished run folder, without its score tables.
        share: the passes as a share of the teacher's training; None if that is not known.
    """

    steps: int
    passes: int
    seconds: float
    disk: int
    share: float | None = None

    def __str__(self) -> str:
        share = "" if self.share is None else f" ({self.share:.1%} of the teacher's training)"
        return (
            f"the run would take about {self.steps} steps and at most {self.passes} sample passes{share}, about "
            f"{self.seconds:.0f} s here besides its scores, and {self.disk / 1e6:.1f} MB of disk"
        )


class _Trial:
    """The first epoch of a run, cut short, and how the second begins: what its parts take.

    Each is seconds, sample passes and optimizer steps; `parts` are those of the run before its first epoch (`start`),
    of every epoch before its first batch (`opening`), of each step (`step`) and after the last one (`closing`). What
    the second epoch begins with shows whether all of them do, or the first one alone.
    """

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {"start": [], "opening": [], "step": [], "closing": []}
        self.epochs = self.length = 0
        self._taken = np.array([time.monotonic(), 0, 0])

    def watch(self, trainer: SupervisedTrainer) -> None:
        """Hook to the trainer's events, after everything else."""
        self.epochs, self.length = trainer.state.max_epochs, trainer.state.epoch_length
        trainer.add_event_handler(Events.STARTED, self._note, "start")
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._open)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._note, "closing")

    def since(self, trainer: SupervisedTrainer) -> np.ndarray:
        """What was taken since the last part ended."""
        count, before = count_of(trainer), self._taken
        self._taken = np.array([time.monotonic(), count.passes, count.steps])
        return self._taken - before

    def _note(self, trainer: SupervisedTrainer, part: str) -> None:
        self.parts[part].append(self.since(trainer))

    def _open(self, trainer: SupervisedTrainer) -> None:
        if len(self.parts["opening"]) < trainer.state.epoch:
            self._note(trainer, "opening")
        if trainer.state.epoch > 1:
            trainer.terminate()

    def _step(self, trainer: SupervisedTrainer) -> None:
        self._note(trainer, "step")
        if len(self.parts["step"]) == _STEPS:
            trainer.terminate_epoch()


def planned(files: Sequence[str], overrides: Mapping[str, Any], teacher_passes: int | None) -> Plan:
    """Take a few steps of a run in a temporary folder, and say what all of them would take.

    Args:
        files: the config and what is laid over it.
        overrides: values by id.
        teacher_passes: the sample passes of the teacher's training; None if they are not known.

    Raises:
        InputError: if the config cannot be built.
    """
    trial = _Trial()
    parts: dict[str, Any] = {}

    def before(config: ConfigParser) -> None:
        parts["trainer"], parts["method"] = (config.get_parsed_content(name) for name in ("train::trainer", "method"))
        trial.watch(parts["trainer"])

    with tempfile.TemporaryDirectory() as place:
        short = {
            **{"run_dir": str(Path(place) / "run"), "resume": False, "quiet": True, "score_interval": _ENDLESS},
            "run": ["$@train::trainer.run()"],
        }
        with quiet("mu_monai", logging.ERROR):  # those of a run that ends after a few steps
            run_config(files, {**overrides, **short}, before)
        disk = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    seconds, passes, steps = _whole(trial, parts["trainer"], parts["method"].budget)
    share = passes / teacher_passes if teacher_passes else None
    return Plan(steps=round(steps), passes=round(passes), seconds=seconds, disk=disk, share=share)


def _whole(trial: _Trial, trainer: SupervisedTrainer, budget: int | None) -> tuple[float, float, float]:
    """Seconds, passes and steps of all epochs; a budget ends them before."""
    end = trial.since(trainer)
    start, openings, steps, closings = (np.array(part).reshape(-1, 3) for part in trial.parts.values())
    once = start.sum(0) + end
    if not len(steps):  # it acts once, before the first step
        return tuple((once + openings.sum(0) + closings.sum(0)).tolist())
    step = steps.max(0)
    step[0] = np.median(steps[1:, 0] if len(steps) > 1 else steps[:, 0])
    rest = openings[0] + (trial.epochs - 1) * openings[-1] + trial.epochs * (trial.length * step + closings.max(0))
    passes = once[1] + rest[1]
    if budget is not None and passes > budget:
        rest *= max(0.0, (budget - once[1]) / rest[1])
    return tuple((once + rest).tolist())
