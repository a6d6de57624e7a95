"""The random-label term: on forget cases the student should learn random labels."""

from __future__ import annotations

import torch
from torch import nn

from mu_monai.losses.outcomes import label_outcomes, log_probabilities


class RandomLabel(nn.Module):
    r"""Cross-entropy of the student's answer to a label redrawn at every call.

    .. math:: L = -\frac{1}{n} \sum_i \log p_i(\tilde y_i)

    With softmax the draw is uniform over all classes but the true one, once per case for classes and once per pixel for
    masks. With sigmoid it is a fair coin per pixel and channel, regardless of the label. Range [0, inf), in nats.
    Averaged over draws, the answer at the minimum is even odds for sigmoid, and evenly spread over the wrong classes
    for softmax; a single step follows its own draw. The draws come from torch's global generator.

    Args:
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 8, which does not say whether the true class may be drawn (here: no)
        or when labels are drawn (here: at every step). Masks are our extension.

    Example:
        >>> confident = torch.tensor([[1000.0, 0.0, 0.0]])
        >>> RandomLabel(softmax=True)(confident, torch.tensor([0])).item()  # the true class 0 is never drawn
        1000.0
    """

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, student: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for the student's logits `(B, C, ...)` and labels as `label_outcomes` takes them."""
        log_p = log_probabilities(student, self.softmax)
        return (-log_p.gather(1, self._draw(student, label).unsqueeze(1))).mean()

    def _draw(self, student: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if not self.softmax:
            return torch.randint(2, student.shape, device=student.device)
        truth, classes = label_outcomes(label, student, softmax=True), student.shape[1]
        return (truth + torch.randint(1, classes, truth.shape, device=truth.device)) % classes
