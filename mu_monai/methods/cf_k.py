"""CF-k: only the last k layers train on the retained cases and forget by neglect; all earlier layers are frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn

from mu_monai.adapters import Student
from mu_monai.adapters.copies import hold
from mu_monai.adapters.lora import ADAPTABLE
from mu_monai.adapters.rewriting import adapted, trained_layers
from mu_monai.errors import InputError
from mu_monai.methods.batches import prepared
from mu_monai.methods.retain_fine_tuning import RetainFineTuning
from mu_monai.methods.settings import COUNT, setting


@dataclass(kw_only=True)
class CFk(RetainFineTuning):
    r"""Continue training the last `k` layers on the retained cases.

    .. math:: L = \ell(D_r), \quad \theta_{1 \dots n-k} \text{ fixed}

    Layers are convolutions and linear layers, in the order in which the network runs them, also inside of blocks that
    hold weights of their own; normalization layers and activations with weights train if they come after the first of
    the `k`. With adapters, the adapters of these layers train. The names of the trained layers are in the record, as
    `trained_layers`.

    Args:
        k: number of layers that train, at least 1.

    Raises:
        InputError: for a value outside this range, more layers than the network has, adapters together with moving
            BatchNorm statistics, or a network that is not a `Student`.

    Source:
        Goel et al., *Towards Adversarial Evaluations for Inexact Machine Unlearning* (arXiv 2201.06640), catastrophic
        forgetting of the last k layers; the paper chooses `k` for each network. Others use the last block with SGD at
        0.01 for 10 epochs. Here it is the bundle's AdamW at 1e-4 with frozen BatchNorm statistics.

    Example:
        >>> CFk(forget_loader=[]).settings()["k"]
        3
    """

    paper = "Goel et al. 2022, arXiv 2201.06640"
    replicable = True
    trials = ({}, {"method::k": 1}, {"method::k": 6}, {"learning_rate": 1e-3})
    selective = True

    k: int = setting(3, COUNT)

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Freeze all but the last layers."""
        super().on_start(engine)
        copied = [layer for layer in adapted(engine.network).values() if isinstance(layer, ModulesToSaveWrapper)]
        if copied and not engine.network.trains_all:
            raise InputError(
                f"{type(self).__name__} freezes all but the last layers, but with network#bn_mode=train and adapters "
                "the statistics of every BatchNorm layer move; use network#bn_mode=eval, or network#trainable=all"
            )
        image, *_ = prepared(engine, next(iter(engine.data_loader)))
        order, _ = running_order(engine, image)
        ends = [place for place, layer in enumerate(order.values()) if isinstance(_plain(layer), tuple(ADAPTABLE))]
        if self.k > len(ends):
            raise InputError(
                f"method#k={self.k} is not allowed for a network with {len(ends)} trainable layers; use 1 to "
                f"{len(ends)}"
            )
        self._layers = dict(list(order.items())[ends[-self.k] :])
        for layer in trained_layers(engine.network).values():
            if layer not in self._layers.values():
                hold(layer)

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the names of the trained layers."""
        return super().measurements(engine) | {"trained_layers": list(self._layers)}


@torch.no_grad()
def running_order(
    engine: SupervisedTrainer, image: torch.Tensor
) -> tuple[dict[str, nn.Module], dict[str, tuple[int, int]]]:
    """The trainable layers of a student, by their names in the plain network, in the order in which they run.

    The weights that a block holds beside its layers count where it begins. A layer that does not run by itself, because
    its block uses its weights, as attention of torch does, counts there as well.

    Args:
        engine: the trainer.
        image: a batch of images, of any cases.

    Returns:
        the layers, and what tells their inputs apart: where the values are, and how often they had been changed there
            when the layer first ran. A layer inside a block gets what the block got.
    """
    student: Student = engine.network
    layers = trained_layers(student)
    names = {layer: name for name, layer in layers.items()}
    order: dict[str, nn.Module] = {}

    inputs: dict[str, tuple[int, int]] = {}
    kept: list[torch.Tensor] = []  # so that no other tensor takes its place in memory

    def note(layer: nn.Module, given: tuple[Any, ...]) -> None:
        order.setdefault(names[layer], layer)
        if given and isinstance(given[0], torch.Tensor):
            kept.append(given[0])
            inputs.setdefault(names[layer], (given[0].untyped_storage().data_ptr(), given[0]._version))

    hooks = [layer.register_forward_pre_hook(note) for layer in names]
    student.eval()
    try:
        engine.inferer(image, student)
    finally:
        for hook in hooks:
            hook.remove()
    inside: dict[str, list[str]] = {}
    for name in layers:
        block = max((other for other in order if name.startswith(f"{other}.")), key=len, default=None)
        if name not in order and block is not None:
            inside.setdefault(block, []).append(name)
            if block in inputs:
                inputs[name] = inputs[block]
    return {name: layers[name] for begun in order for name in (begun, *inside.get(begun, ()))}, inputs


def _plain(layer: nn.Module) -> nn.Module:
    """The original layer inside an adapted one, or the layer of a copy."""
    return layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer
