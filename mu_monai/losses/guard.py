"""The guard term: on retained cases the student's logits shall stay where the teacher's are."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import mse_loss


class Guard(nn.Module):
    r"""Mean squared distance between the student's and the teacher's logits.

    .. math:: L = \frac{1}{n} \sum_i (s_i - t_i)^2

    Range [0, inf); 0 if and only if the logits agree.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 5, which prints a sum over pixels; the released code takes the mean
        (65,536 times smaller at 256 x 256), for which the weight of 0.05 was chosen, and so do we.

    Example:
        >>> Guard()(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item()
        1.0
    """

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for logits `(B, C, H, W[, D])` of both."""
        return mse_loss(student, teacher)
