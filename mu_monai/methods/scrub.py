"""SCRUB: in every epoch, away from the teacher on forget cases, then back to it on retained ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.engine.stop_at_reference import REWIND
from mu_monai.keys import IMAGE, LOSS, PRED
from mu_monai.losses import Distillation
from mu_monai.methods.method import STOPS, UnlearningMethod
from mu_monai.methods.settings import COUNT, POSITIVE, Interval, setting
from mu_monai.methods.teacher_answers import TeacherAnswers


@dataclass(kw_only=True)
class Scrub(UnlearningMethod):
    r"""Alternate a pass that leaves the teacher on forget cases with one that follows it on retained cases.

    .. math::
        L_{max} = -\mathrm{KL}_T(p_t \,\|\, p_s) \text{ on } D_f, \qquad
        L_{min} = \gamma\, \ell + \alpha\, \mathrm{KL}_T(p_t \,\|\, p_s) \text{ on } D_r

    Each of the first `msteps` epochs begins with a pass of steps on :math:`L_{max}`; every epoch then is a pass on
    :math:`L_{min}`. At the end, the run goes back to the epoch whose forget losses are most like those of unseen cases
    (`stop_at="rewind"`, the published SCRUB+R). The curve has :math:`\mathrm{KL}_T` as `distillation` (retain) and
    `departure` (forget).

    Args:
        gamma: weight of the supervised loss, >= 0.
        alpha: weight of the distillation, >= 0.
        temperature: `T` of the distillation, > 0; the divergence is multiplied by its square.
        msteps: number of first epochs that begin with a pass on forget cases, at least 1.
        stop_at: `rewind`, `reference`, or `None` to keep the last epoch.

    Raises:
        InputError: for a value outside these ranges, a network that is not a `Student`, or no unseen cases to rewind
            by.

    Source:
        Kurmanji et al. 2023, arXiv 2302.09880, with the settings of its small-scale experiments. At large scale it
        uses gamma 0.99, alpha 0.001, T 4 and 2 of 3 epochs; against membership attacks alpha 0.5, T 4 and 3 of 5. The
        paper uses SGD or Adam at 5e-4; here it is the bundle's optimizer, and BatchNorm is frozen. At the teacher
        itself the gradient of the divergence is zero up to rounding, so the first steps away from it are small. Masks
        are our extension, per pixel or voxel.

    Example:
        >>> Scrub(forget_loader=[], unseen_loader=[]).settings()["msteps"]
        3
    """

    paper = "Kurmanji et al. 2023, arXiv 2302.09880"
    replicable = True
    needs = ("retain labels", "forget labels", "teacher", "unseen cases")  # forget labels to rewind by
    recipe: ClassVar[Mapping[str, Any]] = {**UnlearningMethod.recipe, "max_epochs": 10, "score_interval": 10}
    trials = (
        {},
        {"learning_rate": 1e-3},
        {"learning_rate": 3e-4, "method::msteps": 10},
        {"learning_rate": 1e-3, "method::gamma": 0.99, "method::alpha": 0.001, "method::temperature": 4.0},
    )

    gamma: float = setting(1.0, Interval(0))
    alpha: float = setting(0.5, Interval(0))
    temperature: float = setting(2.0, POSITIVE)
    msteps: int = setting(3, COUNT)
    stop_at: str | None = setting(REWIND, STOPS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._distillation = Distillation(self.temperature, softmax=self.is_softmax)
        self._teacher = TeacherAnswers()

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Move away from the teacher on every forget batch once, in the first `msteps` epochs."""
        super().on_epoch_start(engine)
        if engine.state.epoch > self.msteps:
            return
        engine.network.train()
        for image, _, _ in self.forget_pass(engine):
            teacher = engine.inferer(image, engine.network.teacher)
            departure = self._distillation(engine.inferer(image, engine.network), teacher)
            self.record(engine, "departure", departure, len(image))
            self.step(engine, -departure)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Follow labels and teacher on retained cases."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        distillation = self._distillation(output[PRED], self._teacher(engine))
        self.record(engine, "distillation", distillation, len(output[IMAGE]))
        output[LOSS] = self.gamma * output[LOSS] + self.alpha * distillation
