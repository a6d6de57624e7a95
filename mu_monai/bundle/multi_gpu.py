"""The overlays `multi_gpu_train`, `multi_gpu_unlearn` and `multi_gpu_evaluate`: a config for several processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PREFIX = "multi_gpu_"  # of the overlays' names
_LOADER, _ID = "DataLoader", "#"
_PARTS = ("train", "method")  # whose loaders are divided; whole cases are divided as they are scored
_TRAINED = ("train", "unlearn")
MULTI_GPU = (*_TRAINED, "evaluate")  # the configs that several processes can run
_STARTED = "torch.distributed.is_initialized()"


def multi_gpu(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What to lay over a bundle's config so that processes started by torchrun run it together.

    The conventions are those of MONAI's model zoo: each process has the GPU with its local number, or the CPU; it takes
    its own share of the cases, and the process group is opened before anything runs and closed at the end. `batch_size`
    is that of each process.

    Args:
        name: `train`, `unlearn` or `evaluate`.
        config: the bundle's config of that name.

    Source:
        `multi_gpu_train.json` of the bundles in MONAI's model zoo, whose `DistributedSampler` gives some cases to two
        processes; ours are in one.

    Example:
        >>> multi_gpu("evaluate", {})["device"]
        '$mu_monai.processes.own_device()'
    """
    overlay: dict[str, Any] = {
        "device": "$mu_monai.processes.own_device()",
        "backend": "$'nccl' if torch.cuda.is_available() else 'gloo'",
    }
    if name in _TRAINED:
        for place in _loaders({part: config.get(part) for part in _PARTS}):
            overlay[f"{place}#_target_"] = "mu_monai.engine.DividedLoader"
        overlay["train#trainer#train_handlers"] = "$[mu_monai.engine.Replicas(), *@handlers]"
    overlay["initialize"] = [
        "$mu_monai.processes.require_torchrun()",
        "$@device",
        f"${_STARTED} or torch.distributed.init_process_group(backend=@backend)",
        *config.get("initialize", []),
    ]
    overlay["finalize"] = [f"${_STARTED} and torch.distributed.destroy_process_group()"]
    return overlay


def _loaders(config: Any, place: str = "") -> Iterator[str]:
    """The places of all loaders."""
    if isinstance(config, Mapping):
        if str(config.get("_target_", "")).rpartition(".")[2] == _LOADER:
            yield place
        for key, value in config.items():
            yield from _loaders(value, f"{place}{_ID}{key}" if place else key)
