"""What every unlearning method is: hyper-parameters, a forget loader, and what happens at the trainer's events."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from ignite.engine import Events
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch.utils.data import DataLoader

from mu_monai.engine import WholeCases, record_term
from mu_monai.errors import InputError


@dataclass(kw_only=True)
class UnlearningMethod:
    """A handler that turns a `SupervisedTrainer` on retain batches into an unlearning run.

    The trainer stays as MONAI wrote it: its batches are retain batches and its loss is the supervised loss. The
    method owns the forget loader and acts at the trainer's events.

    Args:
        forget_loader: batches of forget cases, with the keys of the trainer's own batches.
        whole: the cases that are measured, where the batches are patches of them; by default the batches themselves.
    """

    forget_loader: DataLoader[Mapping[str, Any]] = field(repr=False)
    whole: WholeCases | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._forget_batches: Iterator[Mapping[str, Any]] | None = None

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook the method's actions to the trainer's events."""
        if len(self.forget_loader) == 0:
            raise InputError(
                "the forget set is empty: there is nothing to unlearn; choose cases with the split's --forget"
            )
        engine.add_event_handler(Events.STARTED, self.on_start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.on_epoch_start)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.on_loss)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self.on_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.on_epoch)
        engine.add_event_handler(Events.COMPLETED, self.on_end)

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters, by name, as `run.json` keeps them."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.repr}

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What the method measured on its finished run, as `run.json` keeps it."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the method must know to go on with an interrupted run, besides weights and optimizer."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Go on from where `state_dict` was taken; called after `on_start`."""

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Act before the first iteration."""

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Start a fresh pass over the forget set: no state crosses epochs, and resuming is exact."""
        self._forget_batches = None
        # the trainer's own data set is seeded by `Reseed`; transforms that only the forget set has are seeded here
        set_rnd(self.forget_loader.dataset, torch.initial_seed() % 2**32)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Act on `engine.state.output["loss"]`, the supervised retain loss, before it is differentiated."""

    def on_step(self, engine: SupervisedTrainer) -> None:
        """Act after the optimizer's step on a retain batch."""

    def on_epoch(self, engine: SupervisedTrainer) -> None:
        """Act after the last retain batch of an epoch."""

    def on_end(self, engine: SupervisedTrainer) -> None:
        """Act after the last epoch, before the run's weights are written."""

    def measured(self, engine: SupervisedTrainer) -> WholeCases:
        """What is measured: whole cases where there are any, else the forget batches and the trainer's own."""
        return self.whole or WholeCases(forget=self.forget_loader, retain=engine.data_loader, inferer=engine.inferer)

    def forget_batch(self, engine: SupervisedTrainer) -> tuple[torch.Tensor, torch.Tensor]:
        """The next forget images and labels on the trainer's device; the loader starts over where it ends."""
        batch = next(self._forget_batches, None) if self._forget_batches is not None else None
        if batch is None:
            self._forget_batches = iter(self.forget_loader)
            batch = next(self._forget_batches)
        image, label, *_ = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        return image, label

    @staticmethod
    def step(engine: SupervisedTrainer, loss: torch.Tensor) -> None:
        """Take an optimizer step outside the trainer's iterations, with the trainer's scaler where it has one."""
        engine.optimizer.zero_grad(set_to_none=True)
        if engine.scaler is not None:
            engine.scaler.scale(loss).backward()
            engine.scaler.step(engine.optimizer)
            engine.scaler.update()
        else:
            loss.backward()
            engine.optimizer.step()

    record = staticmethod(record_term)


def range_problems(settings: Mapping[str, Any], allowed: str, fits: Callable[[float], bool]) -> Iterator[str]:
    """Say which settings of a method are out of their range; what is no number is in none.

    Example:
        >>> list(range_problems({"kd_weight": -1, "forget_weight": 3}, "a number of 0 or more", lambda x: x >= 0))
        ['method#kd_weight=-1 is not allowed; use a number of 0 or more']
    """
    for name, value in settings.items():
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if not fits(number):
            yield f"method#{name}={value} is not allowed; use {allowed}"
