"""One view of every output: log-probabilities over the outcomes of a place, in dimension 1.

A softmax output has its K classes as outcomes. A sigmoid output has two in every channel: absent (0) and present (1).
Therefore a term over outcomes is the same formula for masks of either kind, 2D or 3D, and for classes.
"""

from __future__ import annotations

import math

import torch
from monai.networks import one_hot
from torch.nn import functional

from mu_monai.errors import InputError


def log_probabilities(logits: torch.Tensor, softmax: bool) -> torch.Tensor:
    """Log-probabilities of the outcomes, finite for every finite logit, in single precision or better.

    Args:
        logits: `(B, C, ...)`; classification has no dimensions after the channels.
        softmax: whether the channels are the classes of one softmax or independent sigmoid outputs.

    Returns:
        `(B, C, ...)` for softmax; `(B, 2, C, ...)` for sigmoid, outcome 0 absent and outcome 1 present.

    Raises:
        InputError: for a softmax over one channel, whose probability is always 1.

    Example:
        >>> log_probabilities(torch.zeros(1, 1, 2, 2), softmax=False).exp().flatten(2)
        tensor([[[0.5000, 0.5000, 0.5000, 0.5000],
                 [0.5000, 0.5000, 0.5000, 0.5000]]])
        >>> log_probabilities(torch.zeros(1, 4), softmax=True).exp()
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    if softmax and logits.shape[1] < 2:
        raise InputError(
            f"a softmax over {logits.shape[1]} channel is always 1, so nothing is learned; a softmax needs 2 channels "
            "or more, and a single channel is a sigmoid output: use softmax=False"
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if softmax:
        return logits.log_softmax(dim=1)
    return torch.stack([functional.logsigmoid(-logits), functional.logsigmoid(logits)], dim=1)


def probabilities(logits: torch.Tensor, softmax: bool) -> torch.Tensor:
    """Probabilities of the channels, `(B, C, ...)` like the logits: of each class, or of presence.

    Example:
        >>> probabilities(torch.zeros(1, 1), softmax=False).item()
        0.5
    """
    log_p = log_probabilities(logits, softmax)
    return (log_p if softmax else log_p[:, 1]).exp()


def label_outcomes(label: torch.Tensor, logits: torch.Tensor, softmax: bool) -> torch.Tensor:
    """The index of the true outcome at every place, `long`.

    Args:
        label: sigmoid: 0/1 masks `(B, C, ...)`, or class indices `(B, 1, ...)`, each a mask of its own. Softmax: class
            indices `(B, ...)` or `(B, 1, ...)`, for classification `(B,)`, or one-hot masks `(B, C, ...)`.
        logits: `(B, C, ...)`.
        softmax: as in `log_probabilities`.

    Returns:
        The shape of `log_probabilities(logits, softmax)` without dimension 1.

    Raises:
        InputError: for a sigmoid and a label that has another shape.

    Example:
        >>> label_outcomes(torch.tensor([[[0.0, 2.0]]]), torch.zeros(1, 3, 2), softmax=True)
        tensor([[0, 2]])
        >>> label_outcomes(torch.tensor([[[0.0, 1.0]]]), torch.zeros(1, 2, 2), softmax=False)
        tensor([[[1, 0],
                 [0, 1]]])
    """
    if not softmax and holds_indices(label, logits):
        label = one_hot(label, logits.shape[1])
    if not softmax and label.shape != logits.shape:
        raise InputError(
            f"the label has the shape {tuple(label.shape)} and the outputs {tuple(logits.shape)}, of a sigmoid each; "
            "give the label one channel per output, or one channel with class indices"
        )
    if softmax and label.dim() == logits.dim():
        label = label.argmax(dim=1) if label.shape[1] == logits.shape[1] else label.squeeze(1)
    return label.long()


def holds_indices(label: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether a mask has one channel of class indices for several outputs, `(B, 1, ...)` for `(B, C, ...)`.

    Example:
        >>> holds_indices(torch.zeros(1, 1, 4), torch.zeros(1, 2, 4)), holds_indices(torch.zeros(1), torch.zeros(1, 2))
        (True, False)
    """
    return label.dim() == logits.dim() and label.shape[1] == 1 < logits.shape[1]


def outcome_count(logits: torch.Tensor, softmax: bool) -> int:
    """How many outcomes a place has: the classes of a softmax, or absent and present.

    Example:
        >>> outcome_count(torch.zeros(1, 9), softmax=True), outcome_count(torch.zeros(1, 1, 4, 4), softmax=False)
        (9, 2)
    """
    return logits.shape[1] if softmax else 2


def shifted(label: torch.Tensor, logits: torch.Tensor, softmax: bool, shift: torch.Tensor) -> torch.Tensor:
    r"""The label `(y + shift) mod K`, in the same form as `label`; `K` as in `outcome_count`.

    Args:
        label: as in `label_outcomes`; where it `holds_indices`, the outcomes are the classes, also of a sigmoid.
        logits: `(B, C, ...)`.
        softmax: whether the channels are one softmax or independent sigmoid outputs; true if the label holds indices.
        shift: integers, one per case `(B,)` or one per place; one that is not a multiple of `K` gives a wrong label.

    Example:
        >>> shifted(torch.tensor([0, 2]), torch.zeros(2, 3), True, torch.tensor([1, 2]))
        tensor([1, 1])
        >>> shifted(torch.tensor([[[0.0, 1.0]]]), torch.zeros(1, 1, 2), False, torch.tensor([1]))
        tensor([[[1., 0.]]])
    """
    truth = label_outcomes(label, logits, softmax)
    wrong = (truth + shift.reshape(*shift.shape, *[1] * (truth.dim() - shift.dim()))) % outcome_count(logits, softmax)
    if softmax and label.shape == logits.shape:
        wrong = functional.one_hot(wrong, logits.shape[1]).movedim(-1, 1)
    return wrong.reshape(label.shape).to(label.dtype)


def uniform(log_p: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of even odds, in the shape of `log_p`.

    Example:
        >>> uniform(torch.zeros(1, 4)).exp()
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return torch.full_like(log_p, -math.log(log_p.shape[1]))


def others(p: torch.Tensor) -> torch.Tensor:
    """The opposite of an answer `p`, `(1 - p) / (K - 1)`: each outcome in proportion to the probability of the others.

    Example:
        >>> others(torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([[0.0000, 0.5000, 0.5000]])
    """
    return (1 - p) / (p.shape[1] - 1)


def cross_entropy(p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of `q` to the target `p` at every place, in nats: dimension 1 is summed away.

    Example:
        >>> cross_entropy(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.5]]).log())
        tensor([0.6931])
    """
    return -(p * log_q).sum(dim=1)


def divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Mean over places of KL(p || q), in nats; for `(B, K)` this is the mean over the batch.

    Example:
        >>> log_p = torch.tensor([[0.5, 0.5]]).log()
        >>> divergence(log_p, log_p).item()
        0.0
    """
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
