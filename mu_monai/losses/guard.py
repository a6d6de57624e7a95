"""The guard term: on retained cases the student's logits should stay where the teacher's are."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import mse_loss

from mu_monai.errors import InputError

REDUCTIONS = ("mean", "sum")


class Guard(nn.Module):
    r"""Squared distance between the student's and the teacher's logits.

    .. math:: L = \frac{1}{n} \sum_i (s_i - t_i)^2 \text{ (mean)}, \quad
        L = \frac{1}{B} \sum_b \|s_b - t_b\|_2^2 \text{ (sum)}

    Range [0, inf); 0 if and only if the logits agree.

    Args:
        reduction: `mean` over everything, or `sum` over the pixels and channels of a case and mean over cases, which is
            larger by the number of pixels times channels and needs a weight that is smaller by the same factor.

    Raises:
        InputError: for another reduction.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 5, which prints a sum over pixels; the released code takes the mean
        (65,536 times smaller at 256 x 256), for which the weight of 0.05 was chosen, and so do we.

    Example:
        >>> student, teacher = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
        >>> Guard()(student, teacher).item(), Guard("sum")(student, teacher).item()
        (1.0, 4.0)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise InputError(f"reduction={reduction!r} is not known; use one of {', '.join(REDUCTIONS)}")
        self.reduction = reduction

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for logits `(B, C, ...)` of both."""
        if self.reduction == "sum":
            return mse_loss(student, teacher, reduction="sum") / len(student)
        return mse_loss(student, teacher)
