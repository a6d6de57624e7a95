"""Rewind: go back to the weights of an epoch before anybody was memorized, and train on without the forget cases."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import torch
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer

from mu_monai.adapters import read_weights
from mu_monai.adapters.milestones import find_milestones, memorized_at
from mu_monai.adapters.rewriting import take_weights
from mu_monai.engine import warn
from mu_monai.engine.milestones import rising
from mu_monai.engine.schedule import CONSTANT, SCHEDULES
from mu_monai.engine.stop_at_reference import loss_auc, some_of
from mu_monai.engine.weight_mean import WeightMean
from mu_monai.errors import InputError
from mu_monai.measure import patient_losses
from mu_monai.methods.gentle_restoration import GentleRestoration
from mu_monai.methods.settings import SHARE, Interval, OneOf, OrNull, Text, setting

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """A milestone, and how well losses tell training from unseen patients there, in [0, 1].

    Args:
        epoch: after which it was kept.
        memorized: the AUC as it was measured.
        smoothed: the same on the nearest curve over all milestones that does not fall.
    """

    epoch: int
    memorized: float
    smoothed: float


@dataclass(kw_only=True)
class Rewind(GentleRestoration):
    r"""Go back to the latest milestone before any patient was memorized, then restore on retained cases.

    .. math::
        \theta \leftarrow \theta_{e^*}, \quad e^* = \max \{e : \hat A_e \le \tfrac12 + \tau\}, \quad
        A_e = P_e(L_{trained} < L_{unseen}), \qquad L = \ell(D_r) + w_{kd} \, L_{KD}(D_r)

    over patients, with the `tolerance` :math:`\tau` and the nearest curve :math:`\hat A` that does not fall. Memory
    does not fall while a model trains on the same patients, so a low AUC after higher ones is not believed, nor a high
    one before lower ones.

    Up to a milestone the forget cases were trained on as all others were, so all training patients are compared with
    those of `validation`: that is more exact than the forget cases alone, holds for a single one, and is not misled by
    forget cases that are easier or harder than others. The training itself has measured it; milestones from elsewhere
    are measured before the first step, on at most 200 retained cases.

    The learning rate is constant, and the result is the mean of the weights over the second half of the steps: it keeps
    more of unseen cases than a single cycle of the same length, and less of the forgotten, since every step is large.
    Batches are half as large as those of the training. For volumes a rate of 2e-3 was better (decision 29). The
    original does not teach, unless `kd_weight` is set: what it answers on others' cases may carry a trace of the
    forgotten.

    What was learned after :math:`e^*` is gone, since none of these weights are kept. What an earlier epoch learned from
    the forget cases stays. With `budget=0` nothing is trained: the result is the milestone.

    Args:
        tolerance: how far above 0.5 a milestone's AUC may be, in (0, 0.5). The result may keep as much memory of the
            forget cases, so that the default is what a verdict of an audit tolerates. With 0.08 it goes back less far:
            unseen cases keep more Dice at a small budget, and two of three models of nine classes were UNDER-FORGOTTEN
            (docs/results/cost-and-depth.md).
        average_from: the share of the run after which weights count in the mean, in [0, 1]; 1 for the last weights.
        milestones: the folder with the weights of earlier epochs; see `mu_monai.adapters.milestones`.

    Raises:
        InputError: for a value outside its range, `stop_at` with a mean, no milestones, weights of another network, no
            unseen cases, adapters instead of all weights, or a network that is not a `Student`.

    Source:
        Mu & Klabjan, *Rewind-to-Delete* (arXiv 2409.09778): an earlier checkpoint, then training on retained data; with
        full-batch gradient descent and noise it is certified. AdamW, batches, the choice of the milestone by the
        losses and the mean of the weights are ours, and carry no certificate.

    Example:
        >>> Rewind(forget_loader=[]).needs
        ('retain labels', 'teacher', 'milestones')
    """

    paper = "Mu & Klabjan 2024, arXiv 2409.09778"
    needs: ClassVar[tuple[str, ...]] = ("retain labels", "teacher", "milestones")
    recipe: ClassVar[Mapping[str, Any]] = {
        **GentleRestoration.recipe,
        "epoch_length": 120,
        "learning_rate": 1e-3,
    }
    batch_share = 0.5
    trials = ({}, {"learning_rate": 2e-3}, {"method::kd_weight": 4.0}, {"learning_rate": 5e-4})

    kd_weight: float = setting(0.0, Interval(0))
    tolerance: float = setting(0.05, Interval(0, 0.5, closed="neither"))
    lr_schedule: str = setting(CONSTANT, OneOf(*SCHEDULES))
    average_from: float = setting(0.5, SHARE)
    milestones: str | None = setting(None, OrNull(Text("a folder with weights of earlier epochs")))
    _mean: WeightMean = field(default_factory=WeightMean, init=False, repr=False)
    _seen: list[Milestone] = field(default_factory=list, init=False, repr=False)  # by epoch
    _chosen: int = field(default=0, init=False, repr=False)

    def problems(self) -> Iterator[str]:
        """Settings that contradict each other, too."""
        yield from super().problems()
        if self.stop_at is not None and self.average_from < 1:
            yield (
                f"method#stop_at='{self.stop_at}' keeps the weights of one epoch, but the result is the mean over "
                "steps; leave stop_at out, or give method#average_from=1"
            )

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Look at the milestones, and take the latest that has not memorized its patients."""
        if self.milestones is None:
            raise InputError(
                "Rewind needs the weights of earlier epochs: give the folder of the teacher's milestones "
                "(--milestones), or train a teacher that keeps them (milestones=12)"
            )
        files = find_milestones(self.milestones)
        memorized = [self._memorized(engine, file) for file in files.values()]
        both = zip(files, memorized, rising(memorized), strict=True)
        self._seen = [Milestone(epoch=epoch, memorized=auc, smoothed=smoothed) for epoch, auc, smoothed in both]
        allowed = [seen.epoch for seen in self._seen if seen.smoothed <= 0.5 + self.tolerance]
        if not allowed:
            warn(engine, self._memorized_from_the_start())
        if (error := self._standard_error(engine)) > self.tolerance:
            warn(
                engine,
                f"the milestone was chosen by an AUC with a standard error of about {error:.2f}, more than the "
                f"tolerance of {self.tolerance:g}, since validation cases are few: it may be by chance. Look at the "
                "Dice or accuracy of the result, and hold out more patients next time",
            )
        self._chosen = allowed[-1] if allowed else self._seen[0].epoch
        self._take(engine, files[self._chosen])
        logger.info("%s", self._choice())

    @property
    def spans_run(self) -> str | None:
        """The mean is of the last part of the run."""
        return super().spans_run or ("the mean of the weights is taken" if self.average_from < 1 else None)

    def on_step(self, engine: SupervisedTrainer) -> None:
        """Count the weights in the mean."""
        if self.progress(engine) >= self.average_from:
            self._mean.add(engine.network)

    def on_epoch(self, engine: SupervisedTrainer) -> None:
        """Take the mean after the last epoch, before its scores."""
        spent = self._budget is not None and self._budget.is_spent(engine)
        if spent or engine.state.epoch == engine.state.max_epochs:
            self._mean.take(engine.network)

    def _memorized(self, engine: SupervisedTrainer, file: Path) -> float:
        known = memorized_at(file)
        if known is not None:
            return known
        self._take(engine, file)
        return self._memorized_auc(engine)

    def _memorized_auc(self, engine: SupervisedTrainer) -> float:
        """Forget and retained cases together, at most 200 of the latter, against those of `unseen_loader`."""
        cases, unseen = self.measured(engine), self.unseen_cases
        if unseen is None or not len(unseen):
            raise InputError(
                "Rewind compares training with unseen cases, and the split has none: give it validation cases "
                "(--validation)"
            )
        for loader in (cases.forget, cases.retain, unseen):
            set_rnd(getattr(loader, "dataset", None), torch.initial_seed() % 2**32)
        trained = chain(cases.forget, some_of(cases.retain))
        losses = [patient_losses(engine, engine.network, part, cases.inferer) for part in (trained, unseen)]
        return loss_auc(*losses)

    def _take(self, engine: SupervisedTrainer, file: Path) -> None:
        kept = take_weights(engine.network, read_weights(file))
        if kept:
            warn(
                engine,
                f"{', '.join(kept[:4])}{' and others' if len(kept) > 4 else ''} are weights outside of layers, which "
                "stay as they are in the original and were not taken back",
            )

    def _choice(self) -> str:
        chosen = next(milestone for milestone in self._seen if milestone.epoch == self._chosen)
        later = self._next_choice()
        text = f"took the weights after epoch {chosen.epoch} (AUC of training against unseen patients "
        text += f"{chosen.memorized:.3f}, smoothed {chosen.smoothed:.3f})"
        if later is not None:
            text += f"; those after epoch {later.epoch} have {later.memorized:.3f}, smoothed {later.smoothed:.3f}"
            tolerance = math.ceil(1000 * (later.smoothed - 0.5)) / 1000
            if tolerance < 0.5:
                text += f", and would be taken with method#tolerance={tolerance:.3f}"
        return text

    def _standard_error(self, engine: SupervisedTrainer) -> float:
        """That of an AUC of 0.5, if every case were a patient; 0 if there are no unseen cases to count."""
        cases, unseen = self.measured(engine), self.unseen_cases
        sizes = [len(getattr(loader, "dataset", ())) for loader in (cases.retain, cases.forget, unseen)]
        trained, held_out = sizes[0] + sizes[1], sizes[2]
        if not trained or not held_out:
            return 0.0
        return math.sqrt((trained + held_out + 1) / (12 * trained * held_out))

    def _next_choice(self) -> Milestone | None:
        """What the next higher tolerance takes: of milestones with the same smoothed value, the latest."""
        after = [milestone for milestone in self._seen if milestone.epoch > self._chosen]
        return next((milestone for milestone in reversed(after) if milestone.smoothed == after[0].smoothed), None)

    def _memorized_from_the_start(self) -> str:
        first = self._seen[0]
        return (
            f"even the first milestone, after epoch {first.epoch}, tells training from unseen patients by their losses "
            f"(AUC {first.memorized:.3f}, smoothed {first.smoothed:.3f}, allowed 0.5 + {self.tolerance:g}); it was "
            "taken, since it has memorized the least. Train a teacher with more milestones, or use a method that does "
            "not need them"
        )

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the milestones that were looked at and the one that was taken."""
        return super().measurements(engine) | {"rewind": self._state()}

    def state_dict(self) -> dict[str, Any]:
        """The choice and the mean, in addition to what every method saves."""
        return super().state_dict() | self._state() | {"mean": self._mean.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue with the same choice and mean."""
        super().load_state_dict(state, engine)
        self._seen = [Milestone(**milestone) for milestone in state["milestones"]]
        self._chosen = state["epoch"]
        self._mean.load_state_dict(state["mean"])

    def _state(self) -> dict[str, Any]:
        return {"epoch": self._chosen, "milestones": [asdict(milestone) for milestone in self._seen]}
