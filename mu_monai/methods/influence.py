"""Influence unlearning: one Newton step from the trained weights toward those of a model without the forget cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.data import DataLoader

from mu_monai.engine import warn
from mu_monai.measure import case_gradients
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import COUNT, POSITIVE, setting

_HELD = 2**32  # bytes of gradients that are kept in memory
_WIDENED = 2**24  # numbers of them that are converted to double precision at a time


@dataclass(kw_only=True)
class InfluenceUnlearning(UnlearningMethod):
    r"""Remove the influence of the forget cases from the weights, to first order, in one step.

    .. math::
        \theta \leftarrow \theta_o + \alpha \hat H^{-1} (g_f - g_r), \qquad
        g_f = \frac1N \sum_{D_f} \nabla \ell_i, \quad
        g_r = \frac{|D_f|}{N |D_r|} \sum_{D_r} \nabla \ell_i, \quad N = |D_f| + |D_r|

    If training ended in an optimum, this is a Newton step on the loss of the retained cases. The Hessian is
    approximated by the damped empirical Fisher information of retained cases, see `damped_fisher_solve`. Its gradients
    are kept in memory, 4 bytes per weight and case, at most 4 GiB: for large networks fewer cases are used, and the run
    warns about it. The curve has the number of `fisher_cases` and the norm of the `shift`.

    Args:
        alpha: factor on the step, > 0.
        damping: added to the diagonal of the Fisher information, > 0.
        max_cases: maximum number of retained cases, drawn at random, for the Fisher information, at least 1.

    Raises:
        InputError: for a value outside these ranges, `stop_at`, or a network that is not a `Student`.

    Source:
        Koh and Liang 2017, arXiv 1703.04730; Izzo et al. 2021, arXiv 2002.10077; with the Fisher information of up to
        1,000 retained cases (WoodFisher, Singh and Alistarh 2020, arXiv 2004.14340), as in Jia et al. 2023, arXiv
        2304.04934. `alpha` and `damping` are tuned there; the defaults are ours. Gradients are computed case by case,
        in evaluation mode.

    Example:
        >>> InfluenceUnlearning(forget_loader=[]).settings()["max_cases"]
        1000
    """

    paper = "Jia et al. 2023, arXiv 2304.04934"
    needs = ("retain labels", "forget labels")
    cost = "one-shot"
    trials = ({}, {"method::damping": 0.1}, {"method::damping": 1.0}, {"method::damping": 0.03})

    alpha: float = setting(1.0, POSITIVE)
    damping: float = setting(0.3, POSITIVE)
    max_cases: int = setting(1000, COUNT)

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Take the step and end the run."""
        weights = list(engine.network.trainable().values())
        affordable = max(1, _HELD // (4 * sum(weight.numel() for weight in weights)))
        forget, forgotten, _ = self._mean_gradient(engine, self.forget_loader, weights)
        hold = min(self.max_cases, affordable)
        retain, retained, held = self._mean_gradient(engine, engine.data_loader, weights, hold)
        influence = forgotten / (forgotten + retained) * (forget - retain)  # g_f - g_r
        shift = self.alpha * damped_fisher_solve(held, influence, self.damping)
        with torch.no_grad():
            vector_to_parameters(parameters_to_vector(weights) + shift, weights)
        self.record(engine, "fisher_cases", len(held))
        self.record(engine, "shift", shift.norm())
        self._warn(engine, len(held), affordable)
        engine.terminate()

    @staticmethod
    def _mean_gradient(
        engine: SupervisedTrainer,
        loader: DataLoader[Mapping[str, Any]],
        weights: Sequence[torch.nn.Parameter],
        hold: int = 0,
    ) -> tuple[torch.Tensor, int, torch.Tensor]:
        """The mean gradient of all cases, their number, and the gradients of the first `hold`, `(hold, P)` or fewer."""
        total, count = torch.zeros(sum(weight.numel() for weight in weights), device=engine.state.device), 0
        held = total.new_empty(hold, len(total))  # allocated once: stacking a list would need twice the memory
        for gradient in case_gradients(engine, loader, weights):
            if count < hold:
                held[count] = gradient
            total, count = total + gradient, count + 1
        return total / count, count, held[:count]

    def _warn(self, engine: SupervisedTrainer, used: int, affordable: int) -> None:
        if used == affordable < self.max_cases:
            warn(
                engine,
                f"the Fisher information was computed from {used} retained cases, although method#max_cases allows "
                f"{self.max_cases}: the gradients of more cases do not fit into {_HELD // 2**30} GiB",
            )


def damped_fisher_solve(gradients: torch.Tensor, vector: torch.Tensor, damping: float) -> torch.Tensor:
    r"""Apply the inverse of a damped empirical Fisher information to a vector.

    .. math::
        \Big( \frac1n G^\top G + \lambda I \Big)^{-1} v
            = \frac1\lambda \Big( v - G^\top (n \lambda I + G G^\top)^{-1} G v \Big)

    This is the Woodbury identity: a system of `n` equations, one per case, instead of one per weight. It gives the
    result of WoodFisher's recursion over cases, :math:`F_i^{-1} = F_{i-1}^{-1} - F_{i-1}^{-1} g_i g_i^\top F_{i-1}^{-1}
    / (n + g_i^\top F_{i-1}^{-1} g_i)` with :math:`F_0^{-1} = I / \lambda`, without its `n^2` vector products.

    Args:
        gradients: `G`, one row per case, `(n, P)`.
        vector: `v`, `(P,)`.
        damping: :math:`\lambda`, > 0.

    Example:
        >>> damped_fisher_solve(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.ones(2), damping=1.0)
        tensor([0.5000, 1.0000])
    """
    columns = max(1, _WIDENED // len(gradients))
    wide = (part.double() for part in gradients.split(columns, dim=1))  # rounding must not outweigh the damping
    gram = sum((part @ part.T for part in wide), torch.zeros((), dtype=torch.float64, device=vector.device))
    gram.diagonal().add_(len(gradients) * damping)
    shares = torch.linalg.solve(gram, (gradients @ vector).double()).to(vector.dtype)
    return (vector - gradients.T @ shares) / damping
