"""Retain fine-tuning: train only on the retained cases, and let the others be forgotten by neglect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.keys import IMAGE, LOSS
from mu_monai.methods.method import UnlearningMethod


@dataclass(kw_only=True)
class RetainFineTuning(UnlearningMethod):
    r"""Continue training on the retained cases.

    .. math:: L = \ell(D_r)

    The forget cases are never shown. They are forgotten only as far as further training without them overwrites them,
    which at small learning rates is hardly at all.

    Raises:
        InputError: for a network that is not a `Student`.

    Source:
        Known as fine-tuning or catastrophic forgetting; one of the baselines of Golatkar et al., *Eternal Sunshine of
        the Spotless Net* (arXiv 1911.04933). Papers use SGD at rates of 0.001 to 0.1; here it is the bundle's AdamW at
        1e-4 with frozen BatchNorm statistics.

    Example:
        >>> RetainFineTuning(forget_loader=[]).cost
        'retain'
    """

    paper = "Golatkar et al. 2020, arXiv 1911.04933"
    needs: ClassVar[tuple[str, ...]] = ("retain labels",)
    cost = "retain"

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Record the supervised loss and keep it as it is."""
        self.record(engine, "supervised", engine.state.output[LOSS], len(engine.state.output[IMAGE]))
