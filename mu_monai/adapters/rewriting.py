"""Rewrites what a student trains in one go: with other weights, or with damaged ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

from mu_monai.adapters.copies import holds_weights
from mu_monai.adapters.lora import CONVOLUTIONS, LoraWeight
from mu_monai.adapters.shared import ADAPTED
from mu_monai.adapters.student import Student
from mu_monai.adapters.weights import draw_weights
from mu_monai.errors import InputError, raise_if_any

_ADAPTER = "default"
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)  # of batches and instances, of layers, of groups


def adapted(student: Student) -> dict[str, Any]:
    """The layers of a student that have an adapter or a copy, by their names in the plain network."""
    layers: dict[str, Any] = dict(student.get_base_model().named_modules())
    return {name: layer for name, layer in layers.items() if isinstance(layer, ADAPTED)}


def trained_copies(student: Student) -> dict[str, nn.Module]:
    """The copies that train in the place of the originals, of layers or whole blocks, by names in the plain network."""
    return {
        name: layer.modules_to_save[_ADAPTER]
        for name, layer in adapted(student).items()
        if isinstance(layer, ModulesToSaveWrapper)
    }


def trained_layers(student: Student) -> dict[str, nn.Module]:
    """The layers that have an adapter, and those in the copies that train, by their names in the plain network.

    A block that holds weights beside its layers is one of them, with these weights: look at each one's own parameters.
    """
    layers = {name: layer for name, layer in adapted(student).items() if not isinstance(layer, ModulesToSaveWrapper)}
    for name, whole in trained_copies(student).items():
        parts = whole.named_modules()
        layers |= {f"{name}.{part}".rstrip("."): module for part, module in parts if holds_weights(module)}
    return layers


@torch.no_grad()
def take_weights(student: Student, state: Mapping[str, torch.Tensor]) -> list[str]:
    """Give a student the weights and statistics of another state of its network; its teacher stays as it is.

    Args:
        student: a student of which all weights train.
        state: the state dict of the plain network.

    Returns:
        the names of tensors that differ and that a student cannot replace, since they are not those of one layer or
            block alone, such as the class token of MONAI's ViT.

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
    for name, layer in trained_copies(student).items():
        own = layer.state_dict()
        given = {key: state.get(f"{name}.{key}") for key in own}
        odd = [key for key, value in given.items() if value is None or value.shape != own[key].shape]
        if odd:
            raise InputError(
                f"the weights have no {name}.{odd[0]} of shape {tuple(own[odd[0]].shape)}: they are those of another "
                "network; give weights of the teacher's own training"
            )
        layer.load_state_dict(given)
    now = _plain_state(student)
    strange = sorted(name for name in state if name not in now)
    if strange:
        raise InputError(
            f"the weights have {strange[0]}, which the network has not; give weights of the teacher's own training"
        )
    return sorted(name for name, value in state.items() if not torch.equal(value.to(now[name]), now[name]))


def take_all_weights(student: Student, state: Mapping[str, torch.Tensor]) -> None:
    """`take_weights`, for a result that must hold nothing of the teacher.

    Raises:
        InputError: as there, or if the student cannot take some of them.
    """
    raise_if_any(_shared(take_weights(student, state)))


def own_weights_problems(names: Iterable[str]) -> list[str]:
    """Why a student of all weights cannot take those of another model whole; empty if it can.

    Args:
        names: of the model's weights.

    Example:
        >>> own_weights_problems(["conv.weight"]), len(own_weights_problems(["conv.weight", "cls_token"]))
        ([], 1)
    """
    return _shared([name for name in names if "." not in name])


def _shared(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{', '.join(names)}: weights that are not those of one layer alone are shared by student and teacher, so "
        "that the result would hold those of the original; use the other model's own run as it is"
    ]


