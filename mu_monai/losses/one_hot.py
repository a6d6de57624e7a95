"""A loss that takes labels with one channel per class, for labels that are class indices."""

from __future__ import annotations

import torch
from monai.networks import one_hot
from torch import nn


class OneHotTargets(nn.Module):
    r"""Call a loss with one channel per class instead of class indices: :math:`\ell(z, [y = k]_k)`.

    Args:
        loss: a loss of logits `(B, K, ...)` and labels `(B, K, ...)`.

    Example:
        >>> loss = OneHotTargets(nn.BCEWithLogitsLoss())
        >>> round(loss(torch.zeros(1, 2, 3), torch.zeros(1, 1, 3, dtype=torch.long)).item(), 3)
        0.693
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The loss; labels that already have a channel per class stay as they are."""
        if label.ndim == 1:
            label = label[:, None]
        if label.shape[1] != logits.shape[1]:
            label = one_hot(label, logits.shape[1], dtype=logits.dtype)
        answer: torch.Tensor = self.loss(logits, label)
        return answer
