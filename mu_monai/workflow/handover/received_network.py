"""The network of a received bundle, built without running its config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from mu_monai.adapters.placement import NETWORKS
from mu_monai.bundle.trust import is_argument, is_argument_name
from mu_monai.errors import InputError

_NETS = nets.__name__
_COUNTED = "$len(@classes)"  # the shipped bundles' expression for the number of outputs


class ForeignNetworkError(InputError):
    """A network that is described by code from the config's author, not by data."""


def received_network(config: Mapping[str, Any]) -> nn.Module:
    """Build the `network_def` of a config: a known MONAI network, with numbers and plain names as arguments.

    The network is built with shapes but without weights, if MONAI's class allows it: it then takes no memory, however
    large its arguments are.

    Args:
        config: a bundle's config, from any source.

    Raises:
        ForeignNetworkError: if it describes anything else, such as the sender's own class.
        InputError: if the config has no network, or it cannot be built.

    Example:
        >>> config = {"network_def": {"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1,
        ...                           "channels": [4, 8], "strides": [2]}}
        >>> type(received_network(config)).__name__
        'UNet'
        >>> received_network({"network_def": {"_target_": "os.system", "command": "true"}})
        Traceback (most recent call last):
        mu_monai.workflow.handover.received_network.ForeignNetworkError: the network 'os.system' is not one of ...
    """
    definition = config.get("network_def")
    target = definition.get("_target_") if isinstance(definition, Mapping) else None
    if not isinstance(definition, Mapping) or not isinstance(target, str):
        raise InputError(f"the network of the config, 'network_def', has no _target_: {definition!r:.80}")
    network = _class(target)
    if network is None:
        if "." not in target and not hasattr(nets, target):
            raise InputError(f"MONAI has no network {target!r:.80}, so the bundle cannot be used")
        raise ForeignNetworkError(
            f"the network {target!r:.80} is not one of the known MONAI networks "
            f"({', '.join(kind.__name__ for kind in NETWORKS)}): it may be code from the config's author, and is "
            "not built"
        )
    arguments = {key: _counted(value, config) for key, value in definition.items() if key != "_target_"}
    wrong = [
        f"{key}={value!r:.80}" for key, value in arguments.items() if not (is_argument_name(key) and is_argument(value))
    ]
    if wrong:
        raise ForeignNetworkError(
            f"the network {target} has the arguments {', '.join(wrong)}; only numbers and plain names are data; the "
            "rest may be code from the config's author, and is not built"
        )
    try:
        return _without_weights(network, arguments)
    except Exception as error:  # a network may raise anything for its arguments
        raise InputError(f"the network {target} cannot be built ({type(error).__name__}: {error})") from error


def _class(target: str) -> type[nn.Module] | None:
    """A known network by its name, with or without its module.

    MONAI has further networks, some of which load weights from paths or addresses in their arguments.
    """
    kind = getattr(nets, target.removeprefix(f"{_NETS}."), None)
    known = inspect.isclass(kind) and issubclass(kind, tuple(NETWORKS))
    return kind if known else None


def _counted(value: Any, config: Mapping[str, Any]) -> Any:
    classes = config.get("classes")
    return len(classes) if value == _COUNTED and isinstance(classes, list) else value


def _without_weights(network: type[nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    try:
        with torch.device("meta"):
            return network(**arguments)
    except (RuntimeError, NotImplementedError):  # a few networks read values while they are built
        return network(**arguments)
