"""How far a student's weights moved: the norm of each update, and what bounds it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd


@dataclass(frozen=True, kw_only=True)
class LayerDrift:
    """How far one layer's weight moved.

    Args:
        layer: name of the layer in the network.
        rank: rank of its adapter; 0 for a restored head without an adapter, and if all weights train.
        norm: Frobenius norm of the weight's update, including the head's restoration.
        spectral_norm: largest singular value of the update as a matrix `(out, in * kernel)`.
        bound: the adapter's bound on `norm`, from its factors alone, 0 without one; a restored head may exceed it.
    """

    layer: str
    rank: int
    norm: float
    spectral_norm: float
    bound: float


@torch.no_grad()
def layer_drifts(network: nn.Module, adapter: str = "default") -> list[LayerDrift]:
    r"""Measure the update of every adapted layer, and of every layer whose copy trains.

    .. math:: \|\Delta W\|_F \le \frac{\alpha}{r} \sqrt{r} \, \|A\|_2 \, \|B\|_2

    Args:
        network: a network with adapters.
        adapter: the adapter whose factors give the bound.

    Source:
        *Erase to Retain* (arXiv 2511.16574, section 3) states the bound for one layer and omits the scale alpha / r.
        With the Frobenius norms of A and B the root of r would not be needed; with spectral norms, as here, it is.
        Grouped transposed convolutions have a block per group; their bound is the root of the sum of the blocks'
        squared bounds. The head's restoration is not a low-rank product, so `bound` excludes it; `norm` includes it.

    Example:
        >>> from monai.networks.nets import UNet
        >>> from mu_monai.adapters import Student
        >>> net = UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))
        >>> [drift.norm for drift in layer_drifts(Student(net))]
        [0.0]
    """
    adapted = [
        LayerDrift(
            layer=name.removeprefix("base_model.model."),
            rank=layer.r.get(adapter, 0),
            norm=float(_update(layer).norm()),
            spectral_norm=_spectral(_as_matrix(_update(layer), layer.get_base_layer())),
            bound=_bound(layer, adapter) if adapter in layer.lora_A else 0.0,
        )
        for name, layer in _adapted(network)
    ]
    copied = [
        LayerDrift(
            layer=name.removeprefix("base_model.model."),
            rank=0,
            norm=float(update.norm()),
            spectral_norm=_spectral(_as_matrix(update, layer.original_module)),
            bound=0.0,
        )
        for name, layer in _copied(network)
        for weight, update in _moves(layer)
        if weight == "weight" and update.dim() > 1
    ]
    return adapted + copied


@torch.no_grad()
def total_drift(network: nn.Module) -> float:
    r"""Distance of the student's weights from the teacher's.

    .. math:: \|\theta_s - \theta_t\|_2 = \Big( \sum_l \|\Delta W_l\|_F^2 \Big)^{1/2}

    Biases count if they train; BatchNorm statistics do not count, even if they are not frozen.
    """
    squared = 0.0
    for _, layer in _adapted(network):
        squared += float(_update(layer).square().sum())
        squared += sum(float((layer.scaling[key] * bias).square().sum()) for key, bias in _biases(layer))
    squared += sum(float(update.square().sum()) for _, layer in _copied(network) for _, update in _moves(layer))
    return math.sqrt(squared)


def mean_square_drift(network: nn.Module) -> torch.Tensor:
    r"""The mean squared change of the weights that train, with its gradient.

    .. math:: \frac{1}{n} \|\theta_s - \theta_t\|_2^2

    Adapters count by what they add to the `n` weights of their layers. BatchNorm statistics do not count.

    Example:
        >>> from mu_monai.adapters import Student
        >>> mean_square_drift(Student(nn.Sequential(nn.Linear(2, 2)), trainable="all")).item()
        0.0
    """
    updates = [_update(layer) for _, layer in _adapted(network)]
    updates += [update for _, layer in _copied(network) for _, update in _moves(layer)]
    squared = torch.stack([update.square().sum() for update in updates]).sum()
    return squared / sum(update.numel() for update in updates)


@torch.no_grad()
def clip_drift(network: nn.Module, limit: float, adapter: str = "default") -> None:
    """Shrink an adapter or copied weights, all layers by one factor, to at most `limit` away from the teacher's.

    Each update is linear in its factor B, so one multiplication of all B brings the total drift to `limit`, exactly up
    to rounding. The head's restoration is not changed.
    """
    layers = [layer for _, layer in _adapted(network) if adapter in layer.lora_A]
    copies = [layer for _, layer in _copied(network)]
    squares = [layer.get_delta_weight(adapter).square().sum() for layer in layers]
    squares += [update.square().sum() for layer in copies for _, update in _moves(layer)]
    total = math.sqrt(sum(map(float, squares)))
    if total <= limit:
        return
    for layer in layers:
        layer.lora_B[adapter].weight.mul_(limit / total)
    for layer in copies:
        for own, original in _pairs(layer):
            own.lerp_(original, 1 - limit / total)


def _adapted(network: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, LoraLayer))


def _copied(network: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, ModulesToSaveWrapper))


def _moves(layer: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The differences of a copied layer's weights and biases from the original's, by name."""
    for (name, _), (own, original) in zip(layer.original_module.named_parameters(), _pairs(layer), strict=True):
        yield name, own - original


def _pairs(layer: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    (copy,) = layer.modules_to_save.values()
    return zip(copy.parameters(), layer.original_module.parameters(), strict=True)


def _update(layer: Any) -> torch.Tensor:
    """What all adapters of a layer add to its weight."""
    return torch.stack([layer.get_delta_weight(key) for key in layer.lora_A]).sum(0)


def _biases(layer: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for key, factor in layer.lora_B.items():
        bias = getattr(factor, "bias", None)
        if bias is not None:
            yield key, bias


def _as_matrix(update: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    return (update.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else update).flatten(1)


def _bound(layer: Any, adapter: str) -> float:
    scale = layer.scaling[adapter] * math.sqrt(layer.r[adapter])
    squares = [(_spectral(a) * _spectral(b)) ** 2 for a, b in _blocks(layer, adapter)]
    return scale * math.sqrt(sum(squares))


def _blocks(layer: Any, adapter: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The factors as matrices `(r, in * kernel)` and `(out, r)`, one pair per group of a transposed convolution."""
    base = layer.get_base_layer()
    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight.flatten(1)
    if not isinstance(base, _ConvTransposeNd):
        yield a.flatten(1), b
        return
    for inputs, outputs in zip(a.chunk(base.groups), b.chunk(base.groups), strict=True):
        yield inputs.transpose(0, 1).flatten(1), outputs


def _spectral(matrix: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, ord=2))
