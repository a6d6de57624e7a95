"""Calibrated Erase to Retain: the loss of forget cases is raised to that of unseen cases, and no further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any, ClassVar

import numpy as np
import torch
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer

from mu_monai.engine.stop_at_reference import REFERENCE
from mu_monai.errors import InputError
from mu_monai.keys import IMAGE, LOSS, PRED
from mu_monai.losses import DIRECTIONS, Distillation, Hinge
from mu_monai.measure import case_losses, each_loss
from mu_monai.methods.method import STOPS, UnlearningMethod
from mu_monai.methods.settings import POSITIVE, Interval, OneOf, setting
from mu_monai.methods.teacher_answers import TeacherAnswers

TARGETS = ("quantiles", "median")


@dataclass(kw_only=True)
class CalibratedEraseToRetain(UnlearningMethod):
    r"""Distill on the retain set and raise the loss of the forget set to that of unseen cases, then settle.

    .. math::
        L = \underbrace{L_{sup} + w_{kd} L_{KD}}_{\text{retain}}
          + w_{hinge} \underbrace{\frac1B \sum_i \max(0,\, t_i - \ell_i)}_{\text{forget}}

    :math:`\ell_i` is the supervised loss of forget case `i`, and its target :math:`t_i` comes from the losses of unseen
    cases (`validation`) under the teacher, measured before training. After every epoch the run measures how well the
    losses distinguish forget cases from unseen ones (AUC, over patients) and ends when they no longer do. If forget
    cases are answered worse than unseen ones, the hinge brings them back.

    Superficial forgetting is undone as soon as somebody trains the model further. With `settle_steps`, each epoch
    therefore ends with steps on retain batches only, at `settle_learning_rate`, and is judged after them: the run ends
    when further training no longer brings the forget cases back.

    Args:
        unseen_loader: batches of unseen cases, prepared like forget batches; the targets come from them.
        hinge_weight: weight of the hinge, >= 0.
        kd_weight: weight of the distillation term on retain batches, >= 0.
        temperature: distillation temperature, > 0.
        kd_direction: `forward` (teacher || student), `reverse` or `js`.
        target: `quantiles`: the forget cases keep their order under the teacher, and each gets the unseen loss of its
            own quantile; or `median` of the unseen losses for every forget case.
        warmup: optimizer steps over which the learning rate rises to its full value, >= 0.
        settle_steps: steps on retain batches only at the end of every epoch, >= 0.
        settle_learning_rate: learning rate of these steps, > 0.
        stop_at: `reference`, or `None` to run to the end.

    Raises:
        InputError: for a value outside these ranges, a network that is not a `Student`, or no unseen cases.

    Source:
        Ours, after *Erase to Retain* (arXiv 2511.16574, section 4). It keeps the retain side, without the guard and
        with a larger weight, and replaces the forget side, which pushes toward background without limit.

    Example:
        >>> CalibratedEraseToRetain(forget_loader=[], unseen_loader=[]).settings()["target"]
        'quantiles'
    """

    paper = "ours, after arXiv 2511.16574"
    replicable = True
    needs = ("retain labels", "forget labels", "teacher", "unseen cases")
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "max_epochs": 8,
        "epoch_length": 30,
        "learning_rate": 3e-4,
        "score_interval": 8,
    }
    trials = ({}, {"method::hinge_weight": 3.0}, {"method::settle_steps": 30}, {"learning_rate": 1e-3})
    comes_back = True

    hinge_weight: float = setting(1.0, Interval(0))
    kd_weight: float = setting(4.0, Interval(0))
    temperature: float = setting(2.0, POSITIVE)
    kd_direction: str = setting("forward", OneOf(*DIRECTIONS))
    target: str = setting("quantiles", OneOf(*TARGETS))
    warmup: int = setting(30, Interval(0, whole=True))
    settle_steps: int = setting(0, Interval(0, whole=True))
    settle_learning_rate: float = setting(1e-4, POSITIVE)
    stop_at: str | None = setting(REFERENCE, STOPS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._distillation = Distillation(self.temperature, self.kd_direction, self.is_softmax)
        self._hinge = Hinge()
        self._teacher = TeacherAnswers()
        self._targets: dict[str, float] = {}  # by forget case

    # -- the trainer's events ------------------------------------------------------------------------------------------

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Measure the losses of unseen cases under the teacher and derive the targets."""
        if self.unseen_loader is None or not len(self.unseen_loader):
            raise InputError(
                "CalibratedEraseToRetain takes its targets from unseen cases, and the split has none: give the split "
                "validation cases (--validation)"
            )
        unseen, forget = (self._teacher_losses(engine, loader) for loader in (self.unseen_loader, self.forget_loader))
        self._targets = case_targets(forget, list(unseen.values()), self.target)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add distillation and hinge to the supervised loss."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        distillation = self._distillation(output[PRED], self._teacher(engine))
        self.record(engine, "distillation", distillation, len(output[IMAGE]))
        output[LOSS] = output[LOSS] + self.kd_weight * distillation + self.hinge_weight * self._forget_loss(engine)

    def on_epoch(self, engine: SupervisedTrainer) -> None:
        """Settle: train on retain batches only, as anybody who has the model could."""
        if not self.settle_steps:
            return
        self.set_learning_rates(engine, [self.settle_learning_rate] * len(engine.optimizer.param_groups))
        engine.network.train()
        for image, label, _ in islice(self.retain_batches(engine), self.settle_steps):
            loss = engine.loss_function(engine.inferer(image, engine.network), label)
            self.record(engine, "settling", loss, len(image))
            self.step(engine, loss)

    def rate(self, engine: SupervisedTrainer) -> float:
        """The learning rate of the step, with the warm-up."""
        return super().rate(engine) * (min(1.0, engine.state.iteration / self.warmup) if self.warmup else 1.0)

    # -- its parts -----------------------------------------------------------------------------------------------------

    def _forget_loss(self, engine: SupervisedTrainer) -> torch.Tensor:
        image, label, cases = self.forget_batch(engine)
        losses = each_loss(engine.loss_function, engine.inferer(image, engine.network), label)
        targets = losses.new_tensor([self._targets[case] for case in cases])
        overshot = self._reference is not None and self._reference.watch.overshot
        hinge: torch.Tensor = self._hinge(losses, targets, two_sided=overshot)
        self.record(engine, "hinge", hinge, len(image))
        self.record(engine, "forget", losses.mean(), len(image))
        return hinge

    def _teacher_losses(self, engine: SupervisedTrainer, loader: Any) -> dict[str, float]:
        """The teacher's loss on every case; for a case with several patches, their mean."""
        set_rnd(loader.dataset, torch.initial_seed() % 2**32)
        by_case: dict[str, list[float]] = {}
        for case, _, loss in case_losses(engine, engine.network.teacher, loader):
            by_case.setdefault(case, []).append(loss)
        return {case: sum(losses) / len(losses) for case, losses in by_case.items()}

    # -- what is kept --------------------------------------------------------------------------------------------------

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the range of the targets."""
        targets = list(self._targets.values())
        return super().measurements(engine) | {
            "targets": {"lowest": min(targets), "median": median(targets), "highest": max(targets)}
        }

    def state_dict(self) -> dict[str, Any]:
        """The targets, in addition to what every method saves."""
        return super().state_dict() | {"targets": self._targets}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue with the same targets."""
        super().load_state_dict(state, engine)
        self._targets = dict(state["targets"])


def case_targets(forget: Mapping[str, float], unseen: list[float], target: str) -> dict[str, float]:
    """The loss that each forget case should reach, from losses under the teacher.

    Args:
        forget: the losses of the forget cases, by case.
        unseen: the losses of unseen cases.
        target: `quantiles` or `median`.

    Example:
        >>> case_targets({"a": 0.2, "b": 0.1}, [0.5, 0.7, 0.9], "quantiles")
        {'b': 0.6, 'a': 0.8}
    """
    if target == "median":
        return dict.fromkeys(forget, median(unseen))
    ordered = sorted(forget, key=lambda case: forget[case])
    places = (np.arange(len(ordered)) + 0.5) / len(ordered)
    return dict(zip(ordered, np.quantile(unseen, places).round(12).tolist(), strict=True))
