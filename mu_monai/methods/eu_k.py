"""EU-k: the last k layers are reinitialized and trained on the retained cases; all earlier layers are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer
from torch.nn.modules.batchnorm import _BatchNorm

from mu_monai.engine import seeded
from mu_monai.errors import InputError
from mu_monai.methods.batches import samples_of_pass
from mu_monai.methods.cf_k import CFk
from mu_monai.methods.method import UnlearningMethod


@dataclass(kw_only=True)
class EUk(CFk):
    r"""Reinitialize the last `k` layers and train them on the retained cases.

    .. math:: \theta_{n-k+1 \dots n} \sim \text{init}, \quad L = \ell(D_r), \quad \theta_{1 \dots n-k} \text{ fixed}

    What these layers knew about the forget cases is certainly gone; what the earlier layers know stays. Layers are
    counted as in `CFk`. Each is initialized as torch does it (`reset_parameters`). BatchNorm statistics are reset as
    well, measured once over the retained cases before the first step, and then frozen like those of other layers.

    Args:
        k: number of layers that are reinitialized and train, at least 1.

    Raises:
        InputError: for a value outside this range, more layers than the network has, a layer that cannot be
            reinitialized, BatchNorm without a batch to measure it on, adapters instead of all weights, or a network
            that is not a `Student`.

    Source:
        Goel et al., *Towards Adversarial Evaluations for Inexact Machine Unlearning* (arXiv 2201.06640), exact
        unlearning of the last k layers, with SGD. Some released code resets the layers to their trained weights, which
        is CF-k; here they really are reinitialized. The optimizer is the bundle's AdamW at 3e-3 for 10 epochs, since
        the layers are trained from scratch.

    Example:
        >>> EUk(forget_loader=[]).settings()["k"]
        3
    """

    replicable = False  # BatchNorm is measured anew over all retained cases
    recipe: ClassVar[Mapping[str, Any]] = {**UnlearningMethod.recipe, "max_epochs": 10, "learning_rate": 3e-3}
    trials = ({}, {"method::k": 1}, {"method::k": 6}, {"learning_rate": 1e-3})

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Freeze all but the last layers, and reinitialize these."""
        if not engine.network.trains_all:
            raise InputError(
                "EUk reinitializes layers, which a low-rank adapter cannot express; use network#trainable=all, or the "
                "method cf-k"
            )
        super().on_start(engine)
        copies: dict[str, Any] = self._layers
        fixed = [name for name, layer in copies.items() if not hasattr(layer, "reset_parameters")]
        if fixed:
            raise InputError(
                f"{', '.join(fixed)} cannot be reinitialized: {type(copies[fixed[0]]).__name__} has no "
                "reset_parameters; use a smaller method#k, or the method cf-k"
            )
        if not self.can_restore(engine):
            return
        self._require_statistics(engine)
        with seeded(engine.data_loader.dataset):
            for layer in copies.values():
                layer.reset_parameters()
            self._measure_statistics(engine)

    def _require_statistics(self, engine: SupervisedTrainer) -> None:
        """Refuse a budget in which new layers get no statistics, or no step after that."""
        if self._budget is not None:
            statistics = samples_of_pass(engine.data_loader, self._samples) if self._norms() else 0
            what = "EUk, to measure BatchNorm statistics of new layers over all retained cases and for a step,"
            self._budget.require(engine, statistics + self._budget.expected, what, "use the method cf-k")

    def _norms(self) -> list[_BatchNorm]:
        return [layer for layer in self._layers.values() if isinstance(layer, _BatchNorm)]

    @torch.no_grad()
    def _measure_statistics(self, engine: SupervisedTrainer) -> None:
        """Measure mean and variance of what reaches the new BatchNorm layers, over one pass of the retained cases."""
        norms = self._norms()
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        engine.network.eval()
        for norm in norms:
            norm.momentum = None  # the mean over all batches
            norm.train()
        measured = False
        for image, *_ in islice(self.retain_batches(engine), len(engine.data_loader)):
            if len(image) > 1 or engine.data_loader.batch_size == 1:  # a single value has no variance
                engine.inferer(image, engine.network)
                measured = True
        if not measured:
            raise InputError(
                "EUk measures the statistics of reinitialized BatchNorm layers on batches of two or more retained "
                "cases, but there is no such batch; retain more cases, set batch_size=1 for images, or use the method "
                "cf-k"
            )
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        engine.network.eval()

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What CF-k measures, plus whether BatchNorm statistics changed."""
        return super().measurements(engine) | {"moving_statistics": bool(self._norms())}
