"""Retain fine-tuning: train only on the retained cases, and let the others be forgotten by neglect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.engine.schedule import ONE_CYCLE, SCHEDULES
from mu_monai.keys import IMAGE, LOSS
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import OneOf, setting


@dataclass(kw_only=True)
class RetainFineTuning(UnlearningMethod):
    r"""Continue training on the retained cases.

    .. math:: L = \ell(D_r)

    The forget cases are never shown. They are forgotten only as far as further training without them overwrites them,
    which at small learning rates is hardly at all: training on at 1e-4 makes them easier to tell. A high rate that is
    annealed to zero (`lr_schedule`) overwrites more.

    Raises:
        InputError: for a network that is not a `Student`.

    Source:
        Known as fine-tuning or catastrophic forgetting; one of the baselines of Golatkar et al., *Eternal Sunshine of
        the Spotless Net* (arXiv 1911.04933). Papers use SGD at rates of 0.001 to 0.1; here it is the bundle's AdamW, in
        one cycle up to 1e-3, with frozen BatchNorm statistics.

    Example:
        >>> RetainFineTuning(forget_loader=[]).cost
        'retain'
    """

    paper = "Golatkar et al. 2020, arXiv 1911.04933"
    needs: ClassVar[tuple[str, ...]] = ("retain labels",)
    cost = "retain"
    replicable = True
    without_forget_images = True
    recipe: ClassVar[Mapping[str, Any]] = {**UnlearningMethod.recipe, "learning_rate": 1e-3}
    trials = ({}, {"learning_rate": 3e-3}, {"learning_rate": 3e-4}, {"learning_rate": 1e-4})

    lr_schedule: str = setting(ONE_CYCLE, OneOf(*SCHEDULES))

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Record the supervised loss and keep it as it is."""
        self.record(engine, "supervised", engine.state.output[LOSS], len(engine.state.output[IMAGE]))
