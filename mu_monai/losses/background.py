"""The background term: every pixel of a forget case should be background."""

from __future__ import annotations

import torch
from torch import nn

from mu_monai.losses.outcomes import log_probabilities


class Background(nn.Module):
    r"""Cross-entropy of the student's prediction to an all-background mask.

    .. math:: L = -\frac{1}{n} \sum_i \log p_i(\text{background}), \quad
        \text{sigmoid: } L = \frac{1}{n} \sum_i \mathrm{BCE}(\sigma(z_i), 0) = \frac{1}{n} \sum_i \log(1 + e^{z_i})

    Range [0, inf), in nats; 0 if every pixel is background with certainty.

    Args:
        softmax: whether the channels are one softmax, whose class 0 is background, or independent sigmoid outputs.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 7; for softmax our extension.

    Example:
        >>> term = Background()
        >>> round(term(torch.zeros(1, 1, 4, 4)).item(), 4)  # undecided everywhere: log 2
        0.6931
        >>> term(torch.full((1, 1, 4, 4), -1000.0)).item()
        0.0
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, H, W[, D])`."""
        return (-log_probabilities(student, self.softmax)[:, 0]).mean()
