"""The label-flip term: on forget cases the student should answer anything but the truth."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import one_hot

from mu_monai.losses.outcomes import cross_entropy, label_outcomes, log_probabilities, others


class LabelFlip(nn.Module):
    r"""Cross-entropy of the student's answer to the flipped label.

    .. math:: L = -\frac{1}{K - 1} \sum_{k \ne y} \log p_k, \quad \text{sigmoid: } L = \mathrm{BCE}(p, 1 - y)

    averaged over places; `K` outcomes, 2 in every channel of a sigmoid output. With more than two classes the target is
    spread evenly over the wrong ones. Range [log(K - 1), inf), in nats: for sigmoid the minimum is 0, reached if every
    answer is the flipped one with certainty; for softmax it is log(K - 1), reached if the wrong classes share all
    probability evenly.

    Args:
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Source:
        *Erase to Retain* (arXiv 2511.16574), section 3. Ascended, as printed there, a cross-entropy to `1 - y` would
        push the answer back to `y`; here it is minimized, which pushes it to `1 - y`. Several classes are our
        extension.

    Example:
        >>> label = torch.tensor([[[[0.0, 1.0]]]])
        >>> LabelFlip()(torch.tensor([[[[1000.0, -1000.0]]]]), label).item()
        0.0
        >>> round(LabelFlip(softmax=True)(torch.tensor([[-1000.0, 0.0, 0.0]]), torch.tensor([0])).item(), 4)  # log 2
        0.6931
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, student: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, ...)` and labels as `label_outcomes` takes them."""
        log_p = log_probabilities(student, self.softmax)
        truth = one_hot(label_outcomes(label, student, self.softmax), log_p.shape[1]).movedim(-1, 1)
        return cross_entropy(others(truth.to(log_p.dtype)), log_p).mean()
