"""Measurements on a student besides its scores: losses per case, and its distance from the teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch.utils.data import DataLoader

from mu_monai.adapters import Student, captured, pooled
from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, PATIENT_ID
from mu_monai.precision import in_full
from mu_monai.processes import once, own_batches, several

Batches = Iterable[Mapping[str, Any]]
Predict = Callable[[torch.Tensor], torch.Tensor]
Apply = Callable[[torch.Tensor, Predict], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class WholeCases:
    """The cases that a student is measured on, as a user has them: not the patches that it learns from.

    Args:
        forget: whole forget cases, without augmentation.
        retain: whole retain cases, without augmentation.
        inferer: how a network is applied to one of them, such as `SlidingWindowInferer`.
        unseen: whole cases that were never trained on (`validation`); `None` if nothing is compared with them.

    Example:
        >>> from monai.inferers import SlidingWindowInferer
        >>> windows = SlidingWindowInferer(roi_size=(64, 64, 64), overlap=0.25, mode="gaussian")
        >>> WholeCases(forget=[], retain=[], inferer=windows).inferer.roi_size
        (64, 64, 64)
    """

    forget: DataLoader[Mapping[str, Any]]
    retain: DataLoader[Mapping[str, Any]]
    inferer: Apply
    unseen: DataLoader[Mapping[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How much student and teacher differ on a set of cases.

    Args:
        delta: mean |p_s - p_t| over cases, pixels and channels, in [0, 1].
        epsilon: mean Euclidean distance of the pooled features; `None` if no feature layer is known.
        feature_layer: the layer whose features were compared.
    """

    delta: float
    epsilon: float | None
    feature_layer: str | None


def mean_case_loss(engine: SupervisedTrainer, predict: Predict, cases: Batches, inferer: Apply | None = None) -> float:
    """Mean over cases of the trainer's loss function, one case at a time; the network is in `eval` mode.

    Args:
        engine: the trainer.
        predict: images to logits.
        cases: batches of cases.
        inferer: how `predict` is applied to them; by default as the trainer applies its network, in full precision.
    """
    if several():
        losses = [loss for *_, loss in case_losses(engine, predict, cases, inferer)]
    else:
        losses = [loss for _, batch_losses in _losses(engine, predict, cases, inferer) for loss in batch_losses]
    return sum(losses) / len(losses)


def case_losses(
    engine: SupervisedTrainer, predict: Predict, cases: Batches, inferer: Apply | None = None
) -> list[tuple[str, str, float]]:
    """Case, patient and loss of every case; arguments as in `mean_case_loss`, with both ids in the batches.

    Of several processes, each measures its own batches, and all get every case.
    """
    rows = [
        row
        for batch, losses in _losses(engine, predict, cases, inferer)
        for row in zip(batch[CASE_ID], batch[PATIENT_ID], losses, strict=True)
    ]
    return once(rows, key=lambda row: row[0])


def patient_losses(
    engine: SupervisedTrainer, predict: Predict, cases: Batches, inferer: Apply | None = None
) -> list[float]:
    """The mean loss of every patient's cases; arguments as in `case_losses`.

    Raises:
        InputError: if the loss of a case is NaN or infinite, so that it is neither lower nor higher than others.
    """
    by_patient: dict[str, list[float]] = {}
    for case, patient, loss in case_losses(engine, predict, cases, inferer):
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of case '{case}' is {loss}, which cannot be compared with those of other patients; look for "
                "NaN in its image and label, use a loss that is finite for it, or a lower learning rate"
            )
        by_patient.setdefault(patient, []).append(loss)
    return [sum(losses) / len(losses) for losses in by_patient.values()]


@torch.no_grad()
def _losses(
    engine: SupervisedTrainer, predict: Predict, cases: Batches, inferer: Apply | None
) -> Iterator[tuple[Mapping[str, Any], list[float]]]:
    engine.network.eval()
    apply = inferer or in_full(engine.inferer)
    for batch in own_batches(cases):
        image, label, *_ = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        yield batch, each_loss(engine.loss_function, apply(image, predict), label).tolist()


def each_loss(loss: Callable[..., torch.Tensor], logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The loss of each case of a batch, `(B,)`, for a loss function that returns a mean over the batch.

    Example:
        >>> each_loss(torch.nn.functional.mse_loss, torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)).tolist()
        [1.0, 9.0]
    """
    return torch.stack([loss(logits[i : i + 1], label[i : i + 1]) for i in range(len(logits))])


@torch.no_grad()
def margins(
    engine: SupervisedTrainer,
    cases: Batches,
    *,
    softmax: bool,
    feature_layer: str | None,
    inferer: Apply | None = None,
) -> Margins:
    r"""Measure how far a student's answers and features are from its teacher's.

    .. math:: \delta = \mathbb E |p_s - p_t|, \quad \epsilon = \mathbb E \|f_s - f_t\|_2

    Args:
        engine: the trainer, whose network is a `Student`.
        cases: batches of cases, in practice the forget set.
        softmax: whether the channels are one softmax or independent sigmoid outputs.
        feature_layer: name of the layer, in the plain network, whose spatially averaged output is compared; of a
            sliding window, window by window.
        inferer: how a network is applied to the cases; by default as the trainer applies its own, in full precision.

    Source:
        *Erase to Retain* (arXiv 2511.16574, section 3) claims a margin for both on the forget set, without proof or
        number; here they are measured.
    """
    student: Student = engine.network
    student.eval()
    apply = inferer or in_full(engine.inferer)
    rows: list[tuple[str, str, float]] = []  # case, which margin, and how large it is
    for image, names in _images(engine, cases):
        answer, features = _answer(apply, image, student, softmax, feature_layer)
        teacher, teacher_features = _answer(apply, image, student, softmax, feature_layer, teacher=True)
        changed = answer.sub_(teacher).abs_().flatten(1).mean(1)  # in place: for a volume each takes gigabytes
        rows += ((name, "delta", value) for name, value in zip(names, changed.tolist(), strict=True))
        if features:
            moved = (torch.cat(features) - torch.cat(teacher_features)).norm(dim=1).tolist()
            rows += ((names[place * len(names) // len(moved)], "epsilon", far) for place, far in enumerate(moved))
    measured = once(rows, key=lambda row: row[0])  # one exchange: of a few cases, a process may have none
    deltas, distances = ([value for _, kind, value in measured if kind == name] for name in ("delta", "epsilon"))
    return Margins(delta=_mean(deltas), epsilon=_mean(distances) if distances else None, feature_layer=feature_layer)


def _mean(values: list[float]) -> float:
    return float(torch.tensor(values).mean())


def _answer(
    apply: Apply, image: torch.Tensor, student: Student, softmax: bool, layer: str | None, *, teacher: bool = False
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The probabilities of student or teacher, and its pooled features, window by window."""
    features: list[torch.Tensor] = []

    def predict(window: torch.Tensor) -> torch.Tensor:
        with captured(student.get_base_model(), layer) as seen:
            logits: torch.Tensor = student.teacher(window) if teacher else student(window)
        features.extend(pooled(output) for output in seen)
        return logits

    logits = apply(image, predict)
    return logits.softmax(1) if softmax else logits.sigmoid(), features


def _images(engine: SupervisedTrainer, cases: Batches) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """The images of each batch, and the case of each of them."""
    for batch in own_batches(cases):
        image, *_ = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        yield image, list(batch.get(CASE_ID, [""] * len(image)))
