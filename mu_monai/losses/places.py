"""Terms on some of a mask's places: those that a label, or a network, assigns to chosen classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mu_monai.losses.outcomes import label_outcomes


def labeled(label: torch.Tensor, logits: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Where the label is one of the classes, `(B, H, W[, D])`; label and softmax logits as in `label_outcomes`.

    Example:
        >>> labeled(torch.tensor([[[0, 2]]]), torch.zeros(1, 3, 2), [2])
        tensor([[False,  True]])
    """
    return torch.isin(label_outcomes(label, logits, softmax=True), torch.tensor(classes, device=label.device))


def answered(logits: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Where the most probable class is one of the classes, `(B, H, W[, D])` for logits `(B, C, H, W[, D])`.

    Example:
        >>> answered(torch.tensor([[[0.0, 0.0], [1.0, -1.0]]]), [1])
        tensor([[ True, False]])
    """
    return torch.isin(logits.argmax(dim=1), torch.tensor(classes, device=logits.device))


def at_places(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The values at N chosen places, `(N, C)`, as if each place were a case, for terms that are a mean over places.

    Args:
        values: logits or a label, `(B, C, H, W[, D])`.
        chosen: `(B, H, W[, D])`, true at the places.

    Example:
        >>> at_places(torch.zeros(2, 3, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)).shape
        torch.Size([32, 3])
    """
    return values.movedim(1, -1)[chosen]


def over_places(term: nn.Module, chosen: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
    """A term's mean over chosen places; 0, with a zero gradient, if no place is chosen.

    Args:
        term: takes `inputs` and returns a mean over places.
        chosen: `(B, H, W[, D])`, true at the places.
        inputs: logits or labels, `(B, C, H, W[, D])`; the logits of the student come first.

    Example:
        >>> first = torch.tensor([[[True, False]]])
        >>> over_places(nn.MSELoss(), first, torch.tensor([[[[1.0, 7.0]]]]), torch.zeros(1, 1, 1, 2)).item()
        1.0
    """
    selected = [at_places(values, chosen) for values in inputs]
    value: torch.Tensor = term(*selected) if len(selected[0]) else selected[0].sum()
    return value
