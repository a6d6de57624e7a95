"""Boundary Shrink: forget cases learn the class that one gradient step leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.engine.cost import TRAINED
from mu_monai.keys import IMAGE, LABEL, LOSS, PRED
from mu_monai.losses.relabeling import relabeled, relabeling_losses
from mu_monai.methods.boundary_search import BoundarySearch
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.perturbed_sign_gradient import OriginalModel
from mu_monai.methods.settings import POSITIVE, OrNull, Range, setting


@dataclass(kw_only=True)
class BoundaryShrink(UnlearningMethod):
    r"""Train each forget case on the answer that the original model gives one signed gradient step away.

    .. math::
        y'_i = \arg\max f_{w_0}\big(x_i + \varepsilon\, s\, \mathrm{sign}(\nabla_x \ell(f_{w_0}(x_i), y_i))\big), \quad
        L = \frac1{|F|} \sum_{i \in F} \mathrm{CE}\big(f_w(x_i),\, y'_i\big)

    with `s` the intensity range, which the step does not leave. Only forget cases are trained on: the trainer's retain
    batch is replaced by one of them, and retained images are read only to measure the intensity range, unless it is
    given. If the step does not change a case's answer, the case is trained on its present answer, which keeps it where
    it is; `perturbed-sign-gradient` searches further.

    Args:
        radius: the size of the step, as a share of the intensity range, > 0.
        intensity_range: lowest and highest value of the network's input; `None` measures them on all forget and retain
            images, channel by channel, before training.

    Raises:
        InputError: for a value outside these ranges, or a network that is not a `Student`.

    Source:
        *Boundary Unlearning* (Chen et al., CVPR 2023, arXiv 2303.11570): a step of 0.1, SGD at 1e-5, 10 epochs. Here it
        is AdamW at 1e-5 with frozen BatchNorm statistics. Masks are our extension: the step climbs the mean loss over
        the label's foreground, and every pixel is trained on the answer after the step.

    Example:
        >>> BoundaryShrink(forget_loader=[]).radius
        0.1
    """

    paper = "Chen et al. 2023, arXiv 2303.11570"
    needs = ("forget labels", "teacher")
    cost = "forget"
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "max_epochs": 10,
        "epoch_length": "$len(@method::forget_loader)",
        "learning_rate": 1e-5,
        "score_interval": 10,
    }
    trials = ({}, {"learning_rate": 1e-4}, {"learning_rate": 3e-5}, {"learning_rate": 3e-4})

    radius: float = setting(0.1, POSITIVE)
    intensity_range: Sequence[float] | None = setting(None, OrNull(Range()))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._search = BoundarySearch(
            steps=1, step_size=self.radius, radius=self.radius, closeness=0, noise=0, confidence=0, bisections=0
        )
        self._original: OriginalModel | None = None

    def step_passes(self, retain: int, forget: int = 0) -> int:
        """The search for the new label of every forget case, too."""
        return (TRAINED + self._search.passes) * forget

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Keep a copy of the original model."""
        self._original = OriginalModel(self, engine, self._search, self.intensity_range)

    def next_batch(self, engine: SupervisedTrainer) -> Mapping[str, Any] | None:
        """Forget cases instead of retained ones."""
        return self.next_forget()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Replace the loss of a forget batch by that of its new labels."""
        assert self._original is not None
        output = engine.state.output
        image = output[IMAGE]
        points, logits = self._original.boundary(image, output[LABEL])
        losses = relabeling_losses(output[PRED], relabeled(logits, self.is_softmax), self.is_softmax)
        forget: torch.Tensor = losses.mean()
        self.record(engine, "forget", forget, len(image))
        self.record(engine, "flip_rate", points.flipped.float().mean(), len(image))
        output[LOSS] = forget
