"""Bad teacher: what the teacher says on retained cases, what an untrained network says on forget cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from mu_monai.keys import IMAGE, LOSS, PRED
from mu_monai.losses import Distillation
from mu_monai.measure import randomized
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import POSITIVE, setting


@dataclass(kw_only=True)
class BadTeacher(UnlearningMethod):
    r"""Distil a competent teacher on retained cases and an incompetent one on forget cases.

    .. math:: L = \mathrm{KL}\big(l\, p_{bad} + (1 - l)\, p_{good} \,\|\, p_s\big), \quad
        l = 1 \text{ on } D_f, \; 0 \text{ on } D_r

    The good teacher is the student's own. The bad one is the same network with fresh weights, drawn by the run's seed.
    Each step takes a batch of both sides and weighs their means, `good` and `bad` in the curve, by how many cases they
    stand for: all forget cases, and those retained ones that an epoch sees. The supervised loss is not used.

    Args:
        temperature: of both distillations, > 0.

    Raises:
        InputError: for a temperature outside this range, or a network that is no `Student`.

    Source:
        Chundawat et al. 2023, arXiv 2205.08096, with temperature 1. As there, an epoch sees 30 % of the retained
        cases, here drawn anew each epoch (`epoch_length` of the recipe). Published code averages the divergence over
        classes as well, which makes it K times smaller; here it is a mean over cases. The optimizer is the bundle's,
        where the paper has Adam. Masks: our extension, per pixel or voxel.

    Example:
        >>> BadTeacher(forget_loader=[]).settings()["temperature"]
        1.0
    """

    paper = "Chundawat et al. 2023, arXiv 2205.08096"
    needs = ("teacher",)
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "epoch_length": "$-(-3 * len(@train::dataloader) // 10)",
    }

    temperature: float = setting(1.0, POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._distillation = Distillation(self.temperature, softmax=self.is_softmax)
        self._bad: nn.Module | None = None

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Make the bad teacher: the same one for every epoch, and after a resume."""
        seed = Random(f"bad teacher {torch.initial_seed()}").getrandbits(32)  # not the network that an audit draws
        self._bad = randomized(engine.network.reverted(), seed).requires_grad_(False)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Put both distillations in the place of the supervised loss."""
        output = engine.state.output
        good = self._distillation(output[PRED], engine.inferer(output[IMAGE], engine.network.teacher))
        self.record(engine, "good", good, len(output[IMAGE]))
        image, _, _ = self.forget_batch(engine)
        bad = self._distillation(engine.inferer(image, engine.network), engine.inferer(image, self._bad))
        self.record(engine, "bad", bad, len(image))
        share = min(1.0, engine.state.epoch_length / len(engine.data_loader))
        seen, gone = share * len(engine.data_loader.dataset), len(self.forget_loader.dataset)  # type: ignore[arg-type]
        output[LOSS] = (seen * good + gone * bad) / (seen + gone)
