"""The entropy term: on forget cases the student should be as uncertain as possible."""

from __future__ import annotations

import torch
from torch import nn

from mu_monai.losses.outcomes import divergence, log_probabilities, uniform


class Entropy(nn.Module):
    r"""The difference between the maximum entropy and the entropy of the student's answer.

    .. math:: L = \log K - H(p) = \log K + \sum_k p_k \log p_k = \mathrm{KL}(p \,\|\, u)

    averaged over places; `K` outcomes, 2 in every channel of a sigmoid output. Range [0, log K], in nats; 0 if and only
    if every outcome is equally probable. Because it is bounded, it hardly moves a very confident answer; `Uniform`
    does.

    Args:
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 9 and section 3. Eq. 9 prints `H` as a term of a loss that is
        minimized, which would make the student *more* confident; the text wants the opposite, so `-H` is minimized
        here, with log K added so that the minimum is 0.

    Example:
        >>> Entropy(softmax=True)(torch.zeros(1, 9)).item()
        0.0
        >>> round(Entropy(softmax=True)(torch.tensor([[1000.0] + 8 * [0.0]])).item(), 4)  # certain: log 9
        2.1972
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, ...)`."""
        log_p = log_probabilities(student, self.softmax)
        return divergence(log_p, uniform(log_p))
