"""Features: what a named layer returns, collected while the network runs, and averaged over space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def captured(network: nn.Module, layer: str | None, *, inputs: bool = False) -> Iterator[list[torch.Tensor]]:
    """Collect what a layer returns, or its input with `inputs`, one tensor per pass; nothing without a layer.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with captured(net, "0") as features:
        ...     _ = net(torch.zeros(4, 2))
        >>> features[0].shape
        torch.Size([4, 3])
    """
    outputs: list[torch.Tensor] = []
    if layer is None:
        yield outputs
        return
    hook = network.get_submodule(layer).register_forward_hook(
        lambda _module, arguments, output: outputs.append(arguments[0] if inputs else output)
    )
    try:
        yield outputs
    finally:
        hook.remove()


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Average features over space, `(B, C)`.

    Args:
        features: `(B, C, H, W[, D])` of convolutions, `(B, tokens, C)` of a transformer, or `(B, C)` as it is.

    Example:
        >>> pooled(torch.ones(2, 3, 4, 4)).shape, pooled(torch.ones(2, 16, 3)).shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    if features.dim() == 3:
        return features.mean(1)
    return features.flatten(2).mean(-1) if features.dim() > 3 else features
