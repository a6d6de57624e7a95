"""Weight distortion: Gaussian noise on all weights, then fine-tuning on retained cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monai.engines import SupervisedTrainer

from mu_monai.adapters.rewriting import add_noise
from mu_monai.methods.damage_once import DamageOnce
from mu_monai.methods.settings import Interval, setting


@dataclass(kw_only=True)
class WeightDistortion(DamageOnce):
    r"""Add Gaussian noise to every weight, then train on retained cases.

    .. math:: \theta \leftarrow \theta + \mathcal N(0, \sigma^2), \quad L = \ell(D_r)

    The noise is as strong in every layer, whatever the size of its weights. No forget image is used.

    Args:
        std: standard deviation of the noise, >= 0; 0 is fine-tuning on retained cases.

    Raises:
        InputError: for a value outside this range, adapters instead of all weights, or a network that is not a
            `Student`.

    Source:
        Siddiqui et al., *From Dormant to Deleted* (arXiv 2505.22310) and their code (`shoaibahmed/vision_relearning`):
        a standard deviation of 0.02 on all parameters, then Adam at a rate of 1e-5 for 100 epochs, a third of the
        training. Here it is AdamW in one cycle up to 1e-3 for 5 epochs, since a third of a training is no baseline for
        fast unlearning; more epochs are a setting. The noise was read in the code, not in the paper.

    Example:
        >>> WeightDistortion(forget_loader=[]).settings()["std"]
        0.02
    """

    paper = "Siddiqui et al. 2025, arXiv 2505.22310"
    trials = ({}, {"method::std": 0.01}, {"method::std": 0.05}, {"learning_rate": 3e-3})

    std: float = setting(0.02, Interval(0))

    def damage(self, engine: SupervisedTrainer, seed: int) -> dict[str, Any]:
        """Add the noise."""
        add_noise(engine.network, self.std, seed)
        return {"std": self.std}
