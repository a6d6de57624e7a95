"""The mean-probability term: over a forget image the probabilities should average to even odds."""

from __future__ import annotations

import torch
from torch import nn

from mu_monai.losses.outcomes import probabilities


class MeanProbability(nn.Module):
    r"""Squared distance of an image's mean probability from even odds.

    .. math:: L = \frac{1}{B C} \sum_{b,c} \left( \bar p_{b,c} - \frac{1}{K} \right)^2, \quad
        \bar p_{b,c} = \frac{1}{n} \sum_i p_{b,c,i}

    with the mean over the pixels `i` of one case taken first. A sigmoid output has `K = 2` in every channel, a softmax
    `K = C`. Range [0, 1/4] for sigmoid, [0, (K - 1) / K^2] for softmax; 0 if the mean is even. An image that is
    certainly present in one half and certainly absent in the other satisfies this as well as uncertainty everywhere.

    Args:
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Source:
        *Erase to Retain* (arXiv 2511.16574), section 3, where the squared norm is part of an objective that is
        maximized; here it is minimized, as the text wants. The norm is divided by the number of channels, so that a
        sigmoid output and a softmax over two classes agree.

    Example:
        >>> MeanProbability()(torch.full((1, 1, 4, 4), -1000.0)).item()
        0.25
        >>> MeanProbability()(torch.tensor([[[[-1000.0, 1000.0]]]])).item()
        0.0
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, H, W[, D])`."""
        p = probabilities(student, self.softmax)
        outcomes = p.shape[1] if self.softmax else 2
        return (p.flatten(2).mean(dim=2) - 1 / outcomes).square().mean()
