"""Gradient ascent: undo the training on forget cases by raising their loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.keys import IMAGE, LOSS
from mu_monai.methods.method import UnlearningMethod


@dataclass(kw_only=True)
class GradientAscent(UnlearningMethod):
    r"""Raise the supervised loss of the forget cases.

    .. math:: L = -\ell(D_f)

    Nothing limits it: the loss has no upper bound and no retained case is used, so the learning rate and the number of
    epochs decide between no effect and a destroyed model. `stop_at=reference` ends it when forget cases are answered
    like unseen ones. An epoch is a pass over the forget set.

    Raises:
        InputError: for a network that is not a `Student`.

    Source:
        Graves et al., *Amnesiac Machine Learning* (arXiv 2010.10981), and Thudi et al., *Unrolling SGD* (arXiv
        2109.13398); also called NegGrad. Papers use SGD at 1e-4 for about 5 epochs; here it is the bundle's AdamW at
        1e-5, whose steps do not shrink with the gradient, with frozen BatchNorm statistics.

    Example:
        >>> GradientAscent(forget_loader=[]).needs
        ('forget labels',)
    """

    paper = "Thudi et al. 2022, arXiv 2109.13398"
    needs: ClassVar[tuple[str, ...]] = ("forget labels",)
    cost = "forget"
    replicable = True
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "epoch_length": "$len(@method::forget_loader)",
        "learning_rate": 1e-5,
    }
    trials = ({}, {"learning_rate": 3e-6}, {"learning_rate": 3e-5}, {"learning_rate": 1e-4})

    def next_batch(self, engine: SupervisedTrainer) -> Mapping[str, Any] | None:
        """Forget cases instead of retained ones."""
        return self.next_forget()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Turn the supervised loss of a forget batch around."""
        output = engine.state.output
        self.record(engine, "forget", output[LOSS], len(output[IMAGE]))
        output[LOSS] = -output[LOSS]
