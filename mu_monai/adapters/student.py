"""The student: the teacher's network, frozen, with trainable adapters; switched off, it is the teacher."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME, ModulesToSaveWrapper
from torch import nn

from mu_monai.adapters.lora import CONVOLUTIONS, LoraConv
from mu_monai.adapters.placement import Placement, place
from mu_monai.adapters.weights import weights_sha256
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json, write_json

BASE_JSON = "base.json"
_ADAPTER = "default"


class Student(PeftModel):
    """A network whose weights are frozen and whose adapters train.

    Freezing covers statistics: a frozen layer stays in evaluation mode through `train()`, so BatchNorm's running
    mean and variance do not move and switching the adapters off gives the teacher back, bit for bit.

    Args:
        network: the trained network; it is changed in place and must not be used elsewhere.
        scope: `decoder`, `head`, `all` or a regular expression, see `mu_monai.adapters.place`.
        r: LoRA rank, at least 1.
        lora_alpha: numerator of the scale `lora_alpha / r`, above 0.
        lora_dropout: probability in [0, 1), applied to the input of the low-rank branch while training.
        modules_to_save: layers that are trained whole, on a copy that is switched off together with the adapters.

    Raises:
        InputError: where the scope matches no convolution, or a value is outside these ranges.

    Source:
        *Erase to Retain* (arXiv 2511.16574, sections 4 and 5.2): r=8, alpha=32, dropout 0.05. Its released code lets
        BatchNorm statistics of the frozen network drift; here they do not.

    Example:
        >>> from monai.networks.nets import UNet
        >>> net = UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))
        >>> student, image = Student(net.eval()), torch.zeros(1, 1, 8, 8)
        >>> torch.equal(student(image), student.teacher(image))
        True
    """

    def __init__(
        self,
        network: nn.Module,
        scope: str = "decoder",
        *,
        r: int = 8,
        lora_alpha: int = 32,
        lora_dropout: float = 0.05,
        modules_to_save: list[str] | None = None,
    ) -> None:
        raise_if_any(_setting_problems(network, r, lora_alpha, lora_dropout, modules_to_save or []))
        placement = place(network, scope)
        config = LoraConfig(
            r=r,
            lora_alpha=lora_alpha,
            lora_dropout=lora_dropout,
            target_modules=_exactly(placement.targets),
            modules_to_save=modules_to_save,
        )
        self._wrap(network, config, placement)

    def _wrap(self, network: nn.Module, config: LoraConfig, placement: Placement) -> None:
        base_sha256, size = weights_sha256(network.state_dict()), _count(network.parameters())
        config._register_custom_module(dict.fromkeys(CONVOLUTIONS, LoraConv))
        PeftModel.__init__(self, network, config)
        self.placement, self.base_sha256, self.base_size = placement, base_sha256, size
        self.train(False)

    def train(self, mode: bool = True) -> Student:
        """Put the adapters into training mode; everything frozen stays in evaluation mode."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, BaseTunerLayer):
                module.training = mode
                for name in (*module.adapter_layer_names, "lora_dropout"):
                    layer = getattr(module, name, None)
                    if isinstance(layer, nn.Module):
                        layer.train(mode)
            elif isinstance(module, ModulesToSaveWrapper):
                module.modules_to_save.train(mode)
        self.training = mode
        return self

    @torch.no_grad()
    def teacher(self, image: torch.Tensor) -> torch.Tensor:
        """The teacher's logits for `image`, `(B, C, H, W[, D])`: the same network with the adapters switched off."""
        frozen = [parameter for parameter in self.parameters() if not parameter.requires_grad]
        with self.disable_adapter():
            logits = self(image)
        for parameter in frozen:
            parameter.requires_grad_(False)  # peft makes every adapter trainable when it switches them on again
        return logits

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def budget(self) -> dict[str, int | float | str]:
        """Parameter counts: base network, trainable, total, share of trainable in total, and the coverage line.

        `share` is trainable / (base + trainable), as in the paper's Table 1.
        """
        trainable = _count(self.trainable().values())
        total = self.base_size + trainable
        return {
            "base": self.base_size,
            "trainable": trainable,
            "total": total,
            "share": trainable / total,
            "coverage": self.placement.coverage,
        }

    def merged(self) -> nn.Module:
        """A plain copy of the network with the adapters merged into its weights; the student stays as it is."""
        return copy.deepcopy(self).merge_and_unload()

    def reverted(self) -> nn.Module:
        """A plain copy of the teacher: the network without its adapters."""
        plain = copy.deepcopy(self)
        for module in plain.modules():
            if isinstance(module, ModulesToSaveWrapper):  # whose trained copy peft's unload would leave in the network
                module.modules_to_save[_ADAPTER] = module.original_module
        return plain.unload()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save the adapters in peft's format, with the SHA-256 of the weights that they belong to.

        The folder appears whole or not at all.
        """
        folder = Path(folder)
        temporary = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        self.save_pretrained(str(temporary))
        (temporary / "README.md").unlink(missing_ok=True)  # peft's model-card template, all blanks
        write_json(temporary / BASE_JSON, {"sha256": self.base_sha256, "scope": self.placement.scope})
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def load_student(network: nn.Module, folder: str | os.PathLike[str], *, trainable: bool = False) -> Student:
    """Put saved adapters onto the network that they were made for.

    Args:
        network: the teacher, with its weights; it is changed in place.
        folder: an `adapter/` folder that `Student.save` wrote.
        trainable: whether the adapters shall train on.

    Raises:
        InputError: where the folder is no adapter, or the network's weights are not those that it was made for.
    """
    folder = Path(folder)
    missing = [name for name in (BASE_JSON, CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"'{folder}' is no adapter folder of an unlearning run: it holds no {', '.join(missing)}")
    base = read_json(folder / BASE_JSON)
    found = weights_sha256(network.state_dict())
    if found != base["sha256"]:
        raise InputError(
            f"the adapter in '{folder}' belongs to weights with SHA-256 {base['sha256']}, and the given network has "
            f"{found}; give the teacher that the run started from"
        )
    placement = place(network, base["scope"])
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = not trainable
    config._register_custom_module(dict.fromkeys(CONVOLUTIONS, LoraConv))
    student = Student.__new__(Student)
    student._wrap(network, config, placement)
    student.load_adapter(str(folder), _ADAPTER, is_trainable=trainable)
    return student


def _setting_problems(
    network: nn.Module, r: int, lora_alpha: int, lora_dropout: float, modules_to_save: list[str]
) -> Iterator[str]:
    if not isinstance(r, int) or r < 1:
        yield f"LoRA rank r={r} is not allowed; use an integer of at least 1"
    if not lora_alpha > 0:
        yield f"lora_alpha={lora_alpha} is not allowed; use a number above 0"
    if not 0 <= lora_dropout < 1:
        yield f"lora_dropout={lora_dropout} is not allowed; use a probability in [0, 1)"
    layers = [name for name, _ in network.named_modules()]
    for name in modules_to_save:
        if not any(layer.endswith(name) for layer in layers):
            yield f"modules_to_save={name!r} is no layer of {type(network).__name__}; use a name from named_modules()"


def _exactly(names: tuple[str, ...]) -> str:
    """A pattern for exactly these layers: peft matches a list of names by their endings."""
    return "|".join(name.replace(".", r"\.") for name in names)


def _count(parameters: object) -> int:
    return sum(parameter.numel() for parameter in parameters)  # type: ignore[attr-defined]
