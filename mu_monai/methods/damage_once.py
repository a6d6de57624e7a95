"""The base class of published methods that damage the weights once and then fine-tune on retained cases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.engine import seeded
from mu_monai.methods.gentle_restoration import GentleRestoration
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import Interval, setting


@dataclass(kw_only=True)
class DamageOnce(GentleRestoration, ABC):
    r"""Damage the weights before the first step, then train on retained cases in one cycle.

    .. math:: L = \ell(D_r) + w_{kd} \, L_{KD}(D_r), \quad w_{kd} = 0 \text{ as published}

    A method extends it with the damage, which is the same after a resume. BatchNorm statistics move, as in the
    published networks, since those of the original do not fit damaged weights.

    Args:
        kd_weight: weight of a distillation from the original on retain batches, >= 0; none of these methods has one.

    Raises:
        InputError: for a value outside its range, adapters instead of all weights, or a network that is not a
            `Student`.
    """

    needs: ClassVar[tuple[str, ...]] = ("retain labels",)
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "network::bn_mode": "train",
        "learning_rate": 1e-3,
    }

    kd_weight: float = setting(0.0, Interval(0))
    _damaged: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Damage the weights, from the run's own seed, if the budget allows a step that restores them."""
        super().on_start(engine)
        if not self.can_restore(engine):
            return
        with seeded(engine.data_loader.dataset, self.forget_loader.dataset):
            self._damaged = self.damage(engine, torch.initial_seed() % 2**32)

    @abstractmethod
    def damage(self, engine: SupervisedTrainer, seed: int) -> dict[str, Any]:
        """Change the weights; returns what the record says about it."""

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus what was damaged."""
        return super().measurements(engine) | {"damage": self._damaged}
