"""Negative preference optimization: gradient ascent that slows down once a case is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch.nn.functional import softplus

from mu_monai.keys import IMAGE, LABEL, LOSS, PRED
from mu_monai.losses.outcomes import label_outcomes, log_probabilities
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import POSITIVE, Interval, setting


@dataclass(kw_only=True)
class NPO(UnlearningMethod):
    r"""Make the true labels of forget cases less probable than under the teacher.

    .. math::
        L = w_r \, \ell(D_r) + \frac{2}{\beta} \, \frac1B \sum_i
        \log\Big(1 + \Big(\frac{\pi_\theta(y_i)}{\pi_{ref}(y_i)}\Big)^\beta\Big)

    :math:`\log \pi` is the log-probability of a case's true label; for a mask, the mean over its pixels and channels.
    The gradient is that of gradient ascent on the cross-entropy times :math:`2 r^\beta / (1 + r^\beta)` with the ratio
    `r`: 1 at the teacher, and vanishing once a case is forgotten. As `beta` goes to 0 it becomes gradient ascent.

    Args:
        beta: how soon the ascent slows down, > 0.
        retain_weight: weight of the supervised loss on retained cases, >= 0; with 0, only forget cases are used.

    Raises:
        InputError: for a value outside these ranges, or a network that is not a `Student`.

    Source:
        Zhang et al., *Negative Preference Optimization* (arXiv 2404.05868), with its retain term (NPO-RT) and beta of
        0.1, for language models. There :math:`\log \pi` is a sum over tokens; with a sum over pixels, the meaning of
        `beta` would depend on the image size. With a mean, 0.1 is close to gradient ascent; larger values limit it
        more. The optimizer is the bundle's AdamW at 1e-4, with frozen BatchNorm statistics.

    Example:
        >>> NPO(forget_loader=[]).settings()["beta"]
        0.1
    """

    paper = "Zhang et al. 2024, arXiv 2404.05868"
    needs = ("retain labels", "forget labels", "teacher")
    cost = "both"
    replicable = True
    trials = ({}, {"method::beta": 1.0}, {"method::retain_weight": 5.0}, {"learning_rate": 3e-5})

    beta: float = setting(0.1, POSITIVE)
    retain_weight: float = setting(1.0, Interval(0))

    def next_batch(self, engine: SupervisedTrainer) -> Mapping[str, Any] | None:
        """Without a weight on retained cases, forget cases instead of them."""
        return None if self.retain_weight else self.next_forget()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the negative preference for the forget cases' labels to the supervised loss."""
        output = engine.state.output
        if not self.retain_weight:
            output[LOSS] = self._preference(engine, output[IMAGE], output[LABEL], output[PRED])
            return
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        image, label, _ = self.forget_batch(engine)
        loss = self._preference(engine, image, label, engine.inferer(image, engine.network))
        output[LOSS] = self.retain_weight * output[LOSS] + loss

    def _preference(
        self, engine: SupervisedTrainer, image: torch.Tensor, label: torch.Tensor, student: torch.Tensor
    ) -> torch.Tensor:
        teacher = engine.inferer(image, engine.network.teacher)
        loss = negative_preference(student, teacher, label, self.beta, self.is_softmax)
        self.record(engine, "preference", loss, len(image))
        return loss


def negative_preference(
    student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor, beta: float, softmax: bool
) -> torch.Tensor:
    r"""The mean over cases of :math:`\frac{2}{\beta} \log(1 + (\pi_\theta / \pi_{ref})^\beta)`.

    Args:
        student: logits `(B, C, ...)`.
        teacher: logits of the same shape.
        label: labels as `mu_monai.losses.outcomes.label_outcomes` takes them.
        beta: > 0.
        softmax: whether the channels are one softmax or independent sigmoid outputs.

    Example:
        >>> logits = torch.zeros(1, 3)
        >>> round(negative_preference(logits, logits, torch.tensor([0]), 2.0, softmax=True).item(), 4)  # log 2
        0.6931
    """
    place = label_outcomes(label, student, softmax).unsqueeze(1)
    ours, theirs = (
        log_probabilities(logits, softmax).gather(1, place).flatten(1).mean(1) for logits in (student, teacher)
    )
    return 2 / beta * softplus(beta * (ours - theirs)).mean()
