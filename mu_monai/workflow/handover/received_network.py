"""The network of a bundle that somebody handed over, built without running its config."""

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
_COUNTED = "$len(@classes)"  # how the shipped bundles say their number of outputs


class ForeignNetworkError(InputError):
    """A network that is described by code of whoever wrote the config, and not by data."""


def received_network(config: Mapping[str, Any]) -> nn.Module:
    """Build the `network_def` of a config: a network of MONAI that is known, with numbers and plain names as arguments.

    The network has shapes and no weights: it takes no memory, whatever the arguments ask for, where MONAI's network can
    be built so.

    Args:
        config: a bundle's config, from anybody.

    Raises:
        ForeignNetworkError: if it describes anything else, such as a class of the sender's own.
        InputError: if there is none, or it cannot be built.

    Example:
        >>> config = {"network_def": {"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1,
        ...                           "channels": [4, 8], "strides": [2]}}
        >>> type(received_network(config)).__name__
        'UNet'
        >>> received_network({"network_def": {"_target_": "os.system", "command": "true"}})
        Traceback (most recent call last):
        mu_monai.workflow.handover.received_network.ForeignNetworkError: the network 'os.system' is not one of ...
    """
    found = config.get("network_def")
    target = found.get("_target_") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(target, str):
        raise InputError(f"the config has no 'network_def' with a _target_, but {found!r:.80}")
    network = _class(target)
    if network is None:
        if "." not in target and not hasattr(nets, target):
            raise InputError(f"MONAI has no network {target!r:.80}, so that the bundle cannot be used")
        raise ForeignNetworkError(
            f"the network {target!r:.80} is not one of those of MONAI whose parts are known "
            f"({', '.join(kind.__name__ for kind in NETWORKS)}): it may be code of whoever wrote the config, and is "
            "not built"
        )
    arguments = {key: _counted(value, config) for key, value in found.items() if key != "_target_"}
    wrong = [
        f"{key}={value!r:.80}" for key, value in arguments.items() if not (is_argument_name(key) and is_argument(value))
    ]
    if wrong:
        raise ForeignNetworkError(
            f"the network {target} has the arguments {', '.join(wrong)}; only numbers and plain names are data, the "
            "rest is code of whoever wrote the config, and is not built"
        )
    try:
        return _without_weights(network, arguments)
    except Exception as error:  # a network refuses its arguments with whatever it likes
        raise InputError(f"the network {target} cannot be built ({type(error).__name__}: {error})") from error


def _class(target: str) -> type[nn.Module] | None:
    """One of the networks whose parts are known, by its name, alone or with its module.

    MONAI has others, some of which load weights from places that their arguments name.
    """
    found = getattr(nets, target.removeprefix(f"{_NETS}."), None)
    known = inspect.isclass(found) and issubclass(found, tuple(NETWORKS))
    return found if known else None


def _counted(value: Any, config: Mapping[str, Any]) -> Any:
    classes = config.get("classes")
    return len(classes) if value == _COUNTED and isinstance(classes, list) else value


def _without_weights(network: type[nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    try:
        with torch.device("meta"):
            return network(**arguments)
    except (RuntimeError, NotImplementedError):  # a few look at values while they are built
        return network(**arguments)
