"""l1-sparse unlearning: train on the retained cases while an l1 penalty pulls small weights to zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.engines import SupervisedTrainer

from mu_monai.keys import LOSS
from mu_monai.methods.retain_fine_tuning import RetainFineTuning
from mu_monai.methods.settings import Interval, setting


@dataclass(kw_only=True)
class L1Sparse(RetainFineTuning):
    r"""Train on the retained cases with an l1 penalty that fades out.

    .. math:: L = \ell(D_r) + \gamma_t \|\theta\|_1, \quad \gamma_t = \gamma \, \Big(1 - \frac{t - 1}{T}\Big)

    in step `t` of `T`. :math:`\theta` is everything that trains, including biases and normalization layers; with
    adapters, it is the adapters' factors. The penalty is recorded as `l1`, the norm without its weight.

    Args:
        gamma: weight of the penalty in the first step, >= 0.

    Raises:
        InputError: for a value outside this range, a network that is not a `Student`, or a run that is resumed with a
            different number of epochs.

    Source:
        Jia et al., *Model Sparsity Can Simplify Machine Unlearning* (arXiv 2304.04934), with its linearly decreasing
        weight; SGD at 0.01 for 10 epochs with a gamma of about 5e-4. Here the weight decreases step by step, with the
        bundle's AdamW at 1e-4. Its steps have the size of the learning rate however small the penalty's gradient is:
        weights that the loss hardly depends on move toward zero by up to 1e-4 per step. BatchNorm statistics are
        frozen.

    Example:
        >>> L1Sparse(forget_loader=[]).settings()["gamma"]
        0.0005
    """

    paper = "Jia et al. 2023, arXiv 2304.04934"
    replicable = True
    trials = ({}, {"method::gamma": 5e-5}, {"method::gamma": 5e-3}, {"learning_rate": 1e-3})

    gamma: float = setting(5e-4, Interval(0))

    @property
    def spans_run(self) -> str:
        """The penalty takes its course over all epochs."""
        return "the penalty fades"

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the penalty, with the remaining part of its weight."""
        super().on_loss(engine)
        state = engine.state
        norm = torch.stack([weight.abs().sum() for weight in engine.network.trainable().values()]).sum()
        self.record(engine, "l1", norm)
        left = 1 - (state.iteration - 1) / (state.max_epochs * state.epoch_length)
        state.output[LOSS] = state.output[LOSS] + self.gamma * left * norm
