"""Selective synaptic dampening: shrink weights that are disproportionately important to forget cases; no training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.data import DataLoader

from mu_monai.engine import warn
from mu_monai.errors import InputError
from mu_monai.measure import case_gradients
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import COUNT, POSITIVE, OrNull, setting


@dataclass(kw_only=True)
class SelectiveSynapticDampening(UnlearningMethod):
    r"""Dampen each weight that is more important to forget cases than to all cases, in one step.

    .. math::
        \theta \leftarrow \theta \cdot \min(\lambda I_D / I_f,\, 1) \text{ where } I_f > \alpha I_D, \qquad
        I = \frac1n \sum_i (\nabla_\theta \ell_i)^2

    `I` is a weight's importance, the mean over cases of the squared gradient of the case's loss: over the forget cases
    (:math:`I_f`) and over all training cases including the forget cases (:math:`I_D`). Therefore
    :math:`I_f \le I_D |D| / |D_f|`, and an `alpha` of :math:`|D| / |D_f|` or more dampens nothing; the run warns about
    it. The curve has the share of `dampened` weights.

    Args:
        alpha: how many times more important to forget cases a weight must be, > 0.
        dampening: :math:`\lambda`, how much of a chosen weight is left, > 0.
        max_retain_cases: maximum number of retained cases, drawn at random, for the importance, at least 1; `None` uses
            all.

    Raises:
        InputError: for a value outside these ranges, `stop_at`, adapters, or a network that is not a `Student`.

    Source:
        Foster et al. 2024, arXiv 2308.07707, with lambda 1 and alpha 10 (5 for vision transformers). Published
        code squares the gradient of a batch mean, so its importance depends on the batch size; here it is computed case
        by case, in evaluation mode. Adapters are refused: they start at zero, where scaling changes nothing.

    Example:
        >>> SelectiveSynapticDampening(forget_loader=[]).settings()["alpha"]
        10.0
    """

    paper = "Foster et al. 2024, arXiv 2308.07707"
    needs = ("retain labels", "forget labels")
    cost = "one-shot"
    trials = ({}, {"method::alpha": 2.0}, {"method::alpha": 1.0}, {"method::alpha": 5.0})
    selective = True

    alpha: float = setting(10.0, POSITIVE)
    dampening: float = setting(1.0, POSITIVE)
    max_retain_cases: int | None = setting(None, OrNull(COUNT))

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Dampen the weights and end the run."""
        if not engine.network.trains_all:
            raise InputError(
                "SelectiveSynapticDampening scales weights, which has no effect on adapters, because they start at "
                "zero; use network#trainable=all"
            )
        weights = list(engine.network.trainable().values())
        forget = self._importance(engine, self.forget_loader, weights)
        retain = self._importance(engine, engine.data_loader, weights, self.max_retain_cases)
        share = self._share(engine)
        everywhere = torch.lerp(retain, forget, share)
        chosen = forget > self.alpha * everywhere
        factor = torch.where(chosen, (self.dampening * everywhere / forget).clamp(max=1), 1.0)
        with torch.no_grad():
            vector_to_parameters(parameters_to_vector(weights) * factor, weights)
        self.record(engine, "dampened", chosen.float().mean())
        engine.terminate()

    def _share(self, engine: SupervisedTrainer) -> float:
        """The share of forget cases in all training cases; warns if it is so large that no weight can be chosen."""
        sets: tuple[Any, Any] = (self.forget_loader.dataset, engine.data_loader.dataset)
        forgotten, retained = map(len, sets)
        share = forgotten / (forgotten + retained)
        if self.alpha * share >= 1:
            warn(
                engine,
                f"method#alpha={self.alpha:g} dampens nothing: {100 * share:.0f} % of the training cases are to be "
                f"forgotten, so no weight can be {self.alpha:g} times as important to them as to all cases; use an "
                f"alpha below {1 / share:.1f}",
            )
        return share

    @staticmethod
    def _importance(
        engine: SupervisedTrainer,
        loader: DataLoader[Mapping[str, Any]],
        weights: list[torch.nn.Parameter],
        limit: int | None = None,
    ) -> torch.Tensor:
        total, count = torch.zeros((), device=engine.state.device), 0
        for gradient in islice(case_gradients(engine, loader, weights), limit):
            total, count = total + gradient.square(), count + 1
        return total / count
