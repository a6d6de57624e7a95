"""Rewrites what a student trains in one go: with other weights, or with damaged ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from mu_monai.adapters.lora import LoraWeight
from mu_monai.adapters.shared import ADAPTED
from mu_monai.adapters.student import Student
from mu_monai.errors import InputError

_ADAPTER = "default"


def adapted(student: Student) -> dict[str, Any]:
    """The layers of a student that have an adapter or a copy, by their names in the plain network."""
    layers: dict[str, Any] = dict(student.get_base_model().named_modules())
    return {name: layer for name, layer in layers.items() if isinstance(layer, ADAPTED)}


def trained_copies(student: Student) -> dict[str, nn.Module]:
    """The copies of layers that train in the place of the originals, by their names in the plain network."""
    return {
        name: layer.modules_to_save[_ADAPTER]
        for name, layer in adapted(student).items()
        if isinstance(layer, ModulesToSaveWrapper)
    }


@torch.no_grad()
def take_weights(student: Student, state: Mapping[str, torch.Tensor]) -> list[str]:
    """Give a student the weights and statistics of another state of its network; its teacher stays as it is.

    Args:
        student: a student of which all weights train.
        state: the state dict of the plain network.

    Returns:
        the names of tensors outside of layers, which a student cannot replace and which differ.

    Raises:
        InputError: if only adapters train, or the state is not one of this network.

    Example:
        >>> student = Student(nn.Sequential(nn.Linear(1, 1)), trainable="all")
        >>> take_weights(student, {"0.weight": torch.ones(1, 1), "0.bias": torch.ones(1)})
        []
        >>> student(torch.ones(1, 1)).item()
        2.0
    """
    if not student.trains_all:
        raise InputError(
            "other weights cannot be taken by low-rank adapters, which only add to the teacher's; use "
            "network#trainable=all"
        )
    left = dict(state)
    for name, layer in trained_copies(student).items():
        own = layer.state_dict()
        given = {key: left.pop(f"{name}.{key}", None) for key in own}
        odd = [key for key, value in given.items() if value is None or value.shape != own[key].shape]
        if odd:
            raise InputError(
                f"the weights have no {name}.{odd[0]} of shape {tuple(own[odd[0]].shape)}: they are those of another "
                "network; give weights of the teacher's own training"
            )
        layer.load_state_dict(given)
    teacher = {name.replace(".original_module", ""): value for name, value in _plain_state(student).items()}
    strange = sorted(name for name in left if name not in teacher)
    if strange:
        raise InputError(
            f"the weights have {strange[0]}, which the network has not; give weights of the teacher's own training"
        )
    return sorted(name for name, value in left.items() if not torch.equal(value.to(teacher[name]), teacher[name]))


def _plain_state(student: Student) -> dict[str, torch.Tensor]:
    state = student.get_base_model().state_dict()
    return {name: value for name, value in state.items() if f".modules_to_save.{_ADAPTER}" not in name}


@torch.no_grad()
def shrink_and_perturb(student: Student, share: float, seed: int) -> float:
    r"""Move the student's weights toward a fresh initialization, layer by layer.

    .. math:: \theta \leftarrow (1 - a)\, \theta + a\, \theta_0

    with :math:`\theta_0` from each layer's own initialization. What is spread finely over the weights, as the memory of
    single cases is, suffers most. Running means and variances of BatchNorm move the same way; they have to be measured
    again by training in `train` mode. Adapters express only a part of the damage: of every layer the nearest change of
    their rank, by a truncated singular value decomposition, and nothing of layers without adapters, of biases, and of
    grouped convolutions.

    Args:
        student: the student; its teacher stays as it is.
        share: `a`, in [0, 1].
        seed: of the fresh weights.

    Returns:
        how much of the damage was done: the share of its energy (squared norm), in [0, 1]; 1 if all weights train.

    Source:
        Ash & Adams, *On Warm-Starting Neural Network Training* (arXiv 1910.08475).

    Example:
        >>> student = Student(nn.Sequential(nn.Linear(4, 4)), trainable="all")
        >>> shrink_and_perturb(student, 0.3, seed=0)
        1.0
    """
    done = wanted = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for layer in adapted(student).values():
            if isinstance(layer, ModulesToSaveWrapper):
                _damage_copy(layer.modules_to_save[_ADAPTER], share)
            elif isinstance(layer, LoraWeight):
                expressed, change = _damage_adapter(layer, share)
                done, wanted = done + expressed, wanted + change
    return done / wanted if wanted else 1.0


def _fresh(layer: nn.Module) -> nn.Module:
    """A layer with new random weights from its own initialization, drawn on the CPU, whatever the layer is on."""
    fresh = copy.deepcopy(layer).cpu()
    reset: Any = getattr(fresh, "reset_parameters", None)
    if reset is not None:
        reset()
    else:
        for weight in fresh.parameters(recurse=False):
            nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
    return fresh


def _damage_copy(layer: nn.Module, share: float) -> None:
    fresh = _fresh(layer).state_dict()
    for name, value in layer.state_dict().items():
        if value.is_floating_point():
            value.lerp_(fresh[name].to(value), share)


def _damage_adapter(layer: LoraWeight, share: float) -> tuple[float, float]:
    """Damage a layer through its adapter; returns the energy of what was done, and of what was wanted."""
    base: Any = layer.get_base_layer()
    if _ADAPTER not in layer.lora_A or getattr(base, "groups", 1) > 1:
        return 0.0, 0.0
    before = layer.get_delta_weight(_ADAPTER)
    fresh: Any = _fresh(base).weight
    change = share * (fresh.to(base.weight) - base.weight - before)
    a: Any = layer.lora_A[_ADAPTER]
    b: Any = layer.lora_B[_ADAPTER]
    scale = layer.scaling[_ADAPTER]
    transposed = isinstance(base, _ConvTransposeNd)  # its weight is (in, out, ...), and so is its A
    delta = ((before + change).transpose(0, 1) if transposed else before + change).flatten(1)
    rank = layer.r[_ADAPTER]
    u, s, v = torch.linalg.svd(delta.float(), full_matrices=False)
    root = s[:rank].sqrt()
    left, right = u[:, :rank] * root, root[:, None] * v[:rank]
    shape = (rank, *(base.weight.transpose(0, 1) if transposed else base.weight).shape[1:])
    rows = (right / scale).view(shape)
    a.weight.copy_(rows.transpose(0, 1) if transposed else rows)
    b.weight.copy_(left.view_as(b.weight))
    missed = float((layer.get_delta_weight(_ADAPTER) - before - change).square().sum())
    whole = float(change.square().sum())
    return max(0.0, whole - missed), whole
