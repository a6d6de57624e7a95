"""What is measured on a student besides its scores: losses per case, and how far it is from its teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch.utils.data import DataLoader

from mu_monai.adapters import Student, captured, pooled

Batches = DataLoader[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How differently student and teacher see a set of cases.

    Args:
        delta: mean |p_s - p_t| over cases, pixels and channels, in [0, 1].
        epsilon: mean Euclidean distance of the pooled features; none where no layer is known to take them from.
        feature_layer: the layer whose features were compared.
    """

    delta: float
    epsilon: float | None
    feature_layer: str | None


@torch.no_grad()
def mean_case_loss(
    engine: SupervisedTrainer, predict: Callable[[torch.Tensor], torch.Tensor], loader: Batches
) -> float:
    """Mean over a loader's cases of the trainer's loss function, one case at a time; the network is in `eval` mode."""
    engine.network.eval()
    losses = []
    for image, label in _pairs(engine, loader):
        logits = engine.inferer(image, predict)
        losses += [float(engine.loss_function(logits[i : i + 1], label[i : i + 1])) for i in range(len(logits))]
    return sum(losses) / len(losses)


@torch.no_grad()
def margins(engine: SupervisedTrainer, loader: Batches, *, softmax: bool, feature_layer: str | None) -> Margins:
    r"""Measure how far a student's answers and features are from its teacher's.

    .. math:: \delta = \mathbb E |p_s - p_t|, \quad \epsilon = \mathbb E \|f_s - f_t\|_2

    Args:
        engine: the trainer, whose network is a `Student`.
        loader: the cases, in practice the forget set.
        softmax: whether the channels are one softmax or independent sigmoid outputs.
        feature_layer: name of the layer, in the plain network, whose spatially averaged output is compared.

    Source:
        *Erase to Retain* (arXiv 2511.16574, section 3) claims a margin for both on the forget set, without proof or
        number; here they are measured.
    """
    student: Student = engine.network
    student.eval()
    base = student.get_base_model()
    deltas: list[torch.Tensor] = []
    distances: list[torch.Tensor] = []
    for image, _ in _pairs(engine, loader):
        with captured(base, feature_layer) as features:
            answers = [engine.inferer(image, predict) for predict in (student, student.teacher)]
        own, teacher = (logits.softmax(1) if softmax else logits.sigmoid() for logits in answers)
        deltas += list((own - teacher).abs().flatten(1).mean(1))
        if features:
            half = len(features) // 2  # a sliding window passes several times
            for ours, theirs in zip(features[:half], features[half:], strict=True):
                distances += list((pooled(ours) - pooled(theirs)).norm(dim=1))
    return Margins(
        delta=float(torch.stack(deltas).mean()),
        epsilon=float(torch.stack(distances).mean()) if distances else None,
        feature_layer=feature_layer,
    )


def _pairs(engine: SupervisedTrainer, loader: Batches) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for batch in loader:
        image, label, *_ = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        yield image, label
