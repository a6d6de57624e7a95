"""The total-variation term: on forget cases the answer should have no edges."""

from __future__ import annotations

import torch
from torch import nn

from mu_monai.losses.outcomes import probabilities


class TotalVariation(nn.Module):
    r"""Mean absolute difference of neighboring probabilities.

    .. math:: L = \frac{1}{|N|} \sum_{(i,j) \in N} |p_i - p_j|

    over all pairs `N` of pixels that share a side, along every spatial axis, in each channel of each case. Range
    [0, 1]; 0 if the answer is the same at every pixel, whichever it is. An image without neighbors gives 0.

    Args:
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Source:
        *Erase to Retain* (arXiv 2511.16574), section 3, which gives no formula and makes it part of an objective that
        is maximized, so that edges would grow; here it is minimized. It is a mean instead of a sum, so that it does not
        grow with the image.

    Example:
        >>> TotalVariation()(torch.tensor([[[[-1000.0, 1000.0, -1000.0]]]])).item()  # the maximum
        1.0
        >>> TotalVariation()(torch.ones(1, 1, 4, 4)).item()
        0.0
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, H, W[, D])`."""
        p = probabilities(student, self.softmax)
        steps = torch.cat([p.diff(dim=axis).abs().flatten() for axis in range(2, p.dim())])
        return steps.sum() / max(steps.numel(), 1)
