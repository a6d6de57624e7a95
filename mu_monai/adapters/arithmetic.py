"""Sums of saved adapters of one network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from mu_monai.adapters.copies import copies_all
from mu_monai.adapters.saved import load_adapter, rank_problems, read_base, read_config
from mu_monai.adapters.student import RESTORATION, load_student
from mu_monai.errors import raise_if_any


def summed(network: nn.Module, folders: Sequence[str | os.PathLike[str]], weights: Sequence[float]) -> nn.Module:
    r"""Merge a weighted sum of saved adapters into the network that they were made for.

    .. math:: \tilde W = W + \sum_i w_i \, \Delta W_i

    All adapters are active at once, each at its own scale, which is exact for every layer. peft's
    `add_weighted_adapter` is not used: `linear` multiplies sums of factors with one another, and `cat` joins factors
    along an axis that holds the input channels in transposed convolutions.

    Args:
        network: the network without adapters, with its weights; it is changed in place.
        folders: `adapter/` folders that `Student.save` wrote, one or more.
        weights: the factor of each folder, any number.

    Returns:
        the plain network with the sum in its weights.

    Raises:
        InputError: for every folder that holds copies of weights, or more than adapters, or belongs to other weights.

    Source:
        Task arithmetic (Ilharco et al., arXiv 2212.04089) on the updates of LoRA (arXiv 2106.09685).
    """
    first, *others = (Path(folder) for folder in folders)
    configs = {folder: read_config(folder, network) for folder in (first, *others)}
    student = load_student(network, first)
    raise_if_any(text for folder in configs for text in _problems(folder, configs[folder], student.base_sha256))
    names = [str(student.active_adapter)]
    for number, folder in enumerate(others, 2):
        names.append(f"adapter-{number}")
        student.add_adapter(names[-1], configs[folder])
        load_adapter(student, folder, names[-1])
    for layer in (module for module in student.modules() if isinstance(module, LoraLayer)):
        for name, weight in zip(names, weights, strict=True):
            layer.set_scale(name, weight)
    tuner: Any = student.base_model
    merged: nn.Module = tuner.merge_and_unload(adapter_names=names)
    return merged


def _problems(folder: Path, config: LoraConfig, base_sha256: str) -> Iterator[str]:
    base, _ = read_base(folder)
    yield from rank_problems(config, folder)
    if copies_all(config) or config.modules_to_save:
        kind = "copies of all weights" if copies_all(config) else "copies of moved statistics"
        yield f"'{folder}' holds {kind}, to which adapters cannot be added; interpolate the weights instead"
    if (folder / RESTORATION).is_dir():
        yield f"'{folder}' holds a second adapter, a restored head; interpolate the weights instead"
    if base != base_sha256:
        yield (
            f"the adapter in '{folder}' belongs to weights with SHA-256 {base}, but the network has {base_sha256}; add "
            "adapters of the same network"
        )
