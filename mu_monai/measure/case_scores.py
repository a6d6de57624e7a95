"""The scores of one case: from its logits and label to the columns of the score table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.metrics import compute_hausdorff_distance
from monai.networks import one_hot
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mu_monai.errors import InputError
from mu_monai.measure.signals import class_signals, mask_signals
from mu_monai.runs.numbers import Metric
from mu_monai.runs.scores import ACCURACY, DICE, PREDICTED

_MM3_PER_ML = 1000


def case_scores(
    logits: torch.Tensor,
    label: torch.Tensor,
    classes: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    softmax: bool | None = None,
) -> dict[str, Any]:
    """Score one case by what logits and label are: classes, one mask, masks of K classes, or K overlapping regions.

    Args:
        logits: `(1, K)`, or `(1, C, H, W[, D])`.
        label: the class `(1,)`; a mask of 0 and 1 in the shape of the logits, one per region if there are several
            channels; or class indices `(1, 1, H, W[, D])`.
        classes: the names of the channels, for class indices that of the background first; by default their numbers.
        spacing: the size of a voxel in mm; without it nothing is measured in mm or ml.
        softmax: whether exactly one channel is true at each place; None to go by the label. Class indices of a
            sigmoid's outputs, which is False, are one mask for each class; that of the background does not count.

    Raises:
        InputError: if the numbers of channels and names differ, a classifier has a single output, or the label has
            another form than the activation.

    Example:
        >>> case_scores(torch.tensor([[0.0, 2.0]]), torch.tensor([1]), ["melanoma", "nevus"])["predicted"]
        'nevus'
    """
    if logits.ndim > 2 and logits.shape[1] == 1:
        return mask_scores(logits, label)
    names = _names(logits, classes)
    if logits.ndim == 2:
        return class_scores(logits, label, names)
    if softmax is False and label.shape[1] == 1:  # a mask for each class index
        return region_scores(logits, one_hot(label, logits.shape[1]), names, spacing, background=True)
    if _is_of_regions(logits, label, softmax):
        return region_scores(logits, label, names, spacing)
    return class_mask_scores(logits, label, names, spacing)


def mask_scores(logits: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Scores of a mask of one sigmoid channel `(1, 1, ...)`: `bce` (nats), `dice`, `iou`, `confidence` and signals."""
    probability = logits.sigmoid()
    dice, iou = _overlap(probability > 0.5, label > 0.5)
    return {
        "bce": binary_cross_entropy_with_logits(logits, label.to(logits.dtype)).item(),
        DICE: dice,
        "iou": iou,
        "confidence": torch.maximum(probability, 1 - probability).mean().item(),
        **mask_signals(logits, label),
    }


def class_mask_scores(
    logits: torch.Tensor, label: torch.Tensor, names: Sequence[str | int], spacing: Sequence[float] | None = None
) -> dict[str, float]:
    """Scores of masks of K classes, whose first is background: their means over the other classes, and each of them.

    Args:
        logits: `(1, K, H, W[, D])` of a softmax.
        label: class indices `(1, 1, H, W[, D])`.
        names: what the K channels are called.
        spacing: the size of a voxel in mm.

    Returns:
        `cross_entropy` (mean over voxels, nats), `dice` and `iou` (means over the foreground classes), `confidence`
        (mean largest probability), the columns of `signals.mask_signals`, and per foreground class `dice[<class>]` and,
        where the spacing is known, `hd95[<class>]` (the 95th percentile of the distances between both surfaces, mm),
        `volume[<class>]` and `true_volume[<class>]` (ml). A class that is neither there nor predicted has Dice 1 and
        distance 0; where it is one of both, Dice is 0 and the distance the diagonal of the volume, the largest that
        there can be.

    Example:
        >>> label = torch.zeros(1, 1, 4, 4, 4)
        >>> label[..., :2] = 1
        >>> logits = torch.cat([-9.0 * label, 9.0 * label - 4.5], dim=1)
        >>> scores = class_mask_scores(logits, label, ["background", "organ"], spacing=(1, 1, 2))
        >>> scores["dice[organ]"], scores["hd95[organ]"], scores["volume[organ]"]
        (1.0, 0.0, 0.064)
    """
    truth, predicted = label[:, 0].to(torch.uint8), logits.argmax(1).to(torch.uint8)
    pairs = {name: (predicted == index, truth == index) for index, name in enumerate(names) if index}
    overlaps = {name: _overlap(*pair) for name, pair in pairs.items()}
    scores = {
        "cross_entropy": cross_entropy(logits, label[:, 0].long()).item(),
        DICE: sum(dice for dice, _ in overlaps.values()) / len(overlaps),
        "iou": sum(iou for _, iou in overlaps.values()) / len(overlaps),
        "confidence": logits.softmax(1).amax(1).mean().item(),
        **mask_signals(logits, label),
    }
    return scores | _each(pairs, overlaps, spacing)


