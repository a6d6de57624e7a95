"""UNDO: unlearn, add noise to the weights, and distill the unlearned model on retained cases."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.adapters.rewriting import full_copies, shrink_and_add_xavier
from mu_monai.engine import count_of, seeded
from mu_monai.engine.schedule import ONE_CYCLE, SCHEDULES
from mu_monai.keys import IMAGE, LOSS, PRED
from mu_monai.losses import Distillation, Uniform
from mu_monai.methods.gentle_restoration import GentleRestoration
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import POSITIVE, SHARE, Interval, OneOf, setting
from mu_monai.methods.teacher_answers import TeacherAnswers
from mu_monai.processes import total


@dataclass(kw_only=True)
class UNDO(UnlearningMethod):
    r"""Unlearn, damage the result with noise, and teach it the unlearned model's answers to retained cases.

    .. math::
        \theta_u = \arg\min \; \ell(D_r) + \mathrm{KL}(u \,\|\, p_\theta) \text{ on } D_f, \qquad
        \theta \leftarrow (1 - \alpha)\, \theta_u + \alpha \beta N, \qquad
        L = \mathrm{KL}(p_{\theta_u} \,\|\, p_\theta) \text{ on } D_r

    with even odds `u` and Xavier noise `N`. Unlearning alone hides what a few steps of training bring back; the noise
    destroys it, and the unlearned model's answers restore the rest. Labels are used in the first part only. It takes
    place before the first epoch, and again, with the same result, before an interrupted run is continued. Of a budget
    it takes at most half, and noise is added only if a step of distillation can follow.

    Args:
        alpha: how far the weights shrink toward the noise, in [0, 1].
        beta: share of Xavier noise, >= 0.
        unlearn_steps: steps of unlearning before the noise, >= 0; 0 distills the original model.
        unlearn_learning_rate: their learning rate, > 0.

    Raises:
        InputError: for a value outside these ranges, adapters instead of all weights, or a network that is not a
            `Student`.

    Source:
        Lee et al., *Distillation Robustifies Unlearning* (arXiv 2506.06278), and their code
        (`AddieFoote/distillation-robustify-unlearning`), for language models: unlearning by MaxEnt in 10 to 100 steps,
        as here, by gradient difference or by RMU; noise by `do_corruption`, alpha of 0.25 for WMDP and 0.1 to 0.8
        elsewhere, beta mostly 0.1; forward KL without a temperature. Number and rate of the first steps are ours and
        not tuned; the distillation is AdamW in one cycle up to 3e-3, 60 steps, on retained cases. Their networks (Gemma
        2) have no biases and store scales of normalization as offsets from 1, so that scales shrink toward 1 here too.
        The formulas were read in the code, not in the paper.

    Example:
        >>> UNDO(forget_loader=[]).settings()["alpha"]
        0.25
    """

    paper = "Lee et al. 2025, arXiv 2506.06278"
    needs: ClassVar[tuple[str, ...]] = ("retain labels",)
    cost = "both"
    fills_budget = True
    recipe: ClassVar[Mapping[str, Any]] = GentleRestoration.recipe
    trials = ({}, {"method::alpha": 0.5}, {"method::alpha": 0.75}, {"method::unlearn_learning_rate": 1e-3})

    alpha: float = setting(0.25, SHARE)
    beta: float = setting(0.1, Interval(0))
    unlearn_steps: int = setting(30, Interval(0, whole=True))
    unlearn_learning_rate: float = setting(3e-4, POSITIVE)
    lr_schedule: str = setting(ONE_CYCLE, OneOf(*SCHEDULES))

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Unlearn, keep the unlearned model as teacher, and damage the student."""
        super().on_start(engine)
        full_copies(engine.network)  # refuses adapters before anything is trained
        half = nullcontext() if self._budget is None else self._budget.keeping(self._budget.passes // 2)
        with half, seeded(engine.data_loader.dataset, self.forget_loader.dataset):
            self._divergences = self._unlearn(engine)
        unlearned = engine.network.eval().merged().requires_grad_(False)
        count_of(engine).watch(unlearned)
        self._answers = TeacherAnswers(unlearned)
        self._distillation = Distillation(1.0, softmax=self.is_softmax)
        if self.can_restore(engine):
            shrink_and_add_xavier(engine.network, self.alpha, self.beta, torch.initial_seed() % 2**32)

    def _unlearn(self, engine: SupervisedTrainer) -> list[float]:
        """Lead forget cases to even odds and keep retained ones; returns the divergence from even odds of each step."""
        optimizer = torch.optim.AdamW(engine.network.trainable().values(), lr=self.unlearn_learning_rate)
        count_of(engine).watch_steps(optimizer)
        uniform = Uniform(softmax=self.is_softmax)
        divergences: list[float] = []
        engine.network.train()
        for image, label, _ in islice(self.retain_batches(engine), self.unlearn_steps):
            forget, *_ = self.forget_batch(engine)
            if self._is_spent(engine, total(len(image) + len(forget))):
                break
            supervised = engine.loss_function(engine.inferer(image, engine.network), label)
            divergence = uniform(engine.inferer(forget, engine.network))
            self.step(engine, supervised + divergence, optimizer)
            divergences.append(float(divergence.detach()))
        return divergences

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Replace the supervised loss with the distillation from the unlearned model."""
        output = engine.state.output
        imitation = self._distillation(output[PRED], self._answers(engine))
        self.record(engine, "imitation", imitation, len(output[IMAGE]))
        output[LOSS] = imitation

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the course of the unlearning, and whether BatchNorm statistics changed."""
        return super().measurements(engine) | {
            "moving_statistics": engine.network.moving_statistics,
            "unlearning": {"divergence_from_even_odds": self._divergences},
        }