def _plain_state(student: Student) -> dict[str, torch.Tensor]:
    """The weights by their names in the plain network, which may have several for one; copies in place of originals."""
    state, copied = student.get_base_model().state_dict(), f".modules_to_save.{_ADAPTER}"
    plain = {name.replace(".original_module", ""): value for name, value in state.items() if copied not in name}
    return plain | {name.replace(copied, ""): value for name, value in state.items() if copied in name}


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
                _damage_copy(layer.modules_to_save[_ADAPTER], share, statistics=student.moving_statistics)
            elif isinstance(layer, LoraWeight):
                expressed, change = _damage_adapter(layer, share)
                done, wanted = done + expressed, wanted + change
    return done / wanted if wanted else 1.0


def _fresh(layer: nn.Module) -> nn.Module:
    """A layer or block with new random weights from its own initialization, drawn on the CPU, whatever it is on."""
    fresh = copy.deepcopy(layer).cpu()
    for module in fresh.modules():
        draw_weights(module)
    return fresh


def _damage_copy(layer: nn.Module, share: float, *, statistics: bool) -> None:
    """Damage what can be restored: weights that train, and statistics that move."""
    fresh = _fresh(layer).state_dict()
    trained = {name for name, weight in layer.named_parameters() if weight.requires_grad}
    moving = {name for name, _ in layer.named_buffers()} if statistics else set()
    for name, value in layer.state_dict().items():
        if name in trained | moving and value.is_floating_point():
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
    missing = rank - len(root)  # more rank than the layer can use
    left = nn.functional.pad(u[:, :rank] * root, (0, missing))
    right = nn.functional.pad(root[:, None] * v[:rank], (0, 0, 0, missing))
    shape = (rank, *(base.weight.transpose(0, 1) if transposed else base.weight).shape[1:])
    rows = (right / scale).view(shape)
    a.weight.copy_(rows.transpose(0, 1) if transposed else rows)
    b.weight.copy_(left.view_as(b.weight))
    missed = float((layer.get_delta_weight(_ADAPTER) - before - change).square().sum())
    whole = float(change.square().sum())
    return max(0.0, whole - missed), whole


# -- damage that is not a low-rank change ------------------------------------------------------------------------------


def full_copies(student: Student) -> dict[str, nn.Module]:
    """The `trained_layers` where all weights train, for a damage that adapters cannot express.

    Raises:
        InputError: if only adapters train.
    """
    if not student.trains_all:
        raise InputError(
            "the damage of this method is not a low-rank change, so adapters cannot express it; use "
            "network#trainable=all, or a method that can damage through adapters, such as shrink-and-restore"
        )
    return trained_layers(student)


def kernels(student: Student) -> dict[str, nn.Parameter]:
    """The trained weights of all convolutions, transposed ones included, by the layers' names in the plain network.

    Raises:
        InputError: if only adapters train, or there are no convolutions.

    Example:
        >>> student = Student(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), trainable="all")
        >>> {name: tuple(weight.shape) for name, weight in kernels(student).items()}
        {'0': (2, 1, 3, 3)}
    """
    copies = full_copies(student)
    found: dict[str, Any] = {name: layer.weight for name, layer in copies.items() if isinstance(layer, CONVOLUTIONS)}
    if not found:
        raise InputError(
            f"{type(student.get_base_model()).__name__} has no convolutions, and this method changes nothing else; use "
            "a method for all layers, such as weight-distortion"
        )
    return found


@torch.no_grad()
def swap_kernel_axes(student: Student) -> list[str]:
    r"""Swap the last two axes of every convolution kernel: an upright edge becomes a level one.

    .. math:: W_{\dots ij} \leftarrow W_{\dots ji}

    Swapping twice restores the weights. Kernels of size 1, of one axis, and those whose last two sizes differ stay.

    Returns:
        the names of the layers whose kernels were swapped.

    Raises:
        InputError: if only adapters train, or there is no such kernel.

    Example:
        >>> student = Student(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)), trainable="all")
        >>> swap_kernel_axes(student)
        ['0']
    """
    square = {name: weight for name, weight in kernels(student).items() if weight.dim() > 3}
    square = {name: weight for name, weight in square.items() if 1 < weight.shape[-1] == weight.shape[-2]}
    if not square:
        raise InputError(
            "no kernel has two last axes of the same size above 1, so there is nothing to swap; use another method, "
            "such as weight-distortion"
        )
    for weight in square.values():
        weight.copy_(weight.transpose(-1, -2).clone())
    return list(square)


