"""Per-case scores: every case through the network alone, without augmentation, one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from mu_monai.adapters import Student
from mu_monai.engine.curve import record_term
from mu_monai.errors import InputError
from mu_monai.files import atomic_path
from mu_monai.keys import (
    CASE_ID,
    EXAMPLES_NPZ,
    FORGET,
    IMAGE,
    LABEL,
    MODEL,
    PATIENT_ID,
    RETAIN,
    SCORES_CSV,
    SUBSET,
    TEST,
)

Predict = Callable[[torch.Tensor], torch.Tensor]
_EXAMPLES = 3


@torch.no_grad()
def predict_scores(
    predict: Predict, loader: Iterable[Mapping[str, Any]], loss_function: nn.Module, device: torch.device | str = "cpu"
) -> pd.DataFrame:
    """Score every case of a loader.

    Args:
        predict: images `(B, C, H, W[, D])` to logits `(B, 1, H, W[, D])`; a network must be in evaluation mode.
        loader: batches with `image`, `label` (0 or 1), `case_id` and `patient_id`.
        loss_function: the supervised loss; it is called on one case at a time.
        device: where the network is.

    Returns:
        one row per case: `patient_id`, `case_id`, `loss`, `bce` (nats), `dice`, `iou` (in [0, 1], at probability 0.5,
        1 where both masks are empty) and `confidence` (mean of max(p, 1 - p), in [0.5, 1]).
    """
    rows: list[dict[str, Any]] = []
    for batch in loader:
        logits = predict(batch[IMAGE].to(device))
        label = batch[LABEL].to(device)
        for index in range(len(logits)):
            one = slice(index, index + 1)
            case = {PATIENT_ID: batch[PATIENT_ID][index], CASE_ID: batch[CASE_ID][index]}
            rows.append(case | _case_scores(logits[one], label[one], loss_function))
    return pd.DataFrame(rows)


def _case_scores(logits: torch.Tensor, label: torch.Tensor, loss_function: nn.Module) -> dict[str, float]:
    probability = logits.sigmoid()
    predicted, true = probability > 0.5, label > 0.5
    overlap, union = (predicted & true).sum().item(), (predicted | true).sum().item()
    size = predicted.sum().item() + true.sum().item()
    return {
        "loss": loss_function(logits, label).item(),
        "bce": binary_cross_entropy_with_logits(logits, label).item(),
        "dice": 2 * overlap / size if size else 1.0,
        "iou": overlap / union if union else 1.0,
        "confidence": torch.maximum(probability, 1 - probability).mean().item(),
    }


class ScoreSubsets:
    """Scores the subsets of a run: their means after every few epochs, and every case at the end.

    Args:
        loaders: one loader per subset, without shuffling or augmentation. `test` is never scored during a run.
        loss_function: the supervised loss.
        device: where the network is.
        interval: epochs between the scores that go into the curve, at least 1.

    Raises:
        InputError: for an interval below 1.
    """

    def __init__(
        self,
        loaders: Mapping[str, DataLoader[Any]],
        loss_function: nn.Module,
        device: torch.device | str = "cpu",
        interval: int = 1,
    ) -> None:
        if interval < 1:
            raise InputError(f"interval={interval} is not allowed; score after every 1, 2 ... epochs")
        self.loaders, self.loss_function, self.device, self.interval = dict(loaders), loss_function, device, interval

    def attach(self, engine: Engine) -> None:
        """Hook to the end of every `interval`-th epoch and of the last, and to the end of the run."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._warn_where_nothing_happened)

    def __call__(self, engine: Engine) -> None:
        """Record mean loss and Dice over the cases of every subset but `test`."""
        if engine.state.epoch % self.interval and engine.state.epoch != engine.state.max_epochs:
            return
        engine.network.eval()
        for subset, loader in self.loaders.items():
            if subset != TEST and len(loader):
                scores = predict_scores(engine.network, loader, self.loss_function, self.device)
                for column in ("loss", "dice"):
                    record_term(engine, f"{subset}_{column}", float(scores[column].mean()))

    def _warn_where_nothing_happened(self, engine: Engine) -> None:
        """Say it where the forget cases are answered as before: the most dangerous result is the silent one."""
        loader = self.loaders.get(FORGET)
        if not isinstance(engine.network, Student) or loader is None or not len(loader):
            return
        engine.network.eval()
        before, after = (
            float(predict_scores(predict, loader, self.loss_function, self.device)["loss"].mean())
            for predict in (engine.network.teacher, engine.network)
        )
        if abs(after - before) < 0.01 * abs(before):
            engine.state.warnings = [
                f"the loss of the forget cases moved by less than 1 % (teacher {before:.4f}, student {after:.4f}): "
                "hardly anything was forgotten; more epochs, smaller batches or a larger learning rate act stronger"
            ]

    def write(self, models: Mapping[str, Predict], folder: str | Path) -> pd.DataFrame:
        """Write `scores.csv` with every case of every subset, and `examples.npz`, for each model by its role."""
        tables = []
        for model, predict in models.items():
            if isinstance(predict, nn.Module):
                predict.eval()
            for subset, loader in self.loaders.items():
                if len(loader):
                    scores = predict_scores(predict, loader, self.loss_function, self.device)
                    tables.append(scores.assign(**{MODEL: model, SUBSET: subset}))
        table = pd.concat(tables, ignore_index=True)
        table = table[[MODEL, SUBSET, *(c for c in table.columns if c not in (MODEL, SUBSET))]]
        with atomic_path(Path(folder) / SCORES_CSV) as path:
            table.to_csv(path, index=False)
        self._write_examples(models, Path(folder) / EXAMPLES_NPZ)
        return table

    @torch.no_grad()
    def _write_examples(self, models: Mapping[str, Predict], target: Path) -> None:
        cases = [
            {**case, SUBSET: subset} for subset in (RETAIN, FORGET) for case in _first_cases(self.loaders.get(subset))
        ]
        if not cases:
            return
        images = torch.stack([torch.as_tensor(case[IMAGE]) for case in cases])
        arrays = {name: np.array([str(case[name]) for case in cases]) for name in (CASE_ID, SUBSET)}
        arrays["image"] = np.stack([_displayable(image.numpy()) for image in images])
        arrays["label"] = np.stack([np.asarray(case[LABEL][0], dtype=np.uint8) for case in cases])
        for model, predict in models.items():
            probability = predict(images.to(self.device)).sigmoid()[:, 0].float().cpu().numpy()
            arrays[model] = probability.astype(np.float32)
        with atomic_path(target) as path:
            np.savez_compressed(path, **arrays)  # type: ignore[arg-type] # numpy's stub takes the names for options


def _first_cases(loader: DataLoader[Any] | None) -> list[Mapping[str, Any]]:
    """The first cases by id: a choice that cannot flatter."""
    if loader is None or not len(loader):
        return []
    dataset: Any = loader.dataset
    ids = [str(item[CASE_ID]) for item in dataset.data]
    return [dataset[index] for index in sorted(range(len(ids)), key=ids.__getitem__)[:_EXAMPLES]]


def _displayable(image: np.ndarray) -> np.ndarray:
    """A normalized image `(C, H, W)` stretched to `(H, W, C)` bytes, for eyes only."""
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / (high - low) if high > low else np.zeros_like(image)
    return np.moveaxis((scaled * 255).round().astype(np.uint8), 0, -1)
