"""NoT: the weights of the first layer change their sign, then fine-tuning on retained cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monai.engines import SupervisedTrainer

from mu_monai.adapters.lora import ADAPTABLE
from mu_monai.adapters.rewriting import full_copies, negate
from mu_monai.errors import InputError
from mu_monai.methods.cf_k import running_order
from mu_monai.methods.damage_once import DamageOnce
from mu_monai.methods.settings import COUNT, setting


@dataclass(kw_only=True)
class Negation(DamageOnce):
    r"""Negate the weights of the first layer, then train on retained cases.

    .. math:: \theta_1 \leftarrow -\theta_1, \quad L = \ell(D_r)

    What the layer passes on changes as much as it can at the same norm of its weights, so that later layers no longer
    fit; yet the patterns that it sees are the same, which makes it quick to learn again. No forget image is trained on.

    Args:
        layers: number of layers that are negated, convolutions and linear ones in the order in which they run. Those
            that get the same input, as the paths of a residual block do, count as one: if one path kept its sign, the
            image would go through it unchanged.

    Raises:
        InputError: for a value outside this range, more layers than the network has, adapters instead of all weights,
            or a network that is not a `Student`.

    Source:
        Khalil et al., *NoT: Federated Unlearning via Weight Negation* (arXiv 2503.05657): the first layer, for clients
        of federated learning. Here all data are in one place. The theory is about the sign of what the layer passes on,
        so its bias is negated as well; a public reimplementation negates the kernel alone. The paper's networks begin
        with one convolution; what the first layer is where several see the image is ours. AdamW in one cycle up to
        1e-3 for 5 epochs is ours. The paper was known to us from a summary and that reimplementation.

    Example:
        >>> Negation(forget_loader=[]).settings()["layers"]
        1
    """

    paper = "Khalil et al. 2025, arXiv 2503.05657"
    without_forget_images = False  # a forget batch shows it the order of the layers
    trials = ({}, {"method::layers": 2}, {"learning_rate": 3e-3}, {"learning_rate": 3e-4})

    layers: int = setting(1, COUNT)

    def damage(self, engine: SupervisedTrainer, seed: int) -> dict[str, Any]:
        """Find the first layers by running one batch, and negate them."""
        copies = full_copies(engine.network)
        image, *_ = self.forget_batch(engine)  # any image shows the order
        order, inputs = running_order(engine, image)
        layers: dict[object, list[str]] = {}
        for name in order:
            if isinstance(copies[name], tuple(ADAPTABLE)):
                layers.setdefault(inputs.get(name, name), []).append(name)
        if self.layers > len(layers):
            raise InputError(
                f"method#layers={self.layers} is not allowed for a network with {len(layers)} layers; use 1 to "
                f"{len(layers)}"
            )
        negated = [name for names in list(layers.values())[: self.layers] for name in names]
        negate(engine.network, negated)
        return {"layers": negated}
