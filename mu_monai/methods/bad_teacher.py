"""Bad teacher: follow the teacher on retained cases and an untrained network on forget cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from mu_monai.engine import count_of
from mu_monai.keys import IMAGE, LOSS, PRED
from mu_monai.losses import Distillation
from mu_monai.measure import randomized
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import POSITIVE, setting
from mu_monai.methods.teacher_answers import TeacherAnswers


@dataclass(kw_only=True)
class BadTeacher(UnlearningMethod):
    r"""Distill a competent teacher on retained cases and an incompetent one on forget cases.

    .. math:: L = \mathrm{KL}\big(l\, p_{bad} + (1 - l)\, p_{good} \,\|\, p_s\big), \quad
        l = 1 \text{ on } D_f, \; 0 \text{ on } D_r

    The good teacher is the student's own. The bad one is the same network with new random weights, drawn from the run's
    seed. Each step takes a batch of each side and weights their means (`good` and `bad` in the curve) by the number of
    cases they represent: all forget cases, and the retained cases that an epoch sees. The supervised loss is not used.

    Args:
        temperature: temperature of both distillations, > 0.

    Raises:
        InputError: for a temperature outside this range, or a network that is not a `Student`.

    Source:
        Chundawat et al. 2023, arXiv 2205.08096, with temperature 1. As there, an epoch sees 30 % of the retained
        cases; here they are redrawn each epoch (`epoch_length` of the recipe). The published code also averages the
        divergence over classes, which makes it K times smaller; here it is a mean over cases. The paper uses Adam; here
        it is the bundle's optimizer. Masks are our extension, per pixel or voxel.

    Example:
        >>> BadTeacher(forget_loader=[]).settings()["temperature"]
        1.0
    """

    paper = "Chundawat et al. 2023, arXiv 2205.08096"
    replicable = True
    needs = ("teacher",)
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "epoch_length": "$-(-3 * len(@train::dataloader) // 10)",
    }

    temperature: float = setting(1.0, POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._distillation = Distillation(self.temperature, softmax=self.is_softmax)
        self._good = TeacherAnswers()
        self._bad: nn.Module | None = None

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Make the bad teacher: the same one in every epoch and after a resume."""
        seed = Random(f"bad teacher {torch.initial_seed()}").getrandbits(32)  # differs from the one an audit draws
        self._bad = randomized(engine.network.reverted(), seed).requires_grad_(False)
        count_of(engine).watch(self._bad)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Replace the supervised loss with both distillations."""
        output = engine.state.output
        good = self._distillation(output[PRED], self._good(engine))
        self.record(engine, "good", good, len(output[IMAGE]))
        image, _, _ = self.forget_batch(engine)
        bad = self._distillation(engine.inferer(image, engine.network), engine.inferer(image, self._bad))
        self.record(engine, "bad", bad, len(image))
        share = min(1.0, engine.state.epoch_length / len(engine.data_loader))
        retain = share * len(engine.data_loader.dataset)
        forget = len(self.forget_loader.dataset)  # type: ignore[arg-type]
        output[LOSS] = (retain * good + forget * bad) / (retain + forget)
