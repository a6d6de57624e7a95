"""Retraining: the model of a training without the forget cases, in place of one that saw them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.adapters import read_weights
from mu_monai.adapters.rewriting import take_all_weights
from mu_monai.engine.cost import count_of
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import Text, setting
from mu_monai.runs import read_record


@dataclass(kw_only=True)
class Retraining(UnlearningMethod):
    r"""Take the weights of a training on the retained cases alone, and end the run.

    .. math:: \theta = \arg\min_\theta \ell(\theta, D_r)

    The training is a run of its own, which `mu-monai request run` makes before; that is why it is not in the list of
    methods. What it took counts as the cost of this run.

    Args:
        weights: its run folder.

    Raises:
        InputError: if its weights cannot all be taken, or for adapters instead of all weights.

    Example:
        >>> Retraining(forget_loader=[], weights="ledger/version-2-training").cost
        'one-shot'
    """

    paper = "none: a model that never saw the forgotten"
    needs: ClassVar[tuple[str, ...]] = ("retain labels",)
    cost = "one-shot"
    selective = True
    without_forget_images = True
    recipe: ClassVar[Mapping[str, Any]] = {**UnlearningMethod.recipe, "max_epochs": 1}

    weights: str = setting("", Text("a run folder"))

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Take the weights, and end the run."""
        take_all_weights(engine.network, read_weights(self.weights))
        count_of(engine).taken.append(read_record(self.weights))
        engine.terminate()
