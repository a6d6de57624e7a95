"""The average of adapters that were trained on shards of patients, merged into one network."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from mu_monai.adapters.arithmetic import summed
from mu_monai.adapters.weights import load_weights
from mu_monai.errors import raise_if_any
from mu_monai.keys import BASE_PT
from mu_monai.runs.shards import adapter_folders, adapter_problems, read_shards


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
    shards = read_shards(folder).shards
    raise_if_any(adapter_problems(folder, shards))
    load_weights(network, Path(folder) / BASE_PT)
    return summed(network, adapter_folders(folder, shards), [1 / len(shards)] * len(shards))
