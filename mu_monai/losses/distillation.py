"""The distillation term: on retained cases the student should answer as the teacher does."""

from __future__ import annotations

import math

import torch
from torch import nn

from mu_monai.errors import InputError
from mu_monai.losses.outcomes import divergence, log_probabilities

DIRECTIONS = ("forward", "reverse", "js")


class Distillation(nn.Module):
    r"""Temperature-softened divergence between the teacher's and the student's probabilities, per place.

    .. math::
        L = T^2 \frac{1}{n} \sum_i D(p_i, q_i), \quad p = \text{teacher at } T, \; q = \text{student at } T

        D = \mathrm{KL}(p \,\|\, q) = \sum_k p_k \log\frac{p_k}{q_k} \text{ (forward)}, \quad
        \mathrm{KL}(q \,\|\, p) \text{ (reverse)}, \quad
        \tfrac{1}{2} (\mathrm{KL}(p \,\|\, m) + \mathrm{KL}(q \,\|\, m)), \; m = \tfrac{p + q}{2} \text{ (js)}

    over the two outcomes of every sigmoid channel, or the classes of a softmax; for classes `(B, K)` this is the mean
    over the batch. Range [0, inf), for `js` [0, T^2 log 2], in nats; 0 if and only if student and teacher agree.

    Args:
        temperature: `T` > 0; larger values give the teacher's uncertainty more weight.
        direction: `forward` (cover every outcome that the teacher considers possible), `reverse` (avoid every outcome
            that it does not) or `js` (symmetric, bounded).
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Raises:
        InputError: for a temperature of 0 or less, NaN or infinity, or a direction that is not known.

    Source:
        *Erase to Retain* (arXiv 2511.16574), eq. 4, which prints KL(student || teacher), `reverse`. Its released code
        takes the teacher as target (cross-entropy to soft labels), as Hinton et al. (arXiv 1503.02531) do, and so do
        we; the teacher's entropy is subtracted so that the term is 0 at agreement.

    Example:
        >>> logits = torch.randn(2, 1, 4, 4)
        >>> Distillation()(logits, logits).item()
        0.0
    """

    def __init__(self, temperature: float = 2.0, direction: str = "forward", softmax: bool = False) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise InputError(f"temperature={temperature} is not allowed; use a number above 0 (the paper: 2.0)")
        if direction not in DIRECTIONS:
            raise InputError(f"direction={direction!r} is not known; use one of {', '.join(DIRECTIONS)}")
        self.temperature = temperature
        self.direction = direction
        self.softmax = softmax

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for logits `(B, C, ...)` of both."""
        q = log_probabilities(student / self.temperature, self.softmax)
        p = log_probabilities(teacher / self.temperature, self.softmax)
        return self.temperature**2 * self._divergence(p, q)

    def _divergence(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        if self.direction == "forward":
            return divergence(p, q)
        if self.direction == "reverse":
            return divergence(q, p)
        mixture = torch.logaddexp(p, q) - math.log(2)
        return (divergence(p, mixture) + divergence(q, mixture)) / 2
