"""The restoration of a model's head on retained cases, monitored for whether it brings the forgotten ones back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from monai.engines import SupervisedTrainer

from mu_monai.engine import record_term, warn
from mu_monai.errors import InputError
from mu_monai.measure import WholeCases, mean_case_loss


@dataclass
class RestorationWatch:
    r"""Tracks the loss of the forget cases over the epochs of a restoration.

    .. math:: \text{returned} = \frac{L_{start} - L}{L_{start} - L_{teacher}}

    is 0 when restoration starts and 1 when the forget cases are answered as well as by the teacher.

    Args:
        tolerance: the largest accepted share of the way back, in [0, 1]; `None` to monitor without stopping.
        teacher_forget_loss: mean loss of the forget cases under the teacher.
        start_forget_loss: the same under the student when restoration starts.
        epochs: `epoch`, `forget_loss`, `retain_loss` and `returned` of each epoch so far.
        stopped: whether the tolerance was exceeded.
        kept_epoch: the epoch whose weights are kept: the one with the lowest retain loss within the tolerance; `None`
            for the weights that restoration started from.

    Source:
        Ours; *Erase to Retain* (arXiv 2511.16574, abstract) restores without monitoring. Training only on retained
        cases is known to bring forgotten ones back (relearning).

    Example:
        >>> watch = RestorationWatch(0.1, teacher_forget_loss=0.2, start_forget_loss=1.2)
        >>> watch.see(6, forget_loss=1.15, retain_loss=0.4), watch.see(7, forget_loss=0.9, retain_loss=0.3)
        (True, False)
        >>> watch.stopped, watch.kept_epoch
        (True, 6)
    """

    tolerance: float | None
    teacher_forget_loss: float
    start_forget_loss: float
    epochs: list[dict[str, float]] = field(default_factory=list)
    stopped: bool = False
    kept_epoch: int | None = None

    @property
    def can_judge(self) -> bool:
        """Whether anything can come back: the student answers the forget cases worse than the teacher does."""
        return self.start_forget_loss > self.teacher_forget_loss

    def returned(self, forget_loss: float) -> float:
        """The share of the way back to the teacher's loss; 0 if nothing can come back."""
        if not self.can_judge:
            return 0.0
        return (self.start_forget_loss - forget_loss) / (self.start_forget_loss - self.teacher_forget_loss)

    def see(self, epoch: int, *, forget_loss: float, retain_loss: float) -> bool:
        """Record an epoch; returns whether its weights are the best so far."""
        returned = self.returned(forget_loss)
        best = min((seen["retain_loss"] for seen in self.epochs), default=float("inf"))
        self.epochs.append(
            {"epoch": epoch, "forget_loss": forget_loss, "retain_loss": retain_loss, "returned": returned}
        )
        if self.tolerance is not None and returned > self.tolerance:
            self.stopped = True
            return False
        if retain_loss < best:
            self.kept_epoch = epoch
            return True
        return False

    def warnings(self) -> list[str]:
        """What a user must know about the finished restoration."""
        if self.can_judge:
            return []
        return [
            "restoration could not be monitored: before it began, the forget cases were answered no worse than by the "
            f"teacher (loss {self.start_forget_loss:.4f}, teacher {self.teacher_forget_loss:.4f}), so nothing could "
            "come back"
        ]

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON content; `RestorationWatch(**content)` is the inverse."""
        return asdict(self)


class Restoration:
    """The last epochs of a run, in which only the head trains, on the retain set, and every epoch is evaluated.

    The curve gets `phase`, 2 in restoring epochs and 1 in others, and `forget_returned`, the share of the way back.

    Args:
        epochs: number of the last epochs that restore, at least 1.
        tolerance: as in `RestorationWatch`.
        cases: returns the cases that a trainer's run is measured on.
    """

    def __init__(self, epochs: int, tolerance: float | None, cases: Callable[[SupervisedTrainer], WholeCases]) -> None:
        self._epochs, self._tolerance, self._cases = epochs, tolerance, cases
        self._watch: RestorationWatch | None = None  # None before the first restoring epoch
        self._best: dict[str, torch.Tensor] = {}  # the head's change to go back to

    def is_on(self, engine: SupervisedTrainer) -> bool:
        """Whether the current epoch restores."""
        return bool(engine.state.epoch > engine.state.max_epochs - self._epochs)

    def begin_epoch(self, engine: SupervisedTrainer) -> None:
        """Let only the head train if the epoch restores."""
        record_term(engine, "phase", 2 if self.is_on(engine) else 1)
        if not self.is_on(engine):
            return
        if self._watch is None:
            cases, models = self._cases(engine), (engine.network.teacher, engine.network)
            before, now = (mean_case_loss(engine, model, cases.forget, cases.inferer) for model in models)
            self._watch = RestorationWatch(self._tolerance, before, now)
            self._keep_head(engine)
        engine.optimizer.zero_grad(set_to_none=True)  # a zero gradient would still move weights with momentum
        engine.network.train_head()

    def judge_epoch(self, engine: SupervisedTrainer) -> None:
        """Keep the head if it is the best so far, and end the run if the forgotten cases came back."""
        if self._watch is None:
            return
        cases = self._cases(engine)
        forget_loss = mean_case_loss(engine, engine.network, cases.forget, cases.inferer)
        retain_loss = mean_case_loss(engine, engine.network, cases.retain, cases.inferer)
        if self._watch.see(engine.state.epoch, forget_loss=forget_loss, retain_loss=retain_loss):
            self._keep_head(engine)
        record_term(engine, "forget_returned", self._watch.epochs[-1]["returned"])
        if self._watch.stopped:
            engine.terminate()

    def end(self, engine: SupervisedTrainer) -> None:
        """Go back to the best head, and warn if the restoration could not be monitored."""
        if self._watch is None:
            if engine.state.epoch:
                warn(
                    engine,
                    f"the run ended in epoch {engine.state.epoch}, before the restoration, which is in the last "
                    f"{self._epochs} of {engine.state.max_epochs}: nothing was restored; raise the budget",
                )
            return
        engine.network.load_state_dict(self._best, strict=False)
        warn(engine, *self._watch.warnings())

    def _keep_head(self, engine: SupervisedTrainer) -> None:
        self._best = {name: value.clone() for name, value in engine.network.restoration_state().items()}

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, and the best head."""
        return {"watch": None if self._watch is None else self._watch.as_dict(), "kept": self._best}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue from the state that `state_dict` returned.

        Raises:
            InputError: if the run would restore in other epochs than before.
        """
        self._best = dict(state["kept"])
        if state["watch"] is None:
            return
        self._watch = RestorationWatch(**state["watch"])
        first = engine.state.epoch - len(self._watch.epochs) + 1
        if first != engine.state.max_epochs - self._epochs + 1:
            raise InputError(
                f"max_epochs={engine.state.max_epochs} differs from the number that the run was started with: its "
                f"restoration began in epoch {first}; resume with max_epochs={first + self._epochs - 1}"
            )
        if self._watch.stopped:
            engine.terminate()
