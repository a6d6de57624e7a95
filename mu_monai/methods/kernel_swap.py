"""Kernel swap: the last two axes of every convolution kernel are swapped, then fine-tuning on retained cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.adapters.rewriting import swap_kernel_axes
from mu_monai.methods.damage_once import DamageOnce


@dataclass(kw_only=True)
class KernelSwap(DamageOnce):
    r"""Swap the last two axes of every convolution kernel, then train on retained cases.

    .. math:: W_{\dots ij} \leftarrow W_{\dots ji}, \quad L = \ell(D_r)

    No weight is lost: a network of convolutions alone answers the transposed image as the original answers the image,
    and transposes the answer. What is damaged is that images do not come transposed. A network that was trained with
    flips and quarter turns hardly notices, and what it remembers stays. Any other may still know a forgotten patient by
    an image whose axes are swapped (docs/results/cost-and-depth.md): a baseline, and not for a request. No forget image
    is used.

    Raises:
        InputError: for a network without a kernel that can be swapped, adapters instead of all weights, or a network
            that is not a `Student`.

    Source:
        The fifth solution of the NeurIPS 2023 unlearning challenge, called CT in *Deep Unlearn* (Cadet et al., arXiv
        2410.01276), read in the code of that paper (`xcadet/deepunlearn`, `kgltop5.py`): axes of all `Conv2d` swapped,
        then 3 epochs of SGD at 1e-3 with a cosine schedule. Here it is AdamW in one cycle up to 1e-3. Transposed
        convolutions are swapped too; of volumes the last two of three axes.

    Example:
        >>> KernelSwap(forget_loader=[]).settings()["kd_weight"]
        0.0
    """

    paper = "NeurIPS 2023 challenge, 5th; CT in Cadet et al. 2024, arXiv 2410.01276"
    recipe: ClassVar[Mapping[str, Any]] = {**DamageOnce.recipe, "max_epochs": 3, "score_interval": 3}
    trials = ({}, {"learning_rate": 3e-3}, {"learning_rate": 3e-4}, {"method::kd_weight": 1.0})

    def damage(self, engine: SupervisedTrainer, seed: int) -> dict[str, Any]:
        """Swap the axes."""
        return {"layers": swap_kernel_axes(engine.network)}
