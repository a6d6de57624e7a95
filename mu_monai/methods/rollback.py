"""Rollback: the model of a fold that was trained without the forget cases, in place of one that saw them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.adapters import read_weights
from mu_monai.adapters.rewriting import take_all_weights
from mu_monai.engine import warn
from mu_monai.methods.retain_fine_tuning import RetainFineTuning
from mu_monai.methods.settings import Text, setting

_NOT_COVERED = (
    "the forget cases were held out when this fold's model was trained. Not covered is what was decided by looking at "
    "them: the epoch, if validation chose it ({}), settings, and intensity statistics that were taken over all cases"
)
NOT_COVERED = _NOT_COVERED.format("training here takes the last one")
NOT_COVERED_IN_NNUNET = _NOT_COVERED.format("as for checkpoint_best.pth, but not for checkpoint_final.pth")
NOT_COVERED_IN_AUTO3DSEG = _NOT_COVERED.format("as Auto3DSeg keeps the best one of each model")


@dataclass(kw_only=True)
class Rollback(RetainFineTuning):
    r"""Take the weights of a fold's model that never saw the forget cases; with a budget, train on retained cases.

    .. math:: \theta = \theta_k, \quad D_f \cap D_k = \emptyset, \qquad L = \ell(D_r)

    The teacher is another fold's model, which saw the forget cases, for comparison; nothing is taken from it. Retained
    cases include those of the fold, which its model did not see either. `mu-monai rollback` chooses the fold; that is
    why it is not in the list of methods.

    Args:
        weights: the run folder or weights file of the fold's model.

    Raises:
        InputError: if the weights are those of another network or cannot all be taken, or for adapters instead of all
            weights.

    Example:
        >>> Rollback(forget_loader=[], weights="runs/fold-1").cost
        'retain'
    """

    paper = "models of a cross-validation that held the forgotten out"
    selective = True
    recipe: ClassVar[Mapping[str, Any]] = {**RetainFineTuning.recipe, "learning_rate": 1e-4}

    weights: str = setting("", Text("a run folder or weights file"))

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Take the weights; without a budget, end the run."""
        take_all_weights(engine.network, read_weights(self.weights))
        warn(engine, NOT_COVERED)
        if not self.budget:
            engine.terminate()
