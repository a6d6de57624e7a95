"""The base class of methods that first move the weights and then restore the model on retained cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.engine.schedule import ONE_CYCLE, SCHEDULES
from mu_monai.keys import IMAGE, LOSS, PRED
from mu_monai.losses import DIRECTIONS, Distillation
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import POSITIVE, Interval, OneOf, setting
from mu_monai.methods.teacher_answers import TeacherAnswers


@dataclass(kw_only=True)
class GentleRestoration(UnlearningMethod):
    r"""Train on retained cases in one cycle, with the original model as teacher.

    .. math:: L = \ell(D_r) + w_{kd} \, L_{KD}(D_r)

    A method extends it with what it does to the weights before. No forget image is used.

    Args:
        kd_weight: weight of the distillation term on retain batches, >= 0.
        temperature: distillation temperature, > 0.
        kd_direction: `forward` (teacher || student), `reverse` or `js`.

    Raises:
        InputError: for a value outside these ranges, or a network that is not a `Student`.
    """

    needs: ClassVar[tuple[str, ...]] = ("retain labels", "teacher")
    replicable = True
    cost = "retain"
    without_forget_images = True
    fills_budget = True
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "network::bn_mode": "train",
        "max_epochs": 1,
        "epoch_length": 60,
        "learning_rate": 3e-3,
        "score_interval": 1,
    }

    kd_weight: float = setting(4.0, Interval(0))
    temperature: float = setting(2.0, POSITIVE)
    kd_direction: str = setting("forward", OneOf(*DIRECTIONS))
    lr_schedule: str = setting(ONE_CYCLE, OneOf(*SCHEDULES))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._distillation = Distillation(self.temperature, self.kd_direction, self.is_softmax)
        self._teacher = TeacherAnswers()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the distillation from the original to the supervised loss."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        if not self.kd_weight:
            return
        distillation = self._distillation(output[PRED], self._teacher(engine))
        self.record(engine, "distillation", distillation, len(output[IMAGE]))
        output[LOSS] = output[LOSS] + self.kd_weight * distillation

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus whether BatchNorm statistics changed."""
        return super().measurements(engine) | {"moving_statistics": engine.network.moving_statistics}
