"""Small handlers for any MONAI trainer: seeds for each epoch and before the first, a stop at NaN, a progress bar."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import set_determinism

from mu_monai.keys import LOSS
from mu_monai.processes import is_first


class Reseed:
    """At the start of each epoch, seed every random generator with `seed + epoch` and begin a new pass over the data.

    An epoch then depends only on the weights and its number, even if it is shorter or longer than the data. A resumed
    run therefore repeats exactly what an uninterrupted run does, without saving the state of any generator.

    Args:
        seed: the run's seed, an integer of 0 or more.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Hook to the start of every epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed torch, numpy, random and the random transforms of the trainer's data set, and restart its loader."""
        set_determinism(self.seed + engine.state.epoch)
        set_rnd(getattr(engine.state.dataloader, "dataset", None), self.seed + engine.state.epoch)
        engine.set_data(engine.state.dataloader)  # otherwise ignite continues an unfinished pass


@contextmanager
def seeded(*datasets: Any) -> Iterator[None]:
    """Draw from the run's own seed, as before the first epoch, and restore torch's generators afterwards.

    Args:
        datasets: data sets whose random transforms are seeded as well; they stay seeded until the next epoch.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(torch.initial_seed())
        for dataset in datasets:
            set_rnd(dataset, torch.initial_seed() % 2**32)
        yield


class StopOnNonFinite:
    """Stop the run with an error at the first loss, or the first epoch's weights, that are NaN or infinite.

    The loss is checked before it changes the weights, and the weights before they are saved in a checkpoint: attach it
    after the method and before the run folder.
    """

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the completed loss and to the end of every epoch."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.check_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_weights)

    def check_loss(self, engine: SupervisedTrainer) -> None:
        """Raise `FloatingPointError` for a loss that is not finite."""
        loss = float(engine.state.output[LOSS].detach())
        if not math.isfinite(loss):
            self._stop(engine, f"the loss is {loss}")

    def check_weights(self, engine: SupervisedTrainer) -> None:
        """Raise `FloatingPointError` for trained weights that are not finite."""
        trained = (item for item in engine.network.named_parameters() if item[1].requires_grad)
        bad = next((name for name, weight in trained if not torch.isfinite(weight).all()), None)
        if bad is not None:
            self._stop(engine, f"the weights of '{bad}' are no longer finite")

    def _stop(self, engine: SupervisedTrainer, what: str) -> None:
        raise FloatingPointError(
            f"{what} in epoch {engine.state.epoch}, iteration {engine.state.iteration}; look for NaN in the images, or "
            "start a new run with a lower learning rate (--set learning_rate=...); the checkpoint of the previous "
            "epoch is kept"
        )


class Progress:
    """A progress bar over the run's epochs with the losses; shown only on a terminal.

    Args:
        quiet: no bar even on a terminal.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.disabled = quiet or not sys.stderr.isatty() or not is_first()

    def attach(self, engine: Engine) -> None:
        """Show the bar, unless it is turned off."""
        if not self.disabled:
            ProgressBar(desc="epoch").attach(engine, output_transform=_loss)


def _loss(output: Any) -> dict[str, float]:
    """The loss of an iteration's output, which MONAI by default splits into a list of cases."""
    case = output[0] if isinstance(output, list) else output
    return {LOSS: torch.as_tensor(case[LOSS]).item()}
