"""What an unlearning run would take, from a few steps of it in a temporary folder."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer

from mu_monai.bundle.config import run_config
from mu_monai.engine import count_of
from mu_monai.methods import UnlearningMethod
from mu_monai.workflow.quiet import quiet

_STEPS = 4  # the first is not timed: it warms up
_ENDLESS = 10**9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would take.

    Args:
        steps: optimizer steps of the trainer, about.
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


@dataclass
class _Trial:
    """The first steps of a run: what each took, and what came before and after them."""

    began: float = 0.0
    before: int = 0
    seconds: list[float] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    loaded: float = 0.0
    _mark: tuple[float, int] = (0.0, 0)

    def watch(self, trainer: SupervisedTrainer) -> None:
        """Hook to the trainer's steps."""
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._begin)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.terminate())

    def _begin(self, trainer: SupervisedTrainer) -> None:
        self._mark = time.monotonic(), count_of(trainer).passes
        if not self.passes:
            self.before, self.loaded = self._mark[1], self._mark[0] - self.began

    def _end(self, trainer: SupervisedTrainer) -> None:
        self.seconds.append(time.monotonic() - self._mark[0])
        self.passes.append(count_of(trainer).passes - self._mark[1])


def planned(
    files: Sequence[str], overrides: Mapping[str, Any], parser: ConfigParser, teacher_passes: int | None
) -> Plan:
    """Take a few steps of a run in a temporary folder, and say what all of them would take.

    Args:
        files: the config and what is laid over it.
        overrides: values by id.
        parser: the config with these values.
        teacher_passes: the sample passes of the teacher's training; None if they are not known.

    Raises:
        InputError: if the config cannot be built.
    """
    trial = _Trial(began=time.monotonic())
    parts: dict[str, Any] = {}

    def before(config: ConfigParser) -> None:
        parts["trainer"], parts["method"] = (config.get_parsed_content(name) for name in ("train::trainer", "method"))
        trial.watch(parts["trainer"])

    with tempfile.TemporaryDirectory() as place:
        short = {
            **{"run_dir": str(Path(place) / "run"), "resume": False, "quiet": True, "score_interval": _ENDLESS},
            **{"epoch_length": _STEPS, "run": ["$@train::trainer.run()"]},
        }
        with quiet("mu_monai", logging.ERROR):  # those of a run that ends after a few steps
            run_config(files, {**overrides, **short}, before)
        disk = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    plan = _whole(trial, parts["trainer"], parts["method"], parser)
    share = plan["passes"] / teacher_passes if teacher_passes else None
    return Plan(**plan, disk=disk, share=share)


def _whole(trial: _Trial, trainer: SupervisedTrainer, method: UnlearningMethod, parser: ConfigParser) -> dict[str, Any]:
    """Steps, passes and seconds of all epochs; a budget ends them before."""
    every, epochs = count_of(trainer).passes, int(parser.get("max_epochs"))
    if not trial.passes:  # it acts once, before the first step
        return {"steps": 0, "passes": every, "seconds": time.monotonic() - trial.began}
    length = parser.get("epoch_length")
    length = length if isinstance(length, int) else len(trainer.data_loader)
    step, last = max(trial.passes), every - trial.before - sum(trial.passes)
    steps, passes = epochs * length, trial.before + epochs * (length * step + last)
    if method.budget is not None and passes > method.budget:
        passes = method.budget
        steps = max(0, (passes - trial.before - last) // step)
    timed = trial.seconds[1:] or trial.seconds
    return {"steps": steps, "passes": passes, "seconds": trial.loaded + steps * median(timed)}
