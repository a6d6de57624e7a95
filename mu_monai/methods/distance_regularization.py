"""Distance regularization: fine-tuning on retained cases that moves the weights away from the original's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.adapters import mean_square_drift
from mu_monai.keys import IMAGE, LOSS
from mu_monai.methods.retain_fine_tuning import RetainFineTuning
from mu_monai.methods.settings import POSITIVE, Interval, OrNull, setting

_EPSILON = 1e-8


@dataclass(kw_only=True)
class DistanceRegularization(RetainFineTuning):
    r"""Train on retained cases and raise the distance of the weights from the original's.

    .. math:: L = \ell(D_r) - \alpha \min(d, d_{max}), \qquad
        d = \Big(\tfrac1n \|\theta - \theta_o\|_2^2 + 10^{-8}\Big)^{1/2}

    A model is the harder to lead back, the farther its weights are from the original's. No forget image is used. At the
    start the distance has no gradient: its direction is that of the first steps on retained cases. With adapters, the
    distance is that of what they add to the weights of their layers.

    Args:
        alpha: weight of the distance, >= 0; 0 is fine-tuning on retained cases.
        limit: the distance from which on it is no longer raised, a root mean square over weights, > 0; `None` for no
            limit.

    Raises:
        InputError: for a value outside these ranges, or a network that is not a `Student`.

    Source:
        Siddiqui et al., *From Dormant to Deleted* (arXiv 2505.22310) and their code (`shoaibahmed/vision_relearning`,
        `weight_dist_reg`), where the formula was read: alpha 1, no limit, Adam at a constant 1e-5 for 100 epochs, a
        third of the training. Here it is AdamW in one cycle up to 1e-4 for 5 epochs. Under either optimizer a weight
        whose loss is flat moves by the learning rate in each step, whatever alpha is; this rate moves a network about
        as far as the noise of `WeightDistortion`, 0.02. The limit is ours.

    Example:
        >>> DistanceRegularization(forget_loader=[]).settings()["alpha"]
        1.0
    """

    paper = "Siddiqui et al. 2025, arXiv 2505.22310"
    recipe: ClassVar[Mapping[str, Any]] = {**RetainFineTuning.recipe, "learning_rate": 1e-4}
    trials = (
        {},
        {"method::alpha": 10.0},
        {"learning_rate": 3e-4},
        {"learning_rate": 1e-3, "method::limit": 0.02},
    )

    alpha: float = setting(1.0, Interval(0))
    limit: float | None = setting(None, OrNull(POSITIVE))

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Subtract the distance from the supervised loss."""
        super().on_loss(engine)
        output = engine.state.output
        distance = torch.sqrt(mean_square_drift(engine.network) + _EPSILON)
        self.record(engine, "distance", distance, len(output[IMAGE]))
        output[LOSS] = output[LOSS] - self.alpha * distance.clamp(max=math.inf if self.limit is None else self.limit)
