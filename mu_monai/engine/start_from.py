"""Starts a run from other weights than its config's: those that a federation sent, for example."""

from __future__ import annotations

import os

from ignite.engine import Events
from monai.engines import SupervisedTrainer

from mu_monai.adapters import Student, load_weights, read_weights
from mu_monai.adapters.rewriting import take_weights
from mu_monai.engine.warnings import warn


class StartFrom:
    """Gives the network other weights before anything looks at it; a student keeps its teacher.

    Attach it before everything else.

    Args:
        weights: a weights file, or a run folder.

    Raises:
        InputError: if the weights are not those of the network, or the network is a student that trains adapters.
    """

    def __init__(self, weights: str | os.PathLike[str]) -> None:
        self.weights = weights

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the start of the run."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Take the weights."""
        if not isinstance(engine.network, Student):
            load_weights(engine.network, self.weights)
            return
        kept = take_weights(engine.network, read_weights(self.weights))
        if kept:
            warn(engine, f"{', '.join(kept)} are weights outside of layers, and stay as they are in the teacher")
