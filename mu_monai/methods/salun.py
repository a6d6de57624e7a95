"""SalUn: random labels, learned only by the weights that affect the loss of the forget cases most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer

from mu_monai.engine import seeded
from mu_monai.errors import InputError
from mu_monai.methods.random_labels import RandomLabels
from mu_monai.methods.settings import Interval, setting
from mu_monai.precision import in_full


@dataclass(kw_only=True)
class SalUn(RandomLabels):
    r"""Random labels, learned by the most salient weights only.

    .. math:: m = \mathbb 1\big[\,|\nabla_\theta \ell(D_f)| \ge \tau\,\big], \quad
        \theta \leftarrow m \odot \theta + (1 - m) \odot \theta_o

    after every step of `RandomLabels`. The threshold is chosen so that `share` of all weights can move. The gradient is
    the teacher's, summed over all forget cases. Weights outside the mask are reset after each step, so that neither
    momentum nor weight decay moves them; AdamW treats each weight separately, so their gradients need no mask.

    Args:
        include_true: whether the true class may be drawn as well.
        share: share of the weights that can move, in (0, 1].

    Raises:
        InputError: for a value outside these ranges, adapters instead of all weights, or a network that is not a
            `Student`.

    Source:
        Fan et al., *SalUn* (arXiv 2310.12508): half of the weights, random labels with SGD at 0.013 for 10 epochs. Here
        it is the bundle's AdamW at 1e-4 with frozen BatchNorm statistics. Adapters are refused: the factor A of a new
        adapter has no gradient while B is zero, so its saliency would be meaningless.

    Example:
        >>> SalUn(forget_loader=[]).settings()["share"]
        0.5
    """

    paper = "Fan et al. 2024, arXiv 2310.12508"
    trials = ({}, {"method::share": 0.2}, {"method::include_true": True}, {"learning_rate": 3e-4})
    selective = True

    share: float = setting(0.5, Interval(0, 1, closed="right"))

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Choose the weights that may move."""
        if not engine.network.trains_all:
            raise InputError(
                "SalUn chooses weights by their gradients, and one of an adapter's two factors has no gradient at the "
                "start; use network#trainable=all, or the method random-labels"
            )
        self._original = {name: weight.detach().clone() for name, weight in engine.network.trainable().items()}
        with seeded(self.forget_loader.dataset):  # the same batches after a resume
            self._salient = self._mask(engine)

    def on_step(self, engine: SupervisedTrainer) -> None:
        """Reset the weights outside the mask."""
        with torch.no_grad():
            for name, weight in engine.network.trainable().items():
                weight.copy_(torch.where(self._salient[name], weight, self._original[name]))

    def _mask(self, engine: SupervisedTrainer) -> dict[str, torch.Tensor]:
        """Masks of the largest gradients of the forget loss, by the name of the weight."""
        weights = engine.network.trainable()
        total = torch.zeros(sum(weight.numel() for weight in weights.values()), device=engine.state.device)
        engine.network.eval()
        for image, label, _ in self.forget_pass(engine):
            loss = len(image) * engine.loss_function(in_full(engine.inferer)(image, engine.network), label)
            gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
            total += torch.cat([gradient.flatten() for gradient in gradients])
        salient = torch.zeros_like(total, dtype=torch.bool)
        salient[total.abs().topk(math.ceil(self.share * len(total))).indices] = True
        parts = salient.split([weight.numel() for weight in weights.values()])
        return {name: part.view_as(weight) for (name, weight), part in zip(weights.items(), parts, strict=True)}

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the number of weights that could move."""
        return super().measurements(engine) | {"salient_weights": sum(int(m.sum()) for m in self._salient.values())}
