"""Keeps the weights of a few epochs of a training, so that it can be taken back to before it memorized a case."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from scipy.optimize import isotonic_regression
from torch.utils.data import ConcatDataset, Subset

from mu_monai.adapters.milestones import milestone_epochs, write_milestone
from mu_monai.engine.cost import uncounted
from mu_monai.engine.curve import record_term
from mu_monai.engine.predict import ScoreSubsets
from mu_monai.engine.stop_at_reference import loss_auc
from mu_monai.errors import InputError
from mu_monai.keys import LOSS, MILESTONES_DIR, PATIENT_ID, TRAINING_SUBSETS, VALIDATION
from mu_monai.processes import is_first

_MOST = 500  # cases that are scored on each side
logger = logging.getLogger(__name__)


class Milestones:
    """Writes the weights after a few epochs, spread geometrically, to `milestones/` of the run folder.

    With each goes how well losses tell training from unseen patients (`memorized_auc` in the curve): the epoch up to
    which the model has not memorized anybody depends on nothing else, and holds for every later request to forget.

    Milestones hold what was learned from all training cases up to their epoch. They are as confidential as the model
    itself, and never belong in a release. Attach it before the run folder.

    Args:
        folder: the run folder.
        number: how many to keep, at least 0; fewer if the training has fewer epochs.
        scorer: has the cases and the loss; on each side at most 500 cases, spread evenly, are scored. `None` keeps only
            weights.
        subsets: the subsets that are trained on.

    Raises:
        InputError: for a number below 0, or one that is not whole.
    """

    def __init__(
        self,
        folder: str | Path,
        number: int = 12,
        scorer: ScoreSubsets | None = None,
        subsets: Sequence[str] = TRAINING_SUBSETS,
    ) -> None:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InputError(f"milestones={number} is not allowed; use a whole number of 0 or more")
        self.folder, self.number = Path(folder) / MILESTONES_DIR, number
        self.scorer, self.subsets, self.epochs = scorer, tuple(subsets), list[int]()

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
        if engine.state.epoch not in self.epochs:
            return
        memorized = None if self.scorer is None else memorized_auc(engine, self.scorer, self.subsets)
        if memorized is not None:
            record_term(engine, "memorized_auc", memorized)
        if is_first():
            write_milestone(self.folder, engine.state.epoch, engine.network.state_dict(), memorized)


def memorized_auc(engine: SupervisedTrainer, scorer: ScoreSubsets, trained: Sequence[str]) -> float | None:
    """The probability that a patient who is trained on has a lower loss than one of `validation`, ties counting half.

    Args:
        engine: the trainer.
        scorer: the cases and the loss.
        trained: the subsets that are trained on.

    Returns:
        the AUC, in [0, 1]; `None` if there are no cases to compare.
    """
    loaders = [scorer.loaders[subset] for subset in (*trained, VALIDATION) if len(scorer.loaders.get(subset, ()))]
    if len(loaders) < 2 or not len(scorer.loaders.get(VALIDATION, ())):
        return None
    engine.network.eval()
    *known, unseen = loaders
    both: list[Any] = [ConcatDataset([loader.dataset for loader in known]), unseen.dataset]
    with uncounted(engine):
        scores = [scorer.score(engine.network, _spread(dataset, unseen.batch_size), measure=False) for dataset in both]
    return scores_auc(*scores)


def scores_auc(trained: pd.DataFrame, unseen: pd.DataFrame) -> float:
    """The same from score tables, by the mean loss of each patient.

    Args:
        trained: `patient_id` and `loss` of cases that were trained on.
        unseen: the same of cases that were not.

    Example:
        >>> trained = pd.DataFrame({"patient_id": ["a", "a"], "loss": [0.1, 0.5]})
        >>> scores_auc(trained, pd.DataFrame({"patient_id": ["b", "c"], "loss": [0.2, 0.4]}))
        0.5
    """
    return loss_auc(*(scores.groupby(PATIENT_ID)[LOSS].mean().tolist() for scores in (trained, unseen)))


def rising(memorized: Sequence[float]) -> list[float]:
    r"""The nearest curve that does not fall, for what milestones were measured to have memorized.

    .. math:: \hat A = \arg\min_{a_1 \le \dots \le a_n} \sum_i (a_i - A_i)^2

    Memory does not fall while a model trains on the same patients. Where the measured AUC falls, it is chance, or an
    epoch whose losses are high or low for all: neighbors are averaged until it does not.

    Args:
        memorized: the AUC of each milestone, in [0, 1], by epoch.

    Source:
        isotonic regression, Barlow et al., *Statistical Inference under Order Restrictions* (1972).

    Example:
        >>> rising([0.5, 0.75, 0.25, 0.75])
        [0.5, 0.5, 0.5, 0.75]
    """
    return [float(value) for value in isotonic_regression(list(memorized)).x] if len(memorized) else []


def _spread(dataset: Any, batch_size: int | None) -> DataLoader[Any]:
    """At most 500 of the cases, spread evenly."""
    places = np.linspace(0, len(dataset) - 1, min(len(dataset), _MOST), dtype=int)
    return DataLoader(Subset(dataset, places.tolist()), batch_size=batch_size, shuffle=False)
