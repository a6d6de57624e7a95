"""Gradient difference: descend on retained cases and ascend on forget cases, in one step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.engines import SupervisedTrainer

from mu_monai.keys import IMAGE, LOSS
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import SHARE, setting


@dataclass(kw_only=True)
class GradientDifference(UnlearningMethod):
    r"""Lower the loss of the retained cases and raise that of the forget cases.

    .. math:: L = \alpha \, \ell(D_r) - (1 - \alpha) \, \ell(D_f)

    The forget loader is repeated. With `alpha=1` this is retain fine-tuning, with `alpha=0` gradient ascent.

    Args:
        alpha: weight of the retained cases, in [0, 1].

    Raises:
        InputError: for a value outside this range, or a network that is not a `Student`.

    Source:
        NegGrad+ of Kurmanji et al., *Towards Unbounded Machine Unlearning* (arXiv 2302.09880): alpha = 0.95 for small
        data sets and 0.9999 for large ones, SGD at 0.01 without weight decay. Here it is the bundle's AdamW at 1e-4
        with frozen BatchNorm statistics.

    Example:
        >>> GradientDifference(forget_loader=[]).settings()["alpha"]
        0.95
    """

    paper = "Kurmanji et al. 2023, arXiv 2302.09880"
    needs = ("retain labels", "forget labels")
    cost = "both"
    replicable = True
    trials = ({}, {"method::alpha": 0.8}, {"method::alpha": 0.99}, {"learning_rate": 3e-4})

    alpha: float = setting(0.95, SHARE)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Subtract the loss of a forget batch from the supervised loss."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        image, label, _ = self.forget_batch(engine)
        forget: torch.Tensor = engine.loss_function(engine.inferer(image, engine.network), label)
        self.record(engine, "forget", forget, len(image))
        output[LOSS] = self.alpha * output[LOSS] - (1 - self.alpha) * forget
