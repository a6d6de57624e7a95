"""Which layers of a network take an adapter: decoder, head or all, per network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from monai.networks.nets import UNet
from torch import nn

from mu_monai.adapters.lora import CONVOLUTIONS
from mu_monai.errors import InputError

SCOPES = ("decoder", "head", "all")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The layers that adapters go into.

    Args:
        targets: full names of the convolutions to adapt, in the order of `named_modules()`.
        scope: `decoder` (the head belongs to it), `head`, `all` or the regular expression that chose them.
        scope_weights: number of weights in the scope.
        covered_weights: number of weights in `targets`.
        skipped: what in the scope takes no adapter, as `(kind of layer, number of weights)`.
    """

    targets: tuple[str, ...]
    scope: str
    scope_weights: int
    covered_weights: int
    skipped: tuple[tuple[str, int], ...]

    @property
    def coverage(self) -> str:
        """One line: which share of the scope's weights lies in adapted layers, and what was skipped."""
        share = self.covered_weights / max(self.scope_weights, 1)
        skipped = ", ".join(f"{kind} ({count:,} weights)" for kind, count in self.skipped) or "nothing"
        layers = "layer" if len(self.targets) == 1 else "layers"
        return (
            f"adapters in {len(self.targets)} {layers} hold {share:.1%} of the {self.scope_weights:,} weights of "
            f"'{self.scope}'; skipped: {skipped}"
        )


def place(network: nn.Module, scope: str = "decoder") -> Placement:
    """Find the convolutions of `network` that take an adapter.

    Args:
        network: a network without adapters.
        scope: `decoder` (up-sampling path and head), `head` (the last convolution), `all` (every convolution), or a
            regular expression that is matched against full layer names.

    Raises:
        InputError: where the network's decoder is not known, or nothing matches; the candidates are listed.

    Source:
        *Erase to Retain* (arXiv 2511.16574, section 5.2): "decoder convolutions and segmentation head". Its released
        code adapts every Conv2d instead, which is `all` here. Transposed convolutions are ours: a MONAI `UNet` decoder
        holds most of its weights in them.

    Example:
        >>> net = UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,), num_res_units=0)
        >>> place(net).targets
        ('model.2.conv',)
    """
    convolutions: dict[str, nn.Module] = {
        name: module for name, module in network.named_modules() if isinstance(module, CONVOLUTIONS)
    }
    in_scope = _scope(network, scope, convolutions)
    targets = tuple(name for name in convolutions if in_scope(name))
    if not targets:
        raise InputError(
            f"scope={scope!r} matches no convolution of {type(network).__name__}; use one of {', '.join(SCOPES)} or a "
            f"regular expression over these layers: {', '.join(convolutions) or 'none, the network has no convolution'}"
        )
    skipped: dict[str, int] = {}
    scope_weights = 0
    for name, kind, count in _weights_by_layer(network):
        if in_scope(name):
            scope_weights += count
            if name not in targets:
                skipped[kind] = skipped.get(kind, 0) + count
    covered = scope_weights - sum(skipped.values())
    return Placement(
        targets=targets,
        scope=scope,
        scope_weights=scope_weights,
        covered_weights=covered,
        skipped=tuple(skipped.items()),
    )


def head(network: nn.Module) -> str:
    """Name of the layer that makes the logits: the last convolution of the decoder."""
    decoder = _scope(network, "decoder", {})
    names = [n for n, m in network.named_modules() if isinstance(m, CONVOLUTIONS) and decoder(n)]
    return names[-1]


def _scope(network: nn.Module, scope: str, convolutions: dict[str, nn.Module]) -> Callable[[str], bool]:
    if scope == "all":
        return lambda name: True
    if scope == "head":
        last = head(network)
        return lambda name: name == last
    if scope == "decoder":
        prefixes = _decoder_prefixes(network, list(convolutions))
        return lambda name: name.startswith(prefixes)
    try:
        pattern = re.compile(scope)
    except re.error as error:
        raise InputError(
            f"scope={scope!r} is neither one of {', '.join(SCOPES)} nor a valid regular expression: {error}"
        ) from error
    return lambda name: pattern.fullmatch(name) is not None


def _decoder_prefixes(network: nn.Module, candidates: list[str]) -> tuple[str, ...]:
    for kind, find in DECODERS.items():
        if isinstance(network, kind):
            return tuple(find(network))
    raise InputError(
        f"the decoder of {type(network).__name__} is not known (known: {', '.join(k.__name__ for k in DECODERS)}); "
        f"give scope 'all' or a regular expression over these layers: {', '.join(candidates)}"
    )


def _unet_decoder(network: nn.Module) -> Iterator[str]:
    """MONAI's UNet nests `Sequential(down, SkipConnection(inner), up)`; every `up` belongs to the decoder."""
    name = "model"
    while (
        isinstance(level := network.get_submodule(name), nn.Sequential)
        and len(level) == 3
        and hasattr(level[1], "submodule")
    ):
        yield f"{name}.2."
        name = f"{name}.1.submodule"


DECODERS: dict[type[nn.Module], Callable[[nn.Module], Iterator[str]]] = {UNet: _unet_decoder}


def _weights_by_layer(network: nn.Module) -> Iterator[tuple[str, str, int]]:
    for name, module in network.named_modules():
        count = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if count:
            yield name, type(module).__name__, count
