"""Layers and blocks that train as copies of themselves, through peft's `modules_to_save`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mu_monai.adapters.placement import Placement
from mu_monai.errors import raise_if_any

_HELD = "mu_monai_held"


def copies_all(config: LoraConfig) -> bool:
    """Whether a configuration was made by `all_weights`."""
    return bool(config.target_modules == DUMMY_TARGET_MODULES)


def all_weights(network: nn.Module) -> tuple[LoraConfig, Placement]:
    """The configuration with which a copy of every layer's weights trains, and the placement of these layers.

    A block that holds weights beside those of its layers is copied whole, as attention with its table of positions. The
    weights of the network itself, as the class token of MONAI's ViT, have no copy.

    Raises:
        InputError: if names of layers cannot be distinguished by peft.
    """
    layers = _outermost(network)
    raise_if_any(ambiguous(network, layers))
    covered = sum(_size(network.get_submodule(name)) for name in layers)
    total = _size(network)
    skipped = (("parameters of the network itself", total - covered),) if covered < total else ()
    return (
        LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=list(layers)),
        Placement(targets=layers, scope="all", scope_weights=total, covered_weights=covered, skipped=skipped),
    )


def _outermost(network: nn.Module) -> tuple[str, ...]:
    """The outermost modules within a network that hold weights of their own."""
    found: list[str] = []
    for name, module in network.named_modules():
        inside = name.startswith(tuple(f"{outer}." for outer in found))
        if name and not inside and holds_weights(module):
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


def ambiguous(network: nn.Module, chosen: Sequence[str]) -> Iterator[str]:
    """Why layers cannot be copied: peft finds them by the ends of their names, and other layers' names end alike.

    Layers without state, such as `nn.Identity` in MONAI's EfficientNet, may have such a name: their copy is identical.
    """
    for name, module in network.named_modules():
        if chosen and name not in chosen and name.endswith(tuple(chosen)) and module.state_dict():
            yield (
                f"the name of the layer {name!r} ends with the name of a layer that must be copied, and peft cannot "
                "distinguish the two; rename one of them, or leave bn_mode at 'eval' and trainable at 'adapters'"
            )


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
