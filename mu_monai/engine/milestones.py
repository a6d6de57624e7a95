"""Keeps the weights of a few epochs of a training, so that it can be taken back to before it memorized a case."""

from __future__ import annotations

import logging
from pathlib import Path

from ignite.engine import Events
from monai.engines import SupervisedTrainer

from mu_monai.adapters.milestones import milestone_epochs, write_milestone
from mu_monai.errors import InputError
from mu_monai.keys import MILESTONES_DIR

logger = logging.getLogger(__name__)


class Milestones:
    """Writes the weights after a few epochs, spread geometrically, to `milestones/` of the run folder.

    Milestones hold what was learned from all training cases up to their epoch. They are as confidential as the model
    itself, and never belong in a release. Attach it before the run folder.

    Args:
        folder: the run folder.
        number: how many to keep, at least 0; fewer if the training has fewer epochs.

    Raises:
        InputError: for a number below 0, or one that is not whole.
    """

    def __init__(self, folder: str | Path, number: int = 6) -> None:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InputError(f"milestones={number} is not allowed; use a whole number of 0 or more")
        self.folder, self.number = Path(folder) / MILESTONES_DIR, number
        self.epochs: list[int] = []

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the start and to the end of every epoch."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _start(self, engine: SupervisedTrainer) -> None:
        self.epochs = milestone_epochs(self.number, engine.state.max_epochs)
        if self.epochs:
            size = sum(value.numel() * value.element_size() for value in engine.network.state_dict().values())
            logger.info(
                "the weights after epochs %s will be kept in '%s' (%d files of %.1f MB); milestones=0 keeps none",
                ", ".join(map(str, self.epochs)),
                self.folder,
                len(self.epochs),
                size / 1e6,
            )

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Keep the weights if this epoch is one of those."""
        if engine.state.epoch in self.epochs:
            write_milestone(self.folder, engine.state.epoch, engine.network.state_dict())
