"""Layers and blocks that train as copies of themselves, through peft's `modules_to_save`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mu_monai.adapters.placement import Placement, computes_weights, tied_weights
from mu_monai.errors import InputError, raise_if_any

_HELD = "mu_monai_held"
_INSTEAD = "leave bn_mode at 'eval' and trainable at 'adapters'"


def copies_all(config: LoraConfig) -> bool:
    """Whether a configuration was made by `all_weights`."""
    return bool(config.target_modules == DUMMY_TARGET_MODULES)


def all_weights(network: nn.Module) -> tuple[LoraConfig, Placement]:
    """The configuration with which a copy of every layer's weights trains, and the placement of these layers.

    A block that holds weights beside those of its layers is copied whole, as attention with its table of positions. The
    weights of the network itself, as the class token of MONAI's ViT, have no copy. Neither have weights that several
    layers or places share, since a copy would train apart from the others, and those that are computed from others.

    Raises:
        InputError: if names of layers cannot be distinguished by peft, or there is nothing to copy.
    """
    layers = _outermost(network)
    if not layers:
        raise InputError(f"no layer of {type(network).__name__} holds weights that can be copied, so none would train")
    raise_if_any(copy_problems(network, layers))
    covered = sum(_size(network.get_submodule(name)) for name in layers)
    total, own = _size(network), sum(weight.numel() for weight in network.parameters(recurse=False))
    left = {"parameters of the network itself": own, "shared or computed weights": total - covered - own}
    return (
        LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=list(layers)),
        Placement(
            targets=layers,
            scope="all",
            scope_weights=total,
            covered_weights=covered,
            skipped=tuple((kind, count) for kind, count in left.items() if count),
        ),
    )


def _outermost(network: nn.Module) -> tuple[str, ...]:
    """The outermost modules within a network that hold weights of their own, and that can be copied."""
    tied = tied_weights(network)
    found: list[str] = []
    past: list[str] = []  # what lies in copies, or in layers whose weights are computed
    for name, module in network.named_modules():
        within = f"{name}."
        if not name or within.startswith(tuple(past)):
            continue
        if computes_weights(module):
            past.append(within)
        elif holds_weights(module) and not any(weight.startswith(within) for weight in tied):
            past.append(within)
            found.append(name)
    return tuple(found)


def holds_weights(module: nn.Module) -> bool:
    """Whether a module holds weights of its own, beside those of its parts, or statistics of BatchNorm."""
    if isinstance(module, _BatchNorm) and module.running_mean is not None:
        return True
    return any(True for _ in module.parameters(recurse=False))


def hold(layer: nn.Module) -> None:
    """Keep an adapted layer, or one in a copy, as it is: its own weights do not train, its statistics do not move."""
    for weight in layer.parameters(recurse=isinstance(layer, BaseTunerLayer)):
        weight.requires_grad_(False)
    setattr(layer, _HELD, True)


def is_held(layer: nn.Module) -> bool:
    """Whether a layer in a copy stays as it is: by `hold`, or because none of its own weights trains."""
    own = list(layer.parameters(recurse=False))
    return getattr(layer, _HELD, False) or (bool(own) and not any(weight.requires_grad for weight in own))


def batch_norms(network: nn.Module) -> list[str]:
    """The names of a network's BatchNorm layers."""
    return [name for name, module in network.named_modules() if isinstance(module, _BatchNorm)]


def copy_problems(network: nn.Module, chosen: Sequence[str]) -> Iterator[str]:
    """Why layers cannot be copied: peft would replace them at one of several places, or confuse them with others.

    It finds them by the ends of their names. Layers without state, such as `nn.Identity` in MONAI's EfficientNet, may
    have such a name: their copy is identical.

    Args:
        network: the network.
        chosen: the names of the layers.
    """
    tied = sorted(name for name in tied_weights(network) if name.startswith(tuple(f"{layer}." for layer in chosen)))
    yield from (f"{name!r} is used at several places, so that it cannot be copied; {_INSTEAD}" for name in tied[:1])
    for name, module in network.named_modules():
        if chosen and name not in chosen and name.endswith(tuple(chosen)) and module.state_dict():
            yield (
                f"the name of the layer {name!r} ends with the name of a layer that must be copied, and peft cannot "
                f"distinguish the two; rename one of them, or {_INSTEAD}"
            )


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