def region_scores(
    logits: torch.Tensor,
    label: torch.Tensor,
    names: Sequence[str | int],
    spacing: Sequence[float] | None = None,
    *,
    background: bool = False,
) -> dict[str, float]:
    """Scores of K regions that may overlap, each a mask of its own: their means, and those of each region.

    Args:
        logits: `(1, K, H, W[, D])` of a sigmoid.
        label: 0 and 1, `(1, K, H, W[, D])`.
        names: what the K regions are called.
        spacing: the size of a voxel in mm.
        background: whether the first region is the background, which is only a part of `cross_entropy`.

    Returns:
        the columns of `class_mask_scores`; `cross_entropy` is the binary one, over all voxels of all regions, and
        `confidence` the mean of max(p, 1 - p).

    Example:
        >>> label = torch.zeros(1, 2, 4, 4)
        >>> label[:, 0, :2], label[:, 1, :1] = 1, 1  # a tumor, and its core
        >>> scores = region_scores(9.0 * label - 4.5, label, ["tumor", "core"])
        >>> scores["dice"], scores["dice[core]"]
        (1.0, 1.0)
    """
    every = binary_cross_entropy_with_logits(logits, label.to(logits.dtype)).item()
    if background:
        logits, label, names = logits[:, 1:], label[:, 1:], names[1:]
    probability = logits.sigmoid()
    pairs = {name: (probability[:, k] > 0.5, label[:, k] > 0.5) for k, name in enumerate(names)}
    overlaps = {name: _overlap(*pair) for name, pair in pairs.items()}
    scores = {
        "cross_entropy": every,
        DICE: sum(dice for dice, _ in overlaps.values()) / len(overlaps),
        "iou": sum(iou for _, iou in overlaps.values()) / len(overlaps),
        "confidence": torch.maximum(probability, 1 - probability).mean().item(),
        **mask_signals(logits, label),
    }
    return scores | _each(pairs, overlaps, spacing)


def _is_of_regions(logits: torch.Tensor, label: torch.Tensor, softmax: bool | None) -> bool:
    """Whether a label has a mask for each channel of the logits.

    Raises:
        InputError: if the label does not fit the activation, or may be meant in two ways.
    """
    if label.shape[1] == 1:
        return False
    if label.shape[1] != logits.shape[1]:
        raise InputError(
            f"the label has {label.shape[1]} channels and the network {logits.shape[1]} outputs; give the label one "
            "channel with class indices, or one per output"
        )
    exclusive = softmax is not False and bool((label.sum(1) == 1).all())
    if softmax or exclusive:
        raise InputError(
            f"the label has {label.shape[1]} channels, as classes that exclude each other have in one-hot coding; give "
            "it as class indices in one channel or, if the channels are regions that may overlap, say softmax=false"
        )
    return True


def _each(
    pairs: Mapping[str | int, tuple[torch.Tensor, torch.Tensor]],
    overlaps: Mapping[str | int, tuple[float, float]],
    spacing: Sequence[float] | None,
) -> dict[str, float]:
    """The scores of each class or region, by its predicted and its true mask."""
    scores = {str(Metric(DICE, str(name))): dice for name, (dice, _) in overlaps.items()}
    if spacing is not None:
        for name, pair in pairs.items():
            scores |= {str(Metric(quantity, str(name))): value for quantity, value in _extents(*pair, spacing)}
    return scores


def class_scores(logits: torch.Tensor, label: torch.Tensor, names: Sequence[str | int]) -> dict[str, Any]:
    """Scores of a classifier's logits `(1, K)` and class `(1,)`; the columns are those of `predict_scores`."""
    probability = logits.softmax(1)[0]
    true, predicted = int(label), int(probability.argmax())
    return {
        "cross_entropy": cross_entropy(logits, label).item(),
        ACCURACY: float(predicted == true),
        "confidence": probability[predicted].item(),
        "true_probability": probability[true].item(),
        **class_signals(logits, label),
        "label": names[true],
        PREDICTED: names[predicted],
    }


def _names(logits: torch.Tensor, classes: Sequence[str] | None) -> Sequence[str | int]:
    """What the outputs are called."""
    outputs = logits.shape[1]
    if outputs < 2:
        raise InputError(f"a classifier needs at least 2 outputs, one per class, and this network has {outputs}")
    if classes is not None and len(classes) != outputs:
        raise InputError(
            f"the network has {outputs} outputs, but there are {len(classes)} classes ({', '.join(classes)}); give one "
            "name per output, in the order of the outputs"
        )
    return range(outputs) if classes is None else classes


def _overlap(predicted: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    """Dice and IoU of two binary masks; 1 if both are empty."""
    overlap, union = (predicted & true).sum().item(), (predicted | true).sum().item()
    size = predicted.sum().item() + true.sum().item()
    return (2 * overlap / size, overlap / union) if size else (1.0, 1.0)


def _extents(predicted: torch.Tensor, true: torch.Tensor, spacing: Sequence[float]) -> Iterator[tuple[str, float]]:
    """The distance of two masks `(1, H, W[, D])` in mm, and the volume of each in ml."""
    if predicted.any() and true.any():
        with warnings.catch_warnings():  # MONAI uses its own deprecated code
            warnings.simplefilter("ignore", FutureWarning)
            distance = compute_hausdorff_distance(
                predicted[None], true[None], include_background=True, percentile=95, spacing=list(spacing)
            ).item()
    else:
        sides = [(size - 1) * step for size, step in zip(true.shape[1:], spacing, strict=True)]
        distance = math.hypot(*sides) if predicted.any() or true.any() else 0.0
    yield "hd95", distance
    voxel = math.prod(spacing) / _MM3_PER_ML
    yield "volume", predicted.sum().item() * voxel
    yield "true_volume", true.sum().item() * voxel
