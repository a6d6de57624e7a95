"""Adapter removal: an attack by somebody who has the run folder, not only the released model."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from torch import nn

from mu_monai.adapters import load_student, weights_sha256
from mu_monai.adapters.saved import read_tensors
from mu_monai.attacks.attack import Attack, AttackData
from mu_monai.files import read_json, write_json
from mu_monai.keys import ADAPTER_DIR


@dataclass(frozen=True, kw_only=True)
class AdapterRemoval(Attack):
    r"""Subtract the adapters that lie beside the merged weights.

    .. math:: W_\mathrm{teacher} = W_\mathrm{student} - \frac{\alpha}{r} B A

    The teacher's file is not needed: a run folder with `model.pt` and `adapter/` is enough to restore the original, up
    to rounding. Without a folder, or without adapters in it, nothing changes. If all weights trained, the folder holds
    no adapters. Normalization statistics that moved are not restored.
    """

    summary = "subtracts the adapters that lie beside the merged weights; needs the run folder, not the teacher"

    def hindered(self, network: nn.Module, data: AttackData) -> str:
        """There may be nothing to remove."""
        return "" if has_adapter(data.folder) else "the folder holds no adapters, so there is nothing to remove"

    @torch.no_grad()
    def act(self, network: nn.Module, data: AttackData) -> Iterator[int]:
        """Subtract them, if there are any."""
        if has_adapter(data.folder):
            network.load_state_dict(_without(network, Path(data.folder or "") / ADAPTER_DIR).state_dict())
        yield 0


def has_adapter(folder: Path | None) -> bool:
    """Whether a folder holds low-rank adapters; copies of all weights, as saved by `trainable: all`, do not count."""
    file = Path(folder or "") / ADAPTER_DIR / SAFETENSORS_WEIGHTS_NAME
    if folder is None or not file.is_file():
        return False
    return any(".lora_" in name for name in read_tensors(file))


def _without(network: nn.Module, adapter: Path) -> nn.Module:
    """Merge the adapters once more with the opposite sign; the attacker rewrites the digest in `base.json` to fit."""
    merged = copy.deepcopy(network).cpu()
    with tempfile.TemporaryDirectory() as place:
        forged = shutil.copytree(adapter, Path(place) / ADAPTER_DIR)
        record = read_json(forged / "base.json", dict)
        write_json(forged / "base.json", record | {"sha256": weights_sha256(merged.state_dict())})
        with torch.random.fork_rng(devices=[]):  # layers are initialized randomly before they are loaded
            student = load_student(merged, forged)
    for layer in student.modules():
        if isinstance(layer, LoraLayer):
            layer.scaling = {name: -scale for name, scale in layer.scaling.items()}
    return student.merged()
