"""What cannot be combined in Erase to Retain: settings with each other, and with data and network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monai.engines import SupervisedTrainer

from mu_monai.adapters import captured
from mu_monai.keys import CLASSIFICATION, SEGMENTATION
from mu_monai.losses import contradictions, unrestrictable

if TYPE_CHECKING:
    from mu_monai.methods.erase_to_retain import EraseToRetain

TWO_PHASE = "two_phase"


def conflicts(method: EraseToRetain) -> Iterator[str]:
    """Why settings cannot be combined, as sentences.

    Args:
        method: its task, forget terms and classes are each allowed on their own.

    Example:
        >>> from mu_monai.methods import EraseToRetain
        >>> list(conflicts(EraseToRetain(forget_loader=[])))
        []
    """
    if method.stop_at is not None and method.schedule == TWO_PHASE:
        yield (
            f"method#stop_at='{method.stop_at}' needs epochs that all do the same, but method#schedule='two_phase' "
            "restores in its last ones; use another schedule, or leave stop_at out"
        )
    yield from contradictions(method.forget_terms, method.task, mixed_targets=method.mixed_targets is True)
    if method.forget_classes:
        yield from _class_conflicts(method)


def _class_conflicts(method: EraseToRetain) -> Iterator[str]:
    """What cannot be combined with forgetting classes of a mask."""
    what = f"method#forget_classes={method.forget_classes}"
    if method.task != SEGMENTATION or not method.softmax:
        yield f"{what} needs masks that are a softmax over classes; use it with task=segmentation and softmax=true"
    if method.guard_reduction == "sum":
        yield f"{what} restricts the guard to some voxels, for which guard_reduction=sum is not defined; use mean"
    if method.schedule == TWO_PHASE:
        yield (
            f"{what} cannot be restored by the schedule two_phase: the return of a class would be judged by the loss "
            "of whole cases, to which all classes contribute; use the schedule joint, alternate_epoch or alternate_step"
        )
    if method.stop_at is not None:
        yield f"{what} leaves no unseen cases to compare with: a class is forgotten in all cases; leave stop_at out"
    yield from unrestrictable(method.forget_terms)


def misfits(method: EraseToRetain, engine: SupervisedTrainer) -> Iterator[str]:
    """What only shows with the data and the network: does a pass over forget cases give what the terms need?"""
    if method.schedule == TWO_PHASE and engine.state.max_epochs <= method.restore_epochs:
        yield (
            f"max_epochs={engine.state.max_epochs} leaves no epoch to unlearn, because "
            f"method#restore_epochs={method.restore_epochs}; raise max_epochs or lower method#restore_epochs"
        )
    if method.schedule == TWO_PHASE and engine.network.trains_all:
        yield (
            "method#schedule='two_phase' restores the head by a change of its own, which it cannot have where all "
            "weights train (network#trainable=all); use network#trainable=adapters, or another schedule"
        )
    if method.schedule == "alternate_step" and engine.accumulation_steps > 1:
        yield (
            "method#schedule='alternate_step' takes a step after every retain batch, but the trainer accumulates "
            f"{engine.accumulation_steps} batches per step; use accumulation_steps=1 or another schedule"
        )
    layers = dict(engine.network.get_base_model().named_modules())
    if method.feature_layer is not None and method.feature_layer not in layers:
        listed = ", ".join(name for name in layers if name and "lora_" not in name and "base_layer" not in name)
        yield f"method#feature_layer={method.feature_layer!r} is not a layer of the network; choose one of {listed}"
        return
    if "repulsion" in method.forget_terms and method.feature_layer is None:
        yield "the last encoder stage of this network is not known; name a layer with method#feature_layer"
        return
    yield from _answer_problems(method, engine)


def _answer_problems(method: EraseToRetain, engine: SupervisedTrainer) -> Iterator[str]:
    image, *_ = method.forget_batch(engine)
    engine.network.eval()  # a check must not move the BatchNorm statistics
    with captured(engine.network.get_base_model(), method.feature_layer) as features:
        logits = engine.inferer(image, engine.network)
    if (logits.dim() == 2) != (method.task == CLASSIFICATION):
        yield (
            f"method#task={method.task!r} does not fit the network, whose output has the shape "
            f"{tuple(logits.shape)}; classes are (B, C), masks (B, C, H, W[, D])"
        )
    if max(method.forget_classes, default=0) >= logits.shape[1]:
        yield (
            f"method#forget_classes={method.forget_classes} is not allowed for a network with {logits.shape[1]} "
            f"channels; use channels from 1 to {logits.shape[1] - 1}"
        )
    if "repulsion" in method.forget_terms and not features[0].requires_grad:
        yield (
            f"the term 'repulsion' has no effect: no adapter comes before the layer {method.feature_layer!r}, so its "
            "features always equal the teacher's; choose network#scope=all, or a method#feature_layer after the "
            "first adapter"
        )
