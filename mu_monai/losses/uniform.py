"""The uniform term: on forget cases every outcome should be equally probable."""

from __future__ import annotations

import torch
from torch import nn

from mu_monai.losses.outcomes import divergence, log_probabilities, uniform


class Uniform(nn.Module):
    r"""KL divergence from even odds to the student's answer.

    .. math:: L = \mathrm{KL}(u \,\|\, p) = -\log K - \frac{1}{K} \sum_k \log p_k

    averaged over places; `K` outcomes, 2 in every channel of a sigmoid output. Range [0, inf), in nats; 0 if and only
    if every outcome is equally probable. It grows with the logits and therefore moves very confident answers, which
    `Entropy` does not.

    Args:
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Source:
        The forget term of the classification code that was released with *Erase to Retain* (arXiv 2511.16574), averaged
        over the batch as there. The paper prints a random label (eq. 8) or an entropy (eq. 9) instead.

    Example:
        >>> Uniform(softmax=True)(torch.zeros(1, 9)).item()
        0.0
        >>> round(Uniform()(torch.full((1, 1, 2, 2), 1000.0)).item(), 1)  # half of the logit
        499.3
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, ...)`."""
        log_p = log_probabilities(student, self.softmax)
        return divergence(uniform(log_p), log_p)
