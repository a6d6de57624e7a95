"""The background term: every pixel of a forget case shall be background."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Background(nn.Module):
    r"""Binary cross-entropy of the student's prediction to an all-background mask.

    .. math:: L = \frac{1}{n} \sum_i \mathrm{BCE}(\sigma(z_i), 0) = \frac{1}{n} \sum_i \log(1 + e^{z_i})

    Range [0, inf), in nats; 0 where every pixel is surely background.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 7.

    Example:
        >>> term = Background()
        >>> round(term(torch.zeros(1, 1, 4, 4)).item(), 4)  # undecided everywhere: log 2
        0.6931
        >>> term(torch.full((1, 1, 4, 4), -1000.0)).item()
        0.0
    """

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, H, W[, D])`."""
        return functional.softplus(student).mean()
