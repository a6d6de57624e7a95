"""The end of forgetting: the epoch at which forgotten cases are answered like unseen ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from scipy.stats import mannwhitneyu
from torch.utils.data import DataLoader

from mu_monai.engine.cost import count_of
from mu_monai.engine.curve import record_term
from mu_monai.engine.warnings import warn
from mu_monai.errors import InputError
from mu_monai.measure import WholeCases, patient_losses
from mu_monai.processes import processes, total

REFERENCE, REWIND = "reference", "rewind"
_MOST = 200  # retained cases that are measured


@dataclass
class ReferenceWatch:
    r"""Tracks how well losses distinguish forget cases from unseen ones, and reports when they no longer do.

    .. math:: A = P(L_{forget} < L_{unseen}) + \tfrac12 P(L_{forget} = L_{unseen})

    over patients. A model that remembers has `A` near 1; one that never saw the forget cases has 0.5. Below 0.5, it
    answers them worse than cases that it never saw, which reveals them as well.

    Args:
        tolerance: how far from 0.5 `A` may be to count as reached, in (0, 0.5).
        epochs: `epoch`, `forget_auc`, `forget_loss` and `unseen_loss` (medians) of each epoch so far, and
            `settled_auc`, the `A` after further training, if that was measured.
        nearest: the epoch whose `A` is nearest to 0.5; `None` before the first. Of an epoch with two, the larger
            counts.

    Source:
        Ours. The losses are those used by a loss-threshold attack (arXiv 1709.01604); the unseen cases are those of
        `validation`, so that `test` stays unseen for the audit.

    Example:
        >>> watch = ReferenceWatch(tolerance=0.1)
        >>> watch.see(1, [0.1, 0.1, 0.2], [0.3, 0.4]), watch.reached, watch.overshot
        (1.0, False, False)
        >>> watch.see(2, [0.1, 0.3, 0.5], [0.3, 0.4]), watch.reached, watch.nearest
        (0.5833333333333334, True, 2)
    """

    tolerance: float
    epochs: list[dict[str, float]] = field(default_factory=list)
    nearest: int | None = None

    def see(
        self, epoch: int, forget: Sequence[float], unseen: Sequence[float], settled_auc: float | None = None
    ) -> float:
        """Record the losses after an epoch, one per patient; returns `A`."""
        auc = loss_auc(forget, unseen)
        settled = {} if settled_auc is None else {"settled_auc": settled_auc}
        seen = {"epoch": epoch, "forget_auc": auc, "forget_loss": median(forget), "unseen_loss": median(unseen)}
        best = min((abs(_judged(before) - 0.5) for before in self.epochs), default=float("inf"))
        self.epochs.append(seen | settled)
        if abs(self.auc - 0.5) < best:
            self.nearest = epoch
        return auc

    @property
    def auc(self) -> float:
        """The `A` by which the last epoch is judged."""
        return _judged(self.epochs[-1])

    @property
    def reached(self) -> bool:
        """Whether the losses after the last epoch no longer distinguish forget cases from unseen ones."""
        return bool(self.epochs) and abs(self.auc - 0.5) <= self.tolerance

    @property
    def overshot(self) -> bool:
        """Whether forget cases were answered worse than unseen ones after the last epoch."""
        return bool(self.epochs) and self.auc < 0.5 - self.tolerance

    def warnings(self, *, stand_in: bool = False) -> list[str]:
        """What a user must know about the finished run.

        Args:
            stand_in: whether retained cases were compared in place of the forget cases.
        """
        if not self.epochs:
            return []
        auc = next(_judged(seen) for seen in self.epochs if seen["epoch"] == self.nearest)
        if abs(auc - 0.5) <= self.tolerance:
            return []
        if stand_in:
            return [
                f"the forget cases could not be compared with unseen ones, since their images are gone; the retained "
                f"cases in their place, which were trained on since, have an AUC of {auc:.3f} (target 0.5 within "
                f"{self.tolerance:g}), so the forget cases are at most about as well known"
            ]
        what = "are still answered better" if auc > 0.5 else "are answered worse"
        return [
            f"the run ended before it reached its reference: forget cases {what} than unseen ones (AUC {auc:.3f}, "
            f"target 0.5 within {self.tolerance:g}); give it more epochs, or change the strength of the forget side"
        ]

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON content; `ReferenceWatch(**content)` is the inverse."""
        return asdict(self)


def _judged(seen: Mapping[str, float]) -> float:
    return max(seen["forget_auc"], seen.get("settled_auc", 0.0))