@torch.no_grad()
def renew(student: Student, chosen: Mapping[str, torch.Tensor], seed: int) -> None:
    r"""Draw chosen weights of convolutions anew.

    .. math:: W_i \sim \mathcal N\big(0, \tfrac{2}{n_{out} k}\big)

    with the number of output channels and the size of the kernel, which is He's initialization by `fan_out`.

    Args:
        student: a student of which all weights train.
        chosen: masks by the names of layers, as in `kernels`.
        seed: of the new weights.

    Raises:
        InputError: if only adapters train, or there are no convolutions.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = full_copies(student)
    for name, weight in kernels(student).items():
        outputs = weight.shape[1 if isinstance(layers[name], _ConvTransposeNd) else 0]
        fresh = torch.randn(weight.shape, generator=generator) * math.sqrt(2 / (outputs * weight[0, 0].numel()))
        weight.copy_(torch.where(chosen[name], fresh.to(weight), weight))


@torch.no_grad()
def negate(student: Student, layers: Collection[str]) -> None:
    """Multiply the weights and biases of layers by -1.

    Args:
        student: a student of which all weights train.
        layers: their names in the plain network.

    Raises:
        InputError: if only adapters train.
    """
    copies = full_copies(student)
    for name in layers:
        for weight in copies[name].parameters(recurse=False):
            weight.neg_()


@torch.no_grad()
def add_noise(student: Student, std: float, seed: int) -> None:
    r"""Add Gaussian noise to every weight, biases and scales of normalization included.

    .. math:: \theta \leftarrow \theta + \mathcal N(0, \sigma^2)

    Args:
        student: a student of which all weights train.
        std: standard deviation of the noise, >= 0.
        seed: of the noise, drawn on the CPU whatever the weights are on.

    Raises:
        InputError: if only adapters train.

    Example:
        >>> student = Student(nn.Sequential(nn.Linear(100, 100)), trainable="all")
        >>> before = full_copies(student)["0"].weight.clone()
        >>> add_noise(student, 0.02, seed=0)
        >>> round((full_copies(student)["0"].weight - before).std().item(), 3)
        0.02
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in full_copies(student).values():
        for weight in layer.parameters(recurse=False):
            weight.add_(torch.randn(weight.shape, generator=generator).to(weight), alpha=std)


@torch.no_grad()
def shrink_and_add_xavier(student: Student, alpha: float, beta: float, seed: int) -> None:
    r"""Shrink every weight and add Xavier noise to matrices and kernels.

    .. math:: \theta \leftarrow (1 - \alpha)\, \theta + \alpha \beta N, \quad
        N \sim U(-b, b), \; b = \sqrt{6 / (n_{in} + n_{out})}

    Biases and other vectors shrink without noise. Scales of normalization layers shrink toward 1, where they do
    nothing. Running means and variances stay; they have to be measured again by training in `train` mode.

    Args:
        student: a student of which all weights train.
        alpha: how far the weights shrink, in [0, 1].
        beta: share of the noise, >= 0.
        seed: of the noise, drawn on the CPU whatever the weights are on.

    Raises:
        InputError: if only adapters train.

    Source:
        Lee et al., *Distillation Robustifies Unlearning* (arXiv 2506.06278); see `mu_monai.methods.undo`.

    Example:
        >>> student = Student(nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2)), trainable="all")
        >>> shrink_and_add_xavier(student, alpha=1.0, beta=0.0, seed=0)
        >>> [weight.abs().sum().item() for layer in full_copies(student).values() for weight in layer.parameters()]
        [0.0, 0.0, 2.0, 0.0]
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in full_copies(student).values():
        for name, weight in layer.named_parameters(recurse=False):
            if isinstance(layer, _NORMS):
                target = torch.full(weight.shape, float(name == "weight"))
            elif weight.dim() > 1:
                target = beta * nn.init.xavier_uniform_(torch.empty(weight.shape), generator=generator)
            else:
                target = torch.zeros(weight.shape)
            weight.lerp_(target.to(weight), alpha)
