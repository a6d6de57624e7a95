"""The self-checks of a finished run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from mu_monai.adapters import RESTORATION, Student, layer_drifts, weights_sha256
from mu_monai.runs.record import SelfCheck


def self_checks(network: nn.Module, image: torch.Tensor, *, selective: bool = False) -> tuple[SelfCheck, ...]:
    """Check the weights and, for a student, the properties of its adapters.

    Args:
        network: the trained network.
        image: a batch `(B, C, H, W[, D])` to probe it with.
        selective: whether some layers may stay unchanged, as with methods that choose their weights.

    Returns:
        one entry per check.
    """
    network.eval()
    checks = [_finite(network)]
    if isinstance(network, Student):
        with torch.no_grad():
            checks += _student_checks(network, image, selective)
    return tuple(checks)


def _finite(network: nn.Module) -> SelfCheck:
    bad = [name for name, value in network.state_dict().items() if not torch.isfinite(value).all()]
    return _check("all weights are finite", not bad, ", ".join(bad) or "no NaN, no infinity")


def _student_checks(student: Student, image: torch.Tensor, selective: bool) -> Iterator[SelfCheck]:
    reverted = student.reverted()
    digest = weights_sha256(reverted.state_dict())
    same = digest == student.base_sha256
    yield _check(
        "the teacher's weights and statistics did not move", same, f"SHA-256 {digest}" + ("" if same else " differs")
    )
    off = torch.equal(student.teacher(image), reverted.eval()(image))
    yield _check("adapters off equal the teacher bit for bit", off, f"on {len(image)} probe image(s)")
    error = (student.merged().eval()(image) - student(image)).abs().max().item()
    yield _check("merged weights equal the adapted network", error == 0.0, f"largest difference of a logit {error:g}")
    kind = "copied layer" if student.trains_all else "adapter"
    still = _still(student)
    if selective:
        layers = len(student.placement.targets)
        moved = f"{layers - len(still)} of {layers} moved"
        yield _check(f"at least one {kind} moved", len(still) < layers, moved)
    else:
        detail = f"not moved: {', '.join(still)}" if still else "none stood still"
        yield _check(f"every {kind} moved", not still, detail)


def _still(student: Student) -> list[str]:
    """The layers that train and did not move."""
    if student.trains_all:
        return [layer.layer for layer in layer_drifts(student) if not layer.norm]
    return [name for name, layer in student.named_modules() if isinstance(layer, LoraLayer) and not _moved(layer)]


def _moved(layer: Any) -> bool:
    """Whether the adapter moved; the head's restoration is not counted, since it may have been undone."""
    return all(bool(layer.get_delta_weight(name).any()) for name in layer.lora_A if name != RESTORATION)


def _check(name: str, passed: bool, detail: str) -> SelfCheck:
    return SelfCheck(name=name, passed=bool(passed), detail=detail)
