"""Compression: rounding or pruning weights, which may undo a small change and leave the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import prune

from mu_monai.attacks.attack import Attack, AttackData


@dataclass(frozen=True, kw_only=True)
class Quantization(Attack):
    r"""Round the weights of convolutions and linear layers, one scale per output channel.

    .. math:: \tilde w = s \, \mathrm{round}(w / s), \qquad s = \max |w| \,/\, (2^{b - 1} - 1)

    Args:
        bits: b, 2 to 8.

    Source:
        Zhang et al., arXiv 2410.16454: 4-bit rounding brings forgotten text back, because small updates are below one
        rounding step.

    Example:
        >>> layer = nn.Linear(3, 1, bias=False)
        >>> layer.weight.data = torch.tensor([[0.7, -0.23, 0.04]])
        >>> _ = list(Quantization(bits=4).act(layer, None))
        >>> layer.weight.data
        tensor([[ 0.7000, -0.2000,  0.0000]])
    """

    bits: int = 8
    summary = "rounds the weights, as for small devices; needs no data"

    @torch.no_grad()
    def act(self, network: nn.Module, data: AttackData) -> Iterator[int]:
        """Round every weight."""
        largest = 2 ** (self.bits - 1) - 1
        for layer in _layers(network):
            weight, axis = layer.weight, int(isinstance(layer, _ConvTransposeNd))
            scale = weight.abs().amax([place for place in range(weight.dim()) if place != axis]).float() / largest
            scale = torch.where(scale > 0, scale, torch.ones_like(scale))
            zero = torch.zeros_like(scale, dtype=torch.int32)
            weight.copy_(torch.fake_quantize_per_channel_affine(weight, scale, zero, axis, -largest, largest))
        yield 0


@dataclass(frozen=True, kw_only=True)
class Pruning(Attack):
    """Set the smallest weights to zero, over all convolutions and linear layers together.

    Args:
        share: share of the weights, in (0, 1).

    Example:
        >>> layer = nn.Linear(4, 1, bias=False)
        >>> layer.weight.data = torch.tensor([[0.1, -0.4, 0.2, 0.3]])
        >>> _ = list(Pruning(share=0.5).act(layer, None))
        >>> layer.weight.data
        tensor([[ 0.0000, -0.4000,  0.0000,  0.3000]])
    """

    share: float = 0.3
    summary = "sets the smallest weights to zero, as for small devices; needs no data"

    @torch.no_grad()
    def act(self, network: nn.Module, data: AttackData) -> Iterator[int]:
        """Prune permanently."""
        layers = [(layer, "weight") for layer in _layers(network)]
        prune.global_unstructured(layers, prune.L1Unstructured, amount=self.share)
        for layer, name in layers:
            prune.remove(layer, name)
        yield 0


def _layers(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, _ConvNd | nn.Linear)]
