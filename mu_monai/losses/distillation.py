"""The distillation term: on retained cases the student shall answer as the teacher does."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import logsigmoid


class Distillation(nn.Module):
    r"""Temperature-softened KL divergence from the teacher's to the student's probabilities, per pixel.

    .. math::
        L = T^2 \frac{1}{n} \sum_i \left[ p_i \log\frac{p_i}{q_i} + (1 - p_i) \log\frac{1 - p_i}{1 - q_i} \right],
        \quad p = \sigma(t / T), \; q = \sigma(s / T)

    Range [0, inf), in nats; 0 if and only if student and teacher agree.

    Args:
        temperature: `T` > 0; larger values weigh the teacher's doubts more.

    Raises:
        ValueError: for a temperature of 0 or less, NaN or infinity.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 4, which prints KL(student || teacher). Its released code takes the
        teacher as target (BCE on soft labels), as Hinton et al. (arXiv 1503.02531) do, and so do we; the teacher's
        entropy is subtracted so that the term is 0 at agreement.

    Example:
        >>> logits = torch.randn(2, 1, 4, 4)
        >>> Distillation()(logits, logits).item()
        0.0
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature={temperature} is not allowed; use a number above 0 (the paper: 2.0)")
        self.temperature = temperature

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for logits `(B, C, H, W[, D])` of both."""
        s, t = student / self.temperature, teacher / self.temperature
        p = t.sigmoid()
        divergence = p * (logsigmoid(t) - logsigmoid(s)) + (1 - p) * (logsigmoid(-t) - logsigmoid(-s))
        return self.temperature**2 * divergence.mean()
