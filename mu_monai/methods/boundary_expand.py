"""Boundary Expand: forget cases learn a class that does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer
from torch import nn
from torch.nn.functional import cross_entropy

from mu_monai.engine import seeded
from mu_monai.errors import InputError
from mu_monai.keys import CLASSIFICATION, LOSS, PRED
from mu_monai.methods.method import UnlearningMethod


@dataclass(kw_only=True)
class BoundaryExpand(UnlearningMethod):
    r"""Train the forget cases toward an extra class, the shadow class, and drop that class at the end.

    .. math::
        L = \frac1{|F|} \sum_{i \in F} \mathrm{CE}\big([f_w(x_i),\; u^\top h_w(x_i) + c],\; K + 1\big)

    :math:`h_w` are the features that the network's head receives, and :math:`(u, c)` is the shadow class's row of
    weights, randomly initialized; the other K rows are the network's. The row exists only inside this method, so there
    is nothing to prune: a network that is saved, scored or handed over never has it. Only forget cases are trained on;
    they replace the trainer's retain batch.

    Classification only. A class of a mask is a region of an image, not an image, and a single sigmoid channel has no
    room for another class.

    Raises:
        InputError: for a network that is not a `Student`, or whose head is not known to be one linear layer.

    Source:
        *Boundary Unlearning* (Chen et al., CVPR 2023, arXiv 2303.11570): SGD at 1e-5, 10 epochs. Here it is AdamW with
        frozen BatchNorm statistics.

    Example:
        >>> BoundaryExpand(forget_loader=[], task="classification").tasks
        ('classification',)
    """

    paper = "Chen et al. 2023, arXiv 2303.11570"
    tasks = (CLASSIFICATION,)
    cost = "forget"
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "max_epochs": 10,
        "epoch_length": "$len(@method::forget_loader)",
        "score_interval": 10,
    }
    trials = ({}, {"learning_rate": 1e-5}, {"learning_rate": 3e-5}, {"learning_rate": 3e-4})

    task: str = CLASSIFICATION

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Initialize the shadow class's row and add it to the optimizer."""
        base = engine.network.reverted()
        head = None if engine.network.head is None else base.get_submodule(engine.network.head)
        if not isinstance(head, nn.Linear):
            raise InputError(
                f"BoundaryExpand adds a class to a linear head, and {type(base).__name__} is not known to have one; "
                "use boundary-shrink, or a network that `mu-monai networks` lists as a classifier"
            )
        with seeded():
            self._shadow = nn.Linear(head.in_features, 1).to(engine.state.device)
        engine.optimizer.add_param_group({"params": list(self._shadow.parameters())})

    def next_batch(self, engine: SupervisedTrainer) -> Mapping[str, Any] | None:
        """Forget cases instead of retained ones; what reaches the head in this step is kept."""

        def see(_head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            self._seen = inputs[0]

        head = engine.network.get_base_model().get_submodule(engine.network.head)
        self._hook = head.register_forward_pre_hook(see)
        return self.next_forget()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Replace the loss of a forget batch by that of the shadow class."""
        self._hook.remove()
        output = engine.state.output
        logits = output[PRED]
        expanded = torch.cat([logits, self._shadow(self._seen.float())], dim=1)
        beyond = torch.full((len(logits),), logits.shape[1], device=logits.device)
        forget = cross_entropy(expanded, beyond)
        self.record(engine, "forget", forget, len(logits))
        output[LOSS] = forget

    def state_dict(self) -> dict[str, Any]:
        """The shadow class's row, in addition to what every method saves."""
        return super().state_dict() | {"shadow": self._shadow.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue with the same shadow class."""
        super().load_state_dict(state, engine)
        self._shadow.load_state_dict(state["shadow"])
