"""Per-case scores: every case through the network separately, without augmentation, one row each."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from torch import nn
from torch.utils.data import Dataset

from mu_monai.adapters import Student
from mu_monai.engine.cost import uncounted
from mu_monai.engine.curve import record_term
from mu_monai.engine.warnings import warn
from mu_monai.errors import InputError
from mu_monai.files import atomic_path
from mu_monai.keys import (
    CASE_ID,
    EXAMPLES_NPZ,
    FORGET,
    IMAGE,
    LABEL,
    LOSS,
    MODEL,
    PATIENT_ID,
    RETAIN,
    SUBSET,
    TEST,
    VALIDATION,
)
from mu_monai.lock import writing
from mu_monai.measure.case_scores import case_scores
from mu_monai.measure.examples import write_examples
from mu_monai.processes import all_batches, is_first, own_batches
from mu_monai.runs import add_files, scores_file
from mu_monai.runs.numbers import Metric
from mu_monai.runs.scores import DICE, TRUE_VOLUME, UTILITY, leading_metric, structures

Predict = Callable[[torch.Tensor], torch.Tensor]
_RUINED = 0.1  # so much less Dice or accuracy on validation cases is told
logger = logging.getLogger(__name__)


@torch.no_grad()
def predict_scores(
    predict: Predict,
    loader: Iterable[Mapping[str, Any]],
    loss_function: nn.Module,
    device: torch.device | str = "cpu",
    classes: Sequence[str] | None = None,
    inferer: Callable[[torch.Tensor, Predict], torch.Tensor] | None = None,
    spacing: Sequence[float] | None = None,
    softmax: bool | None = None,
) -> pd.DataFrame:
    """Score every case of a loader; logits `(B, K)` come from a classifier, all others are masks.

    Several processes divide the batches of a `DataLoader` among them, and all get the whole table.

    Args:
        predict: images `(B, C, H, W[, D])` to logits `(B, C, H, W[, D])` of masks or `(B, K)` of K classes; a network
            must be in evaluation mode.
        loader: batches with `image`, `label` (masks of 0 or 1, one per channel for regions that may overlap; class
            indices `(B, 1, H, W[, D])` for masks of several channels; or classes `(B,)` in 0 ... K - 1), `case_id` and
            `patient_id`.
        loss_function: the supervised loss; it is called on one case at a time.
        device: where the network is.
        classes: the names of the K channels, that of the background first for masks; by default their numbers.
        inferer: how a network is applied to a whole image, such as a sliding window; by default at once.
        spacing: the size of a voxel in mm, for masks of several channels.
        softmax: whether exactly one output is true; None to go by the labels.

    Returns:
        one row per case: `patient_id`, `case_id`, `loss` and, of a mask, `bce` (nats), `dice`, `iou` (in [0, 1], at
        probability 0.5, 1 where both masks are empty), `confidence` (mean of max(p, 1 - p), in [0.5, 1]) and those of
        `signals.mask_signals`; of masks of several channels, the columns of `case_scores.class_mask_scores` or, of
        regions, `region_scores`; of a
        classifier, `cross_entropy` (nats), `accuracy` (1 where the most probable class is the true one, else 0),
        `confidence` (largest probability, in [1/K, 1]), `true_probability` (that of the true class), the columns of
        `signals.class_signals`, and the classes `label` and `predicted`.

    Raises:
        InputError: if a classifier has a single output, or its number of outputs differs from the number of `classes`.

    Example:
        >>> batch = {"image": torch.tensor([[0.0, 2.0]]), "label": torch.tensor([1]), "case_id": ["c"],
        ...          "patient_id": ["p"]}
        >>> table = predict_scores(nn.Identity(), [batch], nn.CrossEntropyLoss(), classes=["melanoma", "nevus"])
        >>> table[["accuracy", "confidence", "label", "predicted"]].round(3).to_dict("records")
        [{'accuracy': 1.0, 'confidence': 0.881, 'label': 'nevus', 'predicted': 'nevus'}]
    """
    batches: list[list[dict[str, Any]]] = []
    for batch in own_batches(loader):
        image = batch[IMAGE].to(device)
        logits = predict(image) if inferer is None else inferer(image, predict)
        label = batch[LABEL].to(device)
        rows = []
        for index in range(len(logits)):
            one = slice(index, index + 1)
            case = {PATIENT_ID: batch[PATIENT_ID][index], CASE_ID: batch[CASE_ID][index]}
            case["loss"] = loss_function(logits[one], label[one]).item()
            rows.append(case | case_scores(logits[one], label[one], classes, spacing, softmax))
        batches.append(rows)
    return pd.DataFrame([row for rows in all_batches(batches, loader) for row in rows])


class ScoreSubsets:
    """Scores the subsets of a run: their means after every few epochs, and every case at the end.

    Args:
        datasets: the cases of each subset, without augmentation; they are scored in their order. `test` is never scored
            during a run.
        loss_function: the supervised loss.
        device: where the network is.
        interval: epochs between the scores that go into the curve, at least 1.
        batch_size: cases that go through the network at once, at least 1.
        num_workers: additional processes that read cases; 0 reads them in this process.
        classes: the names of the output channels, in their order; by default their numbers.
        inferer: how a network is applied to a whole image, such as `SlidingWindowInferer`; by default at once.
        spacing: the size of a voxel in mm, for distances and volumes of the classes of a mask.
        forget_classes: the names of classes of a mask to forget in all cases; empty if cases are forgotten.
        softmax: whether exactly one output is true; None to go by the labels.
        expects_change: whether to warn of forget cases that are answered as before, as they may be by an exact method.

    Attributes:
        loaders: the batches of each subset.

    Raises:
        InputError: for an interval below 1, or a spacing that is not a positive number per axis.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset[Any]],
        loss_function: nn.Module,
        device: torch.device | str = "cpu",
        interval: int = 1,
        batch_size: int = 1,
        num_workers: int = 0,
        classes: Sequence[str] | None = None,
        inferer: Callable[[torch.Tensor, Predict], torch.Tensor] | None = None,
        spacing: Sequence[float] | None = None,
        forget_classes: Sequence[str] = (),
        softmax: bool | None = None,
        expects_change: bool = True,
    ) -> None:
        if interval < 1:
            raise InputError(f"interval={interval} is not allowed; score after every 1, 2 ... epochs")
        if spacing is not None and not _are_sizes(spacing):
            raise InputError(
                f"spacing={spacing!r} is not allowed; give the size of a voxel in mm along each axis, such as "
                "[1.5, 1.5, 2.0]"
            )
        self.loaders = {
            subset: DataLoader(dataset, batch_size=batch_size, shuffle=False, num_workers=num_workers)
            for subset, dataset in datasets.items()
        }
        self.loss_function, self.device, self.interval = loss_function, device, interval
        self.classes, self.inferer, self.spacing, self.softmax = classes, inferer, spacing, softmax
        self.forget_classes, self.expects_change = tuple(forget_classes), expects_change

    def attach(self, engine: Engine) -> None:
        """Hook to the end of every `interval`-th epoch and of the last, and to the end of the run."""
        engine.add_event_handler(Events.STARTED, self._try)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._score_without_epochs)
        engine.add_event_handler(Events.COMPLETED, self._warn_where_it_is_ruined)
        if self.expects_change:
            engine.add_event_handler(Events.COMPLETED, self._warn_where_nothing_happened)

    def __call__(self, engine: Engine) -> None:
        """Record mean loss and Dice, or accuracy, over the cases of every subset but `test`."""
        last = engine.should_terminate or engine.state.epoch == engine.state.max_epochs
        if engine.state.epoch % self.interval and not last:
            return
        engine.network.eval()
        for subset, loader in self.loaders.items():
            if subset != TEST and len(loader):
                with uncounted(engine):
                    scores = self.score(engine.network, loader, measure=False)
                for column in (LOSS, leading_metric(scores)):
                    record_term(engine, f"{subset}_{column}", float(scores[column].mean()))

    def _score_without_epochs(self, engine: Engine) -> None:
        """Score a run that a method ended before its first epoch."""
        if not engine.state.epoch:
            self(engine)

    def _try(self, engine: Engine) -> None:
        """Score one batch before training: what cannot be scored is refused now, not after an epoch."""
        engine.network.eval()
        loader = next((loader for subset, loader in self.loaders.items() if subset != TEST and len(loader)), None)
        if loader is None:
            return
        try:
            with uncounted(engine):
                self.score(engine.network, islice(loader, 1))
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"the first case cannot be scored ({type(error).__name__}: {error}); if sizes do not match, choose an "
                "image_size or patch_size that the network's strides divide, and a spacing with one number per axis"
            ) from None

    def _warn_where_nothing_happened(self, engine: Engine) -> None:
        """Warn if everything is answered as before: unnoticed, this would be the most dangerous result."""
        subsets = (RETAIN, FORGET) if self.forget_classes else (FORGET,)
        both = self._before_and_after(engine, subsets)
        if both is None:
            return
        before, after = both
        columns = [str(Metric(DICE, name)) for name in self.forget_classes] or [LOSS]
        what = f"Dice of {', '.join(self.forget_classes)}" if self.forget_classes else "loss of the forget cases"
        old, new = (float(scores[columns].mean().mean()) for scores in (before, after))
        never = [name for name in self.forget_classes if not before[str(Metric(DICE, name))].any()]
        if never:
            warn(
                engine,
                f"the teacher has a Dice of 0 for {', '.join(never)} in every training case: it finds nothing of it, "
                "so that Dice cannot tell whether it was forgotten",
            )
        if abs(new - old) <= 0.01 * abs(old):
            trained = "more epochs, smaller batches or a larger learning rate have a stronger effect"
            warn(
                engine,
                f"the {what} changed by less than 1 % (teacher {old:.4f}, student {new:.4f}): hardly anything was "
                f"forgotten; {trained if engine.state.epoch else 'choose other settings of the method'}",
            )

    def _warn_where_it_is_ruined(self, engine: Engine) -> None:
        """Warn if validation cases are answered much worse than before, as they are by a ruined model."""
        both = self._before_and_after(engine, (VALIDATION,))
        if both is None:
            return
        metric = leading_metric(both[0])
        kept = [str(Metric(DICE, name)) for name in structures(both[0]) if name not in self.forget_classes]
        columns = kept if self.forget_classes else [metric]
        old, new = (float(scores[columns].mean().mean()) for scores in both)
        if new < old - _RUINED:
            warn(
                engine,
                f"the mean {UTILITY[metric].in_text} on validation cases is {new:.3f}, and the original's {old:.3f}: "
                "unless they are of what was to be forgotten, the model lost much of what it was to keep; take another "
                "method, weaker settings or, if it restores after damage, a larger budget",
            )

    def _before_and_after(self, engine: Engine, subsets: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """The scores of the original and of the student on subsets; None without such cases, or without a student."""
        loaders = [self.loaders[subset] for subset in subsets if len(self.loaders.get(subset, ()))]
        if not isinstance(engine.network, Student) or not loaders:
            return None
        engine.network.eval()
        with uncounted(engine):
            before, after = (
                pd.concat([self.score(predict, loader, measure=False) for loader in loaders])
                for predict in (engine.network.teacher, engine.network)
            )
        return before, after

    def write(self, models: Mapping[str, Predict], folder: str | Path) -> pd.DataFrame:
        """Write `scores.csv` with every case of every subset, and `examples.npz`, for each model by its role."""
        with writing(folder) if is_first() else nullcontext():
            table = self._table(models)
            if is_first():
                self._write(table, models, Path(folder))
        return table

    def _table(self, models: Mapping[str, Predict]) -> pd.DataFrame:
        tables = []
        for model, predict in models.items():
            if isinstance(predict, nn.Module):
                predict.eval()
            for subset, loader in self.loaders.items():
                if len(loader):
                    scores = self.score(predict, loader)
                    tables.append(scores.assign(**{MODEL: model, SUBSET: subset}))
        table = pd.concat(tables, ignore_index=True)
        return table[[MODEL, SUBSET, *(c for c in table.columns if c not in (MODEL, SUBSET))]]

    def _write(self, table: pd.DataFrame, models: Mapping[str, Predict], folder: Path) -> None:
        _warn_of_absent_classes(table)
        with atomic_path(scores_file(folder)) as path:
            table.to_csv(path, index=False)
        write_examples(
            models, self.loaders, folder / EXAMPLES_NPZ, self.device, self.classes, self.inferer, self.spacing
        )
        add_files(folder, scores_file(folder).name, EXAMPLES_NPZ)

    def score(self, predict: Predict, loader: Iterable[Mapping[str, Any]], *, measure: bool = True) -> pd.DataFrame:
        """Score a loader; `measure` adds distances and volumes, which take longer than a forward pass."""
        spacing = self.spacing if measure else None
        rest = (self.device, self.classes, self.inferer, spacing, self.softmax)
        return predict_scores(predict, loader, self.loss_function, *rest)


def _are_sizes(spacing: object) -> bool:
    numbers = list(spacing) if isinstance(spacing, Sequence) and not isinstance(spacing, str) else []
    return bool(numbers) and all(isinstance(step, int | float) and 0 < step < math.inf for step in numbers)


def _warn_of_absent_classes(scores: pd.DataFrame) -> None:
    """Warn about classes that no label holds: if not predicted either, their Dice of 1 raises every mean."""
    metrics = {column: Metric.parse(str(column)) for column in scores.columns}
    volumes = {column: metric.of for column, metric in metrics.items() if metric.quantity == TRUE_VOLUME}
    absent = [name for column, name in volumes.items() if not scores[column].any()]
    if absent:
        logger.warning(
            "no label holds %s; cases in which it is not predicted either count with a Dice of 1. Name the classes "
            "that the labels have: --set classes='[\"background\", ...]'",
            " or ".join(map(repr, absent)),
        )