def loss_auc(forget: Sequence[float], unseen: Sequence[float]) -> float:
    """The share of pairs in which the forget loss is the lower one; ties count half.

    Example:
        >>> loss_auc([0.1, 0.5], [0.3])
        0.5
    """
    return float(mannwhitneyu(unseen, forget).statistic) / (len(forget) * len(unseen))


def some_of(retain: DataLoader[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """As many batches of retained cases as are measured."""
    return islice(retain, -(-_MOST // ((retain.batch_size or 1) * processes())))


class StopAtReference:
    """Compares a run with its reference after every epoch, and at the end goes back to the nearest epoch.

    The curve gets `forget_auc`, the `A` of `ReferenceWatch`. At the end, the student is that of the nearest epoch.

    Args:
        stop_at: `reference`: end the run when forget cases are answered like unseen ones; `rewind`: run to the end.
        tolerance: how far from 0.5 the AUC may be to count as reached, in (0, 0.5).
        comes_back: whether the method itself brings back cases that were forgotten too far, so that the run continues.
        cases: returns the cases that a trainer's run is measured on.
        stand_in: whether retained cases are compared, since the images of the forget cases are gone; the curve gets
            `memorized_auc` instead.
        unseen: cases that were never trained on, whole cases if there are any; `None` if there are no such cases.
        further: a context in which the network is as it would be after further training; an epoch is then judged by the
            larger of both AUCs, so that forgetting that comes back does not count (`settled_auc` in the curve).

    Raises:
        InputError: if there are no unseen cases.
    """

    def __init__(
        self,
        *,
        stop_at: str,
        tolerance: float,
        comes_back: bool,
        cases: Callable[[SupervisedTrainer], WholeCases],
        unseen: DataLoader[Mapping[str, Any]] | None,
        further: Callable[[SupervisedTrainer], AbstractContextManager[None]] | None = None,
        stand_in: bool = False,
    ) -> None:
        if unseen is None or not len(unseen):
            raise InputError(
                f"method#stop_at='{stop_at}' compares with unseen cases, and the split has none: give it validation "
                "cases (--validation), or leave stop_at out"
            )
        self._stop_at, self._comes_back, self._cases, self._unseen = stop_at, comes_back, cases, unseen
        self._further, self._stand_in = further, stand_in
        self.watch = ReferenceWatch(tolerance)
        self._nearest: dict[str, torch.Tensor] = {}  # the student where the reference was nearest

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the end of every epoch and of the run; attach it after all handlers that change weights there."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._look)
        engine.add_event_handler(Events.COMPLETED, self._go_back)

    def begin(self, engine: SupervisedTrainer) -> tuple[float, int]:
        """Measure the network as it is before the first step; returns its AUC and the sample passes of measuring."""
        before = count_of(engine).passes
        auc = loss_auc(*self._losses(engine))
        return auc, total(count_of(engine).passes - before)

    def _losses(self, engine: SupervisedTrainer) -> tuple[list[float], list[float]]:
        """The losses of forget cases, or of those in their place, and of unseen ones, one per patient."""
        cases = self._cases(engine)
        trained = some_of(cases.retain) if self._stand_in else cases.forget
        forget = patient_losses(engine, engine.network, trained, cases.inferer)
        return forget, patient_losses(engine, engine.network, self._unseen, cases.inferer)

    def _look(self, engine: SupervisedTrainer) -> None:
        """Compare the losses of forget and unseen cases, keep the nearest student, and stop if they are alike."""
        losses = self._losses(engine)
        settled = None
        if self._further is not None:
            with self._further(engine):
                settled = loss_auc(*self._losses(engine))
            record_term(engine, "settled_auc", settled)
        record_term(
            engine,
            "memorized_auc" if self._stand_in else "forget_auc",
            self.watch.see(engine.state.epoch, *losses, settled),
        )
        if self.watch.nearest == engine.state.epoch:
            self._nearest = {name: value.clone() for name, value in engine.network.own_state().items()}
        self._end_where_it_arrived(engine)

    def _end_where_it_arrived(self, engine: SupervisedTrainer) -> None:
        beyond = self.watch.overshot and not self._comes_back
        if self._stop_at != REWIND and (self.watch.reached or beyond):
            engine.terminate()

    def _go_back(self, engine: SupervisedTrainer) -> None:
        engine.network.load_state_dict(self._nearest, strict=False)
        warn(engine, *self.watch.warnings(stand_in=self._stand_in))

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, and the nearest student."""
        return {"steering": self.watch.as_dict(), "nearest": self._nearest}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue from the state that `state_dict` returned."""
        self._nearest = dict(state.get("nearest", {}))  # a checkpoint of an earlier version has none
        self.watch = ReferenceWatch(**state["steering"])
        self._end_where_it_arrived(engine)
