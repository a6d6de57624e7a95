"""Rewind: go back to the weights of an epoch before the forget cases were memorized, and train on without them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

import torch
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer

from mu_monai.adapters import read_weights
from mu_monai.adapters.milestones import find_milestones
from mu_monai.adapters.rewriting import take_weights
from mu_monai.engine import warn
from mu_monai.engine.stop_at_reference import loss_auc
from mu_monai.errors import InputError
from mu_monai.measure import patient_losses
from mu_monai.methods.gentle_restoration import GentleRestoration
from mu_monai.methods.settings import OrNull, Text, setting

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """What was measured at a milestone: how well the losses tell forget from unseen patients, and the unseen loss."""

    epoch: int
    forget_auc: float
    unseen_loss: float


@dataclass(kw_only=True)
class Rewind(GentleRestoration):
    r"""Go back to the latest milestone that does not tell forget cases from unseen ones, then restore on retained ones.

    .. math::
        \theta \leftarrow \theta_{e^*}, \quad e^* = \max \{e : A_e \le \tfrac12 + \tau\}, \quad
        A_e = P_e(L_{forget} < L_{unseen}), \qquad L = \ell(D_r) + w_{kd} \, L_{KD}(D_r)

    over patients, with the `tolerance` :math:`\tau`. What was learned after :math:`e^*` is gone, since none of these
    weights are kept; what an earlier epoch learned from the forget cases stays, and `tolerance` says how much of it can
    be told. With `budget=0` nothing is trained: the result is the milestone.

    Args:
        milestones: the folder with the weights of earlier epochs; see `mu_monai.adapters.milestones`.

    Raises:
        InputError: for a value outside its range, no milestones, weights of another network, no unseen cases, adapters
            instead of all weights, or a network that is not a `Student`.

    Source:
        Mu & Klabjan, *Rewind-to-Delete* (arXiv 2409.09778): an earlier checkpoint, then training on retained data; with
        full-batch gradient descent and noise it is certified. AdamW, batches and the choice of the milestone by the
        losses are ours, and carry no certificate; so is the distillation from the original.

    Example:
        >>> Rewind(forget_loader=[]).needs
        ('retain labels', 'teacher', 'unseen cases', 'milestones')
    """

    paper = "Mu & Klabjan 2024, arXiv 2409.09778"
    needs: ClassVar[tuple[str, ...]] = ("retain labels", "teacher", "unseen cases", "milestones")
    trials = ({}, {"method::tolerance": 0.02}, {"method::kd_weight": 0.0}, {"learning_rate": 1e-3})

    milestones: str | None = setting(None, OrNull(Text("a folder with weights of earlier epochs")))
    _measured: list[Milestone] = field(default_factory=list, init=False, repr=False)
    _chosen: int = field(default=0, init=False, repr=False)

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Measure the milestones, latest first, and take the first that does not tell forget from unseen cases."""
        if self.unseen_loader is None or not len(self.unseen_loader):
            raise InputError(
                "Rewind compares forget cases with unseen ones, and the split has none: give it validation cases "
                "(--validation)"
            )
        if self.milestones is None:
            raise InputError(
                "Rewind needs the weights of earlier epochs: give the folder of the teacher's milestones "
                "(--milestones), or train a teacher that keeps them (milestones=6)"
            )
        files = find_milestones(self.milestones)
        for epoch in sorted(files, reverse=True):
            self._take(engine, files[epoch])
            self._measured.append(self._measure(engine, epoch))
            if self._measured[-1].forget_auc <= 0.5 + self.tolerance:
                break
        else:
            warn(engine, self._told_from_the_start())
            best = min(self._measured, key=lambda milestone: milestone.forget_auc)
            self._take(engine, files[best.epoch])
        self._chosen = min(self._measured, key=lambda milestone: milestone.forget_auc).epoch
        logger.info("%s", self._choice())

    def _take(self, engine: SupervisedTrainer, file: Path) -> None:
        kept = take_weights(engine.network, read_weights(file))
        if kept:
            warn(
                engine,
                f"{', '.join(kept[:4])}{' and others' if len(kept) > 4 else ''} are weights outside of layers, which "
                "stay as they are in the original and were not taken back",
            )

    def _measure(self, engine: SupervisedTrainer, epoch: int) -> Milestone:
        cases = self.measured(engine)
        unseen_cases: Any = self.unseen_loader if self.whole is None else self.whole.unseen
        for loader in (cases.forget, unseen_cases):
            set_rnd(getattr(loader, "dataset", None), torch.initial_seed() % 2**32)
        forget, unseen = (
            patient_losses(engine, engine.network, loader, cases.inferer) for loader in (cases.forget, unseen_cases)
        )
        return Milestone(epoch=epoch, forget_auc=loss_auc(forget, unseen), unseen_loss=mean(unseen))

    def _choice(self) -> str:
        chosen = next(milestone for milestone in self._measured if milestone.epoch == self._chosen)
        text = f"took the weights after epoch {chosen.epoch} (AUC {chosen.forget_auc:.3f})"
        later = [milestone for milestone in self._measured if milestone.epoch > chosen.epoch]
        if later:
            next_one = min(later, key=lambda milestone: milestone.epoch)
            text += (
                f"; those after epoch {next_one.epoch} tell forget from unseen cases (AUC {next_one.forget_auc:.3f}), "
                f"and would be taken with method#tolerance={next_one.forget_auc - 0.5:.3f}"
            )
        return text

    def _told_from_the_start(self) -> str:
        first = self._measured[-1]
        return (
            f"every milestone tells forget cases from unseen ones: even the first, after epoch {first.epoch}, does "
            f"(AUC {first.forget_auc:.3f}, allowed 0.5 + {self.tolerance:g}); the one with the lowest AUC was taken. "
            "Train a teacher with more milestones, or use a method that does not need them"
        )

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the milestones and the one that was taken."""
        milestones = [asdict(milestone) for milestone in self._measured]
        return super().measurements(engine) | {"rewind": {"epoch": self._chosen, "milestones": milestones}}

    def state_dict(self) -> dict[str, Any]:
        """The choice, in addition to what every method saves."""
        milestones = [asdict(milestone) for milestone in self._measured]
        return super().state_dict() | {"milestones": milestones, "chosen": self._chosen}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue with the same choice."""
        super().load_state_dict(state, engine)
        self._measured = [Milestone(**milestone) for milestone in state["milestones"]]
        self._chosen = state["chosen"]
