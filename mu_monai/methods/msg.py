"""MSG: convolution weights that distinguish forget from retained cases least are drawn anew, then fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from mu_monai.adapters.rewriting import kernels, renew
from mu_monai.errors import InputError
from mu_monai.methods.batches import Batch
from mu_monai.methods.damage_once import DamageOnce
from mu_monai.methods.settings import SHARE, setting
from mu_monai.precision import in_full


@dataclass(kw_only=True)
class MSG(DamageOnce):
    r"""Draw the convolution weights with the smallest gradient difference anew, then train on retained cases.

    .. math:: g = \nabla \ell(D_r) - \nabla \ell(D_f), \quad
        W_i \sim \text{init where } |g_i| \text{ is among the smallest}, \quad L = \ell(D_r)

    The share is of every layer. Weights that were kept move more slowly than new ones. Small differences mean that a
    weight is needed by neither side more than by the other: it can be lost, and takes fine traces of memory with it.

    Args:
        init_rate: share of each convolution's weights that is drawn anew, in [0, 1].
        kept_rate: by what the updates of the other convolution weights are multiplied, in [0, 1].

    Raises:
        InputError: for a value outside these ranges, a network without convolutions, a budget that allows no gradient,
            adapters instead of all weights, or a network that is not a `Student`.

    Source:
        The second solution of the NeurIPS 2023 unlearning challenge, called MSG (masked small gradients) in *Deep
        Unlearn* (Cadet et al., arXiv 2410.01276), read in the code of that paper (`xcadet/deepunlearn`,
        `kgltop2.py`): 30 % of each `Conv2d`, He's normal initialization by fan-out, gradients of kept weights times
        0.1, as many retained cases as forgotten ones for `g`, and 5 epochs of SGD at 1e-3 whose rate rises and falls.
        Here it is AdamW in one cycle up to 1e-3. AdamW undoes a factor of the gradient, so the factor is on the update,
        which for SGD is the same. Biases stay, transposed convolutions count, and both sides of `g` are means over
        cases.

    Example:
        >>> MSG(forget_loader=[]).settings()["init_rate"]
        0.3
    """

    paper = "NeurIPS 2023 challenge, 2nd; MSG in Cadet et al. 2024, arXiv 2410.01276"
    needs: ClassVar[tuple[str, ...]] = ("retain labels", "forget labels")
    without_forget_images = False
    replicable = False
    trials = ({}, {"method::init_rate": 0.6}, {"method::kept_rate": 1.0}, {"learning_rate": 3e-3})

    init_rate: float = setting(0.3, SHARE)
    kept_rate: float = setting(0.1, SHARE)

    def damage(self, engine: SupervisedTrainer, seed: int) -> dict[str, Any]:
        """Choose weights by their gradients and draw them anew."""
        weights = kernels(engine.network)
        engine.network.eval()
        forget = _mean_gradients(engine, weights, self.forget_pass(engine))
        retained = islice(self.retain_batches(engine), len(self.forget_loader))
        retain = _mean_gradients(engine, weights, retained)
        if forget is None or retain is None or not self.can_restore(engine):
            raise InputError(
                f"MSG chooses weights by gradients of forget and retained cases. A budget of {self.budget} sample "
                "passes is too small for them and for a step that restores the model; raise it, or use a method "
                "without gradients, such as kernel-swap"
            )
        self._new = {name: _smallest(retain[name] - forget[name], self.init_rate) for name in weights}
        renew(engine.network, self._new, seed)
        return {"layers": len(weights), "new_weights": sum(int(mask.sum()) for mask in self._new.values())}

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Remember the convolution weights before the step."""
        super().on_loss(engine)
        self._before = {name: weight.detach().clone() for name, weight in kernels(engine.network).items()}

    @torch.no_grad()
    def on_step(self, engine: SupervisedTrainer) -> None:
        """Take back most of the update of weights that were kept."""
        for name, weight in kernels(engine.network).items():
            slow = torch.lerp(self._before[name], weight, self.kept_rate)
            weight.copy_(torch.where(self._new[name], weight, slow))


def _mean_gradients(
    engine: SupervisedTrainer, weights: dict[str, nn.Parameter], batches: Iterable[Batch]
) -> dict[str, torch.Tensor] | None:
    """The mean over cases of the loss's gradients; `None` if there are no cases."""
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    cases = 0
    for image, label, _ in batches:
        loss = len(image) * engine.loss_function(in_full(engine.inferer)(image, engine.network), label)
        gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        for name, gradient in zip(weights, gradients, strict=True):
            total[name] += gradient
        cases += len(image)
    return {name: value / cases for name, value in total.items()} if cases else None


def _smallest(values: torch.Tensor, share: float) -> torch.Tensor:
    """A mask of the share of values that are nearest to 0."""
    mask = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    mask[values.abs().flatten().topk(round(share * values.numel()), largest=False).indices] = True
    return mask.view_as(values)
