"""Erase to Retain: low-rank adapters distil the teacher on retained cases and push forget cases to background."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.engines import SupervisedTrainer

from mu_monai.adapters import Student
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import IMAGE, LOSS, PRED
from mu_monai.losses import Background, Distillation, Guard
from mu_monai.methods.method import UnlearningMethod

SCHEDULES = ("joint", "alternate_epoch")


@dataclass(kw_only=True)
class EraseToRetain(UnlearningMethod):
    r"""Distil the retain set, push the forget set to background, through adapters alone.

    .. math::
        L = \underbrace{L_{sup} + w_{kd} L_{KD} + w_{guard} L_{guard}}_{\text{retain}}
          + \underbrace{w_{forget} \, \mathrm{BCE}(S(x_f), 0)}_{\text{forget}}

    Terms are recorded as `supervised`, `distillation`, `guard` and `background`, without their weights.

    Args:
        forget_loader: batches of forget cases; only their images are used.
        kd_weight: weight of the distillation term, >= 0 (the paper's alpha).
        temperature: distillation temperature, > 0.
        guard_weight: weight of the guard term, >= 0 (the paper's beta).
        forget_weight: weight of the background term, >= 0 (the paper's lambda).
        schedule: `joint`: one retain and one forget batch in every step (section 4, eq. 11); `alternate_epoch`: all
            retain batches, then all forget batches, each with steps of their own (the released code).

    Raises:
        InputError: for a value outside these ranges, or a network that is no `Student`.

    Source:
        arXiv 2511.16574, section 4, eqs. 2-12, settings of section 5.2. The teacher's logits come from the same
        network with its adapters off; BatchNorm statistics stay frozen, which the released code neglects.

    Example:
        >>> EraseToRetain(forget_loader=[], forget_weight=2.0).settings()["forget_weight"]
        2.0
    """

    kd_weight: float = 1.0
    temperature: float = 2.0
    guard_weight: float = 0.05
    forget_weight: float = 3.0
    schedule: str = "joint"

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = [
            f"method#{name}={getattr(self, name)} is not allowed; use a number of 0 or more"
            for name in ("kd_weight", "guard_weight", "forget_weight")
            if not getattr(self, name) >= 0
        ]
        if not self.temperature > 0:
            problems.append(f"method#temperature={self.temperature} is not allowed; use a number above 0")
        if self.schedule not in SCHEDULES:
            problems.append(f"method#schedule={self.schedule!r} is not known; use one of {', '.join(SCHEDULES)}")
        raise_if_any(problems)
        self._distillation, self._guard, self._background = Distillation(self.temperature), Guard(), Background()

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Refuse a network without adapters: there would be no teacher to compare with."""
        if not isinstance(engine.network, Student):
            raise InputError(
                f"EraseToRetain needs a network with adapters and got {type(engine.network).__name__}; wrap it in "
                "mu_monai.adapters.Student"
            )

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the retain terms and, in the joint schedule, the forget term to the supervised loss."""
        output = engine.state.output
        teacher = engine.network.teacher(output[IMAGE])
        size = len(teacher)
        terms = {
            "supervised": (1.0, output[LOSS]),
            "distillation": (self.kd_weight, self._distillation(output[PRED], teacher)),
            "guard": (self.guard_weight, self._guard(output[PRED], teacher)),
        }
        for name, (_, value) in terms.items():
            self.record(engine, name, value, size)
        total = sum(weight * value for weight, value in terms.values())
        if self.schedule == "joint":
            total = total + self._forget_loss(engine)
        output[LOSS] = total

    def on_epoch(self, engine: SupervisedTrainer) -> None:
        """In the alternating schedule, pass once over the forget set with steps of its own."""
        if self.schedule != "alternate_epoch":
            return
        engine.network.train()
        for _ in range(len(self.forget_loader)):
            with torch.autocast(engine.state.device.type, enabled=engine.amp, **engine.amp_kwargs):
                loss = self._forget_loss(engine)
            self.step(engine, loss)

    def _forget_loss(self, engine: SupervisedTrainer) -> torch.Tensor:
        image = self.forget_images(engine)
        background = self._background(engine.inferer(image, engine.network))
        self.record(engine, "background", background, len(image))
        return self.forget_weight * background
