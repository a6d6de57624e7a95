"""The student: the teacher's network, frozen, plus trainable adapters; with these switched off, it is the teacher."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from mu_monai.adapters.copies import all_weights, batch_norms, copies_all, copy_problems, is_held
from mu_monai.adapters.lora import ADAPTABLE
from mu_monai.adapters.placement import SCOPES, Placement, capacity, feature_layer, head, place
from mu_monai.adapters.saved import (
    biases_allowed,
    exactly,
    load_adapter,
    rank_problems,
    read_base,
    read_config,
    write_base,
)
from mu_monai.adapters.shared import ADAPTED, SharedPrefix
from mu_monai.adapters.weights import weights_sha256
from mu_monai.errors import InputError, raise_if_any
from mu_monai.runs import changed_files, is_run, read_record

BN_MODES = ("eval", "train")
TRAINABLE = ("adapters", "all")
RESTORATION = "restoration"
_ADAPTER = "default"


class Student(PeftModel):
    """A network whose weights are frozen and whose adapters train.

    Freezing includes statistics: a frozen layer stays in evaluation mode through `train()`, so BatchNorm's running
    mean and variance do not move, and switching the adapters off restores the teacher bit for bit.

    Args:
        network: the trained network; it is changed in place and must not be used elsewhere.
        scope: `decoder`, `head`, `all` or a regular expression, see `mu_monai.adapters.place`.
        r: LoRA rank, at least 1.
        lora_alpha: numerator of the scale `lora_alpha / r`, above 0.
        lora_dropout: probability in [0, 1), applied to the input of the low-rank branch while training.
        clamp_rank: limit a layer's rank to what its update can have, at the same scale; `False` keeps `r` everywhere.
        bn_mode: `eval`: BatchNorm is frozen. `train`: it normalizes by batch and its statistics move, in a copy that
            is switched off together with the adapters, so that the teacher is still preserved.
        trainable: `adapters`, or `all`: a copy of every layer's weights trains instead of adapters; it is switched off,
            merged and saved like adapters, and `scope`, `r`, `lora_alpha`, `lora_dropout` and `clamp_rank` are ignored.

    Raises:
        InputError: if the scope matches no layer, or a value is outside these ranges.

    Source:
        *Erase to Retain* (arXiv 2511.16574, sections 4 and 5.2): r=8, alpha=32, dropout 0.05. Its released code lets
        BatchNorm statistics of the frozen network drift, as with `bn_mode="train"`; there this loses the teacher, here
        it does not.

    Example:
        >>> from monai.networks.nets import UNet
        >>> net = UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))
        >>> student, image = Student(net.eval()), torch.zeros(1, 1, 8, 8)
        >>> torch.equal(student(image), student.teacher(image))
        True
    """

    _switched_off = False
    _head_alone = False

    def __init__(
        self,
        network: nn.Module,
        scope: str = "decoder",
        *,
        r: int = 8,
        lora_alpha: int = 32,
        lora_dropout: float = 0.05,
        clamp_rank: bool = True,
        bn_mode: str = "eval",
        trainable: str = "adapters",
    ) -> None:
        raise_if_any(_setting_problems(r, lora_alpha, lora_dropout, clamp_rank, bn_mode, trainable))
        self.moving_statistics = bn_mode == "train"
        if trainable == "all":
            self._wrap(network, *all_weights(network))
            return
        raise_if_any(copy_problems(network, batch_norms(network)) if bn_mode == "train" else [])
        placement = place(network, scope)
        limits = {name: min(r, capacity(network.get_submodule(name))) for name in placement.targets}
        # full names: peft takes the first pattern that the end of a name matches, and saving reorders the patterns
        ranks = {f"^{exactly((name,))}": rank for name, rank in limits.items()} if clamp_rank else {}
        config = LoraConfig(
            r=r,
            lora_alpha=lora_alpha,
            lora_dropout=lora_dropout,
            target_modules=exactly(placement.targets),
            rank_pattern=ranks,
            alpha_pattern={name: lora_alpha * rank / r for name, rank in ranks.items()},
            modules_to_save=(batch_norms(network) or None) if bn_mode == "train" else None,
        )
        self._wrap(network, config, placement)

    def _wrap(self, network: nn.Module, config: LoraConfig, placement: Placement) -> None:
        base_sha256, size = weights_sha256(network.state_dict()), _count(network.parameters())
        last, features = _known(head, network), _known(feature_layer, network)
        config._register_custom_module(dict(ADAPTABLE))
        PeftModel.__init__(self, network, config)
        self.placement, self.base_sha256, self.base_size = placement, base_sha256, size
        self.head, self.feature_layer = last, features
        self._shared = SharedPrefix(self.base_model)
        self.train_adapters()
        self.train(False)

    def train(self, mode: bool = True) -> Student:
        """Set the adapters to training mode; everything frozen stays in evaluation mode."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, BaseTunerLayer):
                module.training = mode
                for name in (*module.adapter_layer_names, "lora_dropout"):
                    layer = getattr(module, name, None)
                    if isinstance(layer, nn.Module):
                        layer.train(mode and not (name == "lora_dropout" and self._head_alone))
            elif isinstance(module, ModulesToSaveWrapper):
                copies = module.modules_to_save[_ADAPTER]
                for layer in copies.modules():
                    still = not self.moving_statistics or (self.trains_all and is_held(layer))
                    frozen = isinstance(layer, _BatchNorm) and still
                    frozen = frozen or isinstance(layer, _DropoutNd)  # of a block that is copied whole
                    layer.training = mode and not self._head_alone and not frozen
        self.training = mode
        if not mode:
            self._shared.forget()
        return self

    def forward(self, image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The student's logits for `image`, `(B, C, H, W[, D])`."""
        if self.training and not image.requires_grad and not self._switched_off:
            with self._shared.recording(image):
                return super().forward(image, *args, **kwargs)
        return super().forward(image, *args, **kwargs)

    @torch.no_grad()
    def teacher(self, image: torch.Tensor) -> torch.Tensor:
        """The teacher's logits for `image`, `(B, C, H, W[, D])`: the same network with the adapters switched off.

        Directly after a training pass over this very tensor, the layers before the first adapted one are not run again.
        """
        shared = self._shared.replaying() if self._shared.holds(image) else nullcontext()
        with self._without_adapters(), shared:
            return self(image)

    @contextmanager
    def _without_adapters(self) -> Iterator[None]:
        """Switch the adapters off; peft's own context manager would make frozen ones trainable when it ends."""
        layers = [module for module in self.modules() if isinstance(module, ADAPTED)]
        try:
            for layer in layers:
                layer._disable_adapters = True
            self._switched_off = True
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False
            self._switched_off = False

    def add_restoration(self) -> list[nn.Parameter]:
        """Give the head a separate change, which starts at zero, and return its parameters.

        It is a second LoRA adapter of full rank whose factor B is fixed to the identity, so that its factor A is the
        change of the head's weight, and B's bias the change of its bias. It is switched off, merged and saved like any
        adapter.

        Raises:
            InputError: if the network's head is not known to `placement`.
        """
        if self.head is None:
            raise InputError(
                f"the head of {type(self.get_base_model()).__name__} is not known, so it cannot be restored "
                "separately; use a schedule other than two_phase"
            )
        if RESTORATION not in self.peft_config:
            layer = self._layer(self.head)
            base: Any = layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer
            size = base.out_features if isinstance(base, nn.Linear) else base.out_channels
            config = LoraConfig(
                r=size,
                lora_alpha=size,
                target_modules=exactly((self.head,)),
                init_lora_weights=False,
                lora_bias=base.bias is not None,
            )
            config._register_custom_module(dict(ADAPTABLE))
            self.add_adapter(RESTORATION, config)
            tuner: Any = self.base_model
            tuner.set_adapter(list(self.peft_config))
            factors: Any = self._layer(self.head)
            for parameter in (*factors.lora_A[RESTORATION].parameters(), *factors.lora_B[RESTORATION].parameters()):
                parameter.data.zero_()
            identity = factors.lora_B[RESTORATION].weight
            identity.data.copy_(torch.eye(size).view_as(identity))
            self.train_adapters()
            self.train(self.training)
        return [parameter for name, parameter in self.named_parameters() if _restores(name)]

    @property
    def trains_all(self) -> bool:
        """Whether copies of all weights train, and no adapters."""
        config: Any = self.peft_config[_ADAPTER]
        return copies_all(config)

    def _layer(self, name: str) -> Any:
        return self.get_base_model().get_submodule(name)

    def train_adapters(self) -> None:
        """Let the adapters train, and nothing else."""
        self._head_alone = False
        self._let_train(lambda name: f".{_ADAPTER}." in name and (".lora_" in name or self.trains_all))

    def train_head(self) -> None:
        """Let only the head's own change train, not even statistics; call `add_restoration` first."""
        self._head_alone = True
        self._let_train(_restores)

    def restoration_state(self) -> dict[str, torch.Tensor]:
        """The head's own change, by name; empty before `add_restoration`."""
        return {name: value for name, value in self.own_state().items() if _restores(name)}

    def _let_train(self, chosen: Callable[[str], bool]) -> None:
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(chosen(name))

    def own_state(self) -> dict[str, torch.Tensor]:
        """What the student has in addition to the teacher: adapters, the head's change, moved statistics; by name."""
        return {
            name: value.detach()
            for name, value in self.state_dict().items()
            if ".lora_" in name or ".modules_to_save." in name
        }

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def budget(self) -> dict[str, int | float | str]:
        """Parameter counts: base network, trainable, total, share of trainable in total, and the coverage line.

        `trainable` counts the adapters and, if there is one, the head's own change. `share` is
        trainable / (base + trainable), as in the paper's Table 1; if all weights train, it is trainable / base.
        """
        added = {name: parameter for name, parameter in self.named_parameters() if ".lora_" in name or self.trains_all}
        trainable = _count(p for name, p in added.items() if f".{_ADAPTER}." in name or _restores(name))
        total = self.base_size if self.trains_all else self.base_size + trainable
        return {
            "base": self.base_size,
            "trainable": trainable,
            "total": total,
            "share": trainable / total,
            "coverage": self.placement.coverage.replace("adapters in", "copies of")
            if self.trains_all
            else self.placement.coverage + self._clamped(),
        }

    def _clamped(self) -> str:
        """Which layers have a lower rank than requested, in words; empty if there are none."""
        config: Any = self.peft_config[_ADAPTER]
        requested, ranks = config.r, {name: self._layer(name).r[_ADAPTER] for name in self.placement.targets}
        less = [f"{name} {rank}" for name, rank in ranks.items() if rank < requested]
        return f"; rank {requested} clamped to what a layer can hold: {', '.join(less)}" if less else ""

    def merged(self) -> nn.Module:
        """A plain copy of the network with the adapters merged into its weights; the student is not changed."""
        return copy.deepcopy(self).merge_and_unload()

    def reverted(self) -> nn.Module:
        """A plain copy of the teacher: the network without its adapters."""
        plain = copy.deepcopy(self)
        for module in plain.modules():
            if isinstance(module, ModulesToSaveWrapper):  # peft's unload would leave the trained copy in the network
                module.modules_to_save[_ADAPTER] = module.original_module
        return plain.unload()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save the adapters in peft's format, with the SHA-256 of the weights that they belong to.

        The folder appears whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        folder = Path(folder)
        temporary = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with biases_allowed():
                self.save_pretrained(str(temporary))
            (temporary / "README.md").unlink(missing_ok=True)  # peft's model card template, not filled in
            write_base(temporary, self.base_sha256, self.placement.scope)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        except (OSError, SafetensorError) as error:
            raise OSError(f"the adapters cannot be written to '{folder}' ({error})") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def load_student(network: nn.Module, folder: str | os.PathLike[str], *, trainable: bool = False) -> Student:
    """Load saved adapters into the network that they were made for.

    Args:
        network: the teacher, with its weights; it is changed in place.
        folder: an `adapter/` folder that `Student.save` wrote.
        trainable: whether the adapters can be trained further.

    Raises:
        InputError: if the folder is not an adapter folder, is damaged or was changed after its run wrote it, or if the
            network has other weights than those that the adapters were made for.
    """
    folder = Path(folder)
    if is_run(folder.parent):
        raise_if_any(changed_files(folder.parent, read_record(folder.parent), [folder.name]))
    base_sha256, scope = read_base(folder)
    digest = weights_sha256(network.state_dict())
    if digest != base_sha256:
        raise InputError(
            f"the adapter in '{folder}' belongs to weights with SHA-256 {base_sha256}, but the given network has "
            f"{digest}; give the teacher that the run started from"
        )
    config = read_config(folder, network)
    raise_if_any(rank_problems(config, folder))
    whole = copies_all(config)
    config.inference_mode = not trainable
    student = Student.__new__(Student)
    student.moving_statistics = any(
        isinstance(network.get_submodule(name), _BatchNorm) for name in ([] if whole else config.modules_to_save or [])
    )
    student._wrap(network, config, all_weights(network)[1] if whole else _placed(network, scope, config))
    load_adapter(student, folder, _ADAPTER)
    if (folder / RESTORATION).is_dir():
        student.add_restoration()
        load_adapter(student, folder / RESTORATION, RESTORATION)
    if not trainable:
        student.requires_grad_(False)
    return student


def _placed(network: nn.Module, scope: str, config: LoraConfig) -> Placement:
    """The placement of saved adapters; a custom scope pattern is not run again, since it may not be trusted."""
    if scope in SCOPES:
        return place(network, scope)
    return replace(place(network, str(config.target_modules)), scope=scope)


def _setting_problems(
    r: int, lora_alpha: int, lora_dropout: float, clamp_rank: bool, bn_mode: str, trainable: str
) -> Iterator[str]:
    if clamp_rank not in (True, False):  # text such as "False" would count as true
        yield f"clamp_rank={clamp_rank!r} is not allowed; use true or false"
    if type(r) is not int or r < 1:
        yield f"LoRA rank r={r} is not allowed; use an integer of at least 1"
    if not lora_alpha > 0:
        yield f"lora_alpha={lora_alpha} is not allowed; use a number above 0"
    if not 0 <= lora_dropout < 1:
        yield f"lora_dropout={lora_dropout} is not allowed; use a probability in [0, 1)"
    for name, value, allowed in (("bn_mode", bn_mode, BN_MODES), ("trainable", trainable, TRAINABLE)):
        if value not in allowed:
            yield f"{name}={value!r} is not known; use one of {', '.join(allowed)}"


def _known(find: Callable[[nn.Module], str], network: nn.Module) -> str | None:
    """What placement knows about a network, or `None` if the network is unknown, which only some methods require."""
    try:
        return find(network)
    except InputError:
        return None


def _restores(name: str) -> bool:
    """Whether a parameter belongs to the head's own change; its factor B stays the identity and does not train."""
    return name.endswith((f".lora_A.{RESTORATION}.weight", f".lora_B.{RESTORATION}.bias"))


def _count(parameters: object) -> int:
    return sum(parameter.numel() for parameter in parameters)  # type: ignore[attr-defined]
