"""The average of adapters that were trained on shards of patients, merged into one network."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from mu_monai.adapters.arithmetic import summed
from mu_monai.adapters.weights import load_weights, read_weights, weights_sha256
from mu_monai.errors import raise_if_any
from mu_monai.keys import BASE_PT, SHARDS_JSON
from mu_monai.runs.shards import Shards, adapter_folders, adapter_problems, read_shards


def shard_average(network: nn.Module, folder: str | os.PathLike[str]) -> nn.Module:
    r"""The model of a run folder's shards.

    .. math:: \tilde W = W + \frac1n \sum_{i=1}^n \Delta W_i

    over the shards that hold somebody. Statistics and biases are those of the base.

    Args:
        network: a network of this kind; it is changed in place.
        folder: a run folder with the base, the adapters of every shard, and `shards.json`.

    Raises:
        InputError: if the base or the adapters of a shard are not those of `shards.json`.

    Source:
        Shards that are trained alone, so that removing data refits one of them: Bourtoule et al., *Machine Unlearning*
        (arXiv 1912.03817), which averages outputs; adapters per shard: Dukler et al., *SAFE* (arXiv 2304.13169). One
        network instead of several outputs is ours.
    """
    content = read_shards(folder)
    shards = content.shards
    raise_if_any([*base_problems(folder, content), *adapter_problems(folder, shards)])
    load_weights(network, Path(folder) / BASE_PT)
    return summed(network, adapter_folders(folder, shards), [1 / len(shards)] * len(shards))


def base_problems(folder: str | os.PathLike[str], shards: Shards) -> list[str]:
    """Why the base in a run folder is not the one that the shards were trained on.

    Args:
        folder: the run folder.
        shards: the content of its `shards.json`.
    """
    file = Path(folder) / BASE_PT
    digest = weights_sha256(read_weights(file))
    if digest == shards.base:
        return []
    return [
        f"the base '{file}' is not that of the shards (SHA-256 {digest}, in {SHARDS_JSON} {shards.base}); put the "
        "original file back"
    ]
