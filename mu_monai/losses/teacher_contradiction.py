"""The teacher-contradiction term: where the teacher is confident, the student should answer the opposite."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import one_hot

from mu_monai.errors import InputError
from mu_monai.losses.outcomes import cross_entropy, log_probabilities, others


class TeacherContradiction(nn.Module):
    r"""Cross-entropy of the student's answer to the opposite of the teacher's, where the teacher is confident.

    .. math:: L = \frac{1}{|G|} \sum_{g \in G} \frac{1}{|M_g|} \sum_{i \in M_g} \sum_k
        -\frac{1 - t_{i,k}}{K - 1} \log p_{i,k}, \quad M_g = \{ i : \max_k t_{i,k} = t_{i,g} > \tau \}

    with the teacher's probabilities `t`, the student's `p` and `G` the outcomes for which `M_g` is not empty. For
    sigmoid `K = 2`, and this is `BCE(p, 1 - t)` where `t > tau` and where `t < 1 - tau`, each side counting one half.
    Range [0, inf), in nats; the minimum is the entropy of the opposite of `t`, reached if `p` equals that opposite. 0
    if the teacher is confident nowhere.

    Args:
        threshold: `tau`, the probability above which the teacher counts as confident, in [0.5, 1).
        balanced: whether each outcome that the teacher is confident about has the same weight; otherwise each place
            has, and a small lesion is outweighed by its background.
        softmax: whether the channels are one softmax or independent sigmoid outputs; the outcomes of all sigmoid
            channels are balanced together.

    Raises:
        InputError: for a threshold outside [0.5, 1).

    Source:
        *Erase to Retain* (arXiv 2511.16574), section 3, which only defines "confident" as a lesion probability above
        0.8: the same for background, the balance between both, and several classes are ours. It is minimized.

    Example:
        >>> teacher = torch.tensor([[[[1000.0, -1000.0, 0.0]]]])
        >>> TeacherContradiction()(-teacher, teacher).item()  # contradicts the teacher where it is confident
        0.0
        >>> TeacherContradiction()(teacher, teacher).item()
        1000.0
    """

    def __init__(self, threshold: float = 0.8, balanced: bool = True, softmax: bool = False) -> None:
        super().__init__()
        if not 0.5 <= threshold < 1:
            raise InputError(f"threshold={threshold} is not allowed; use a probability in [0.5, 1) (the paper: 0.8)")
        self.threshold = threshold
        self.balanced = balanced
        self.softmax = softmax

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for logits `(B, C, ...)` of both."""
        t = log_probabilities(teacher, self.softmax).exp()
        cost = cross_entropy(others(t), log_probabilities(student, self.softmax))
        confidence, answer = t.max(dim=1)
        confident = confidence > self.threshold
        if not self.balanced:
            return (cost * confident).sum() / confident.sum().clamp(min=1)
        member = one_hot(answer, t.shape[1]) * confident.unsqueeze(-1)  # place x outcome
        places = member.flatten(0, -2).sum(dim=0)
        costs = (cost.unsqueeze(-1) * member).flatten(0, -2).sum(dim=0)
        return (costs / places.clamp(min=1)).sum() / (places > 0).sum().clamp(min=1)
