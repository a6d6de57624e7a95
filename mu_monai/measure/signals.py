"""Signals of membership in one case: how confident a model is in the truth, as columns of the score table."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn.functional import softplus

_BAND = 2  # pixels to each side of the label's boundary
_MOST = 20  # log odds beyond this (p = 1 - 2e-9) are rounding noise and would outweigh all other pixels
_QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}


def mask_signals(logits: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Signals of a mask: the loss at the boundary, and the model's confidence in the true class of each pixel.

    With the probability p of a pixel's true class, its log odds are `log(p / (1 - p))`, and its cross-entropy is
    `-log p`.

    Args:
        logits: `(1, 1, H, W[, D])` of a sigmoid, or `(1, K, H, W[, D])` of a softmax or, for regions, a sigmoid.
        label: 0 and 1, or class indices, `(1, 1, H, W[, D])`; for regions that may overlap, 0 and 1 in the shape of the
            logits: then each pixel of each region counts.

    Returns:
        `boundary_loss`: mean cross-entropy (nats) of the pixels within 2 pixels of the label's boundary, or of all
        pixels if there is no boundary; `logit_confidence`: mean log odds of all pixels, each clipped to +-20;
        `foreground_confidence_q10`, `_q50` and `_q90`: quantiles of p over the foreground pixels, or over all pixels if
        there is no foreground.

    Source: losses of masks as signals of membership: Chobola et al., arXiv 2212.01082; log odds: Carlini et al., arXiv
        2112.03570. The band and the quantiles are ours.

    Example:
        >>> label = torch.zeros(1, 1, 8, 8)
        >>> label[..., :4] = 1
        >>> mask_signals(torch.full((1, 1, 8, 8), 2.0), label)["boundary_loss"]  # half is right, half is wrong
        1.12692...
    """
    if label.shape[1] > 1:  # each region is a mask of its own
        logits, label = logits.transpose(0, 1), label.transpose(0, 1)
    log_odds = _log_odds_of_truth(logits, label[:, 0])
    foreground = label[:, 0] > 0
    confidence = torch.sigmoid(log_odds[foreground] if foreground.any() else log_odds).cpu().numpy()
    quantiles = np.quantile(confidence, list(_QUANTILES.values()))
    return {
        "boundary_loss": softplus(-log_odds[_boundary(label[:, 0])]).mean().item(),
        "logit_confidence": _clipped(log_odds),
        **{f"foreground_confidence_{name}": float(q) for name, q in zip(_QUANTILES, quantiles, strict=True)},
    }


def class_signals(logits: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Signals of a classifier's logits `(1, K)` and class `(1,)`.

    Returns:
        `entropy`: `-sum_i p_i log p_i`, in nats; `modified_entropy`, which the true class y enters:
        `-(1 - p_y) log p_y - sum_{i != y} p_i log(1 - p_i)`; `logit_confidence`: `log(p_y / (1 - p_y))`, clipped to
        +-20.

    Source: modified entropy: Song and Mittal, arXiv 2003.10595; log odds: Carlini et al., arXiv 2112.03570.

    Example:
        >>> {name: round(value, 3) for name, value in class_signals(torch.zeros(1, 2), torch.tensor([1])).items()}
        {'entropy': 0.693, 'modified_entropy': 0.693, 'logit_confidence': 0.0}
    """
    classes = torch.arange(logits.shape[1], device=logits.device)
    log_odds = _log_odds_of_truth(logits.expand(len(classes), -1), classes)  # of every class against all others
    probability = log_odds.sigmoid()
    true = classes == label
    wrongness = torch.where(true, (1 - probability) * softplus(-log_odds), probability * softplus(log_odds))
    return {
        "entropy": (probability * softplus(-log_odds)).sum().item(),
        "modified_entropy": wrongness.sum().item(),
        "logit_confidence": _clipped(log_odds[true]),
    }


def _log_odds_of_truth(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """`log(p / (1 - p))` of the true class, `(B, C, ...)` and `(B, ...)` to `(B, ...)`, exact where p rounds to 1."""
    if logits.shape[1] == 1:
        return torch.where(truth > 0.5, logits[:, 0], -logits[:, 0])
    index = truth.long()[:, None]
    others = logits.scatter(1, index, -torch.inf).logsumexp(1)
    return logits.gather(1, index)[:, 0] - others


def _boundary(truth: torch.Tensor) -> torch.Tensor:
    """The pixels with another class within the band; all of them if there is only one class."""
    values: NDArray[np.uint8] = truth.cpu().numpy().astype(np.uint8)
    size = (1, *(2 * _BAND + 1,) * (values.ndim - 1))
    band = torch.from_numpy(ndimage.maximum_filter(values, size) != ndimage.minimum_filter(values, size))
    return (band if band.any() else torch.ones_like(band)).to(truth.device)


def _clipped(log_odds: torch.Tensor) -> float:
    return log_odds.clamp(-_MOST, _MOST).mean().item()
