"""How answers compare with the truth, case by case, and labels that are derived from answers."""

from __future__ import annotations

import torch

from mu_monai.losses.outcomes import cross_entropy, holds_indices, label_outcomes, log_probabilities

HARD, SOFT, TOP_K = "hard", "soft", "top-k"
LABEL_MODES = (HARD, SOFT, TOP_K)


def standing(
    logits: torch.Tensor, label: torch.Tensor, softmax: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss of each case, the confidence in the truth, and whether the answer differs from it.

    All are over the places of the label's foreground, or over all places if a case has none; a class is one place.
    Background is left out because it fills most of an image and would hide what happens to a structure.

    Args:
        logits: `(B, C, ...)`.
        label: as in `label_outcomes`.
        softmax: as in `log_probabilities`.

    Returns:
        each `(B,)`: the mean cross-entropy in nats, the mean probability of the true outcome, and whether the most
        probable outcome differs from the true one at half of the places or more.

    Example:
        >>> loss, confidence, flipped = standing(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]), True)
        >>> confidence, flipped
        (tensor([0.5000, 0.1192]), tensor([False,  True]))
    """
    log_p = log_probabilities(logits, softmax)
    truth = label_outcomes(label, logits, softmax)
    structure = _structures(truth, label, logits).reshape(len(truth), -1)
    places = structure | ~structure.any(1, keepdim=True)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (values.reshape(places.shape) * places).sum(1) / places.sum(1)

    true = log_p.gather(1, truth[:, None])[:, 0]
    return -mean(true), mean(true.exp()), mean((log_p.argmax(1) != truth).to(true.dtype)) >= 0.5


def relabeled(
    logits: torch.Tensor, softmax: bool, mode: str = HARD, *, top_k: int = 3, temperature: float = 1.0
) -> torch.Tensor:
    """Labels derived from an answer, as probabilities of the outcomes, in the shape of `log_probabilities`.

    Args:
        logits: `(B, C, ...)`; `-inf` excludes an outcome.
        softmax: as in `log_probabilities`.
        mode: `hard`: the most probable outcome; `soft`: all outcomes; `top-k`: the `top_k` most probable, normalized.
        top_k: number of outcomes for `top-k`.
        temperature: divisor of the logits for soft and top-k labels, > 0.

    Example:
        >>> relabeled(torch.tensor([[0.0, 1.0, 1.0]]), True, "top-k", top_k=2)
        tensor([[0.0000, 0.5000, 0.5000]])
    """
    log_p = log_probabilities(logits / temperature, softmax)
    count = min({HARD: 1, SOFT: log_p.shape[1], TOP_K: top_k}[mode], log_p.shape[1])
    best = log_p.topk(count, dim=1)
    return torch.full_like(log_p, -torch.inf).scatter(1, best.indices, best.values).softmax(1)


def without_truth(logits: torch.Tensor, label: torch.Tensor, softmax: bool, cases: torch.Tensor) -> torch.Tensor:
    """Logits with the true outcome excluded (`-inf`) in the foreground of some cases, so that the runner-up leads.

    Args:
        logits: `(B, C, ...)`.
        label: as in `label_outcomes`.
        softmax: as in `log_probabilities`.
        cases: `(B,)`, true for these cases.

    Example:
        >>> without_truth(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([0]), True, torch.tensor([True]))
        tensor([[-inf, 2., 1.]])
    """
    truth = label_outcomes(label, logits, softmax)
    chosen = _structures(truth, label, logits) & cases.view(-1, *[1] * (truth.dim() - 1))
    if softmax:
        chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, truth[:, None], chosen[:, None])
    return logits.masked_fill(chosen, -torch.inf)


def relabeling_losses(logits: torch.Tensor, target: torch.Tensor, softmax: bool) -> torch.Tensor:
    """The cross-entropy of each case to its labels, `(B,)`: the mean over all places, in nats.

    Args:
        logits: `(B, C, ...)`.
        target: probabilities of the outcomes, as `relabeled` returns them.
        softmax: as in `log_probabilities`.

    Example:
        >>> relabeling_losses(torch.zeros(1, 1, 2), relabeled(torch.ones(1, 1, 2), False), False)
        tensor([0.6931])
    """
    losses = cross_entropy(target, log_probabilities(logits, softmax))
    return losses.reshape(len(losses), -1).mean(1)


def _structures(truth: torch.Tensor, label: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The foreground of masks; a class counts as foreground, whatever its number."""
    if truth.dim() == 1:
        return torch.ones_like(truth, dtype=torch.bool)
    structures = truth > 0
    if truth.dim() == logits.dim() and holds_indices(label, logits):  # a mask for each class, the background's first
        structures[:, 0] = False
    return structures
