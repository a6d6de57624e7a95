"""Shrink and restore: damage the weights as far as the memory needs it, then restore the model on retained cases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.adapters.rewriting import shrink_and_perturb
from mu_monai.engine import warn
from mu_monai.engine.cost import TRAINED
from mu_monai.engine.stop_at_reference import REFERENCE
from mu_monai.keys import LOSS
from mu_monai.losses import Hinge
from mu_monai.measure import each_loss
from mu_monai.methods.budget import taken
from mu_monai.methods.gentle_restoration import GentleRestoration
from mu_monai.methods.method import STOPS
from mu_monai.methods.settings import POSITIVE, SHARE, Interval, OrNull, setting

logger = logging.getLogger(__name__)


def damage_of(auc: float, strength: float) -> float:
    r"""The damage that a memory needs, :math:`a = s \, (2 A - 1)^2`; 0 for one that cannot be told from none.

    Args:
        auc: how well losses tell trained from unseen patients, `A`, in [0, 1].
        strength: the damage of a model that remembers everything, `s`, in [0, 1].

    Example:
        >>> round(damage_of(1.0, 0.7), 2), damage_of(0.4, 0.7)
        (0.7, 0.0)
    """
    return strength * max(0.0, 2 * auc - 1) ** 2


@dataclass(kw_only=True)
class ShrinkAndRestore(GentleRestoration):
    r"""Forget by damage, cycle by cycle, until forget cases are answered like unseen ones and stay so.

    .. math::
        \theta \leftarrow (1 - a)\, \theta + a\, \theta_0, \qquad a = s \, (2 A - 1)^2, \qquad
        L = \ell(D_r) + w_{kd} \, L_{KD}(D_r)

    An epoch is a cycle: the weights move toward a fresh initialization :math:`\theta_0`, and one cycle of training on
    retained cases, with the original as teacher, restores the model. How much is damaged follows from how well the
    losses tell forget from unseen patients before the cycle: :math:`A`, the AUC on `validation`, is 1 for a model that
    remembers everything and 1/2 for one that remembers nothing. After a cycle, `A` is measured as the model is and
    after a probe, a few steps on retained cases as anybody could take them; the larger one counts. The run ends when it
    is within `tolerance`, or after `max_epochs` cycles. No forget image is trained on, unless the last cycle needs it
    (`hinge_weight`).

    If the images of the forget cases are gone (`forget_images_gone`), retained patients stand in for them: at most 200
    retained cases are compared with `validation`. Before the first cycle both were trained on alike, so :math:`A` is
    what the model remembers of any training patient. After a cycle the retained ones were trained on once more and the
    forgotten ones were not, so :math:`A` is an upper bound: the run does not end too early and does not damage too
    little, but may do more cycles and more damage than the forget cases would ask for.

    Args:
        strength: `s`: the damage of a model that remembers everything, in [0, 1].
        damage: `a` of every cycle, in [0, 1], instead of the one that is found; `None` to find it.
        probe_steps: steps of the probe, >= 0; 0 judges the model only as it is.
        probe_learning_rate: learning rate of the probe, > 0.
        hinge_weight: weight, in the last of several cycles, of the distance of every forget case's loss from the median
            loss of unseen cases, >= 0.

    Raises:
        InputError: for a value outside these ranges, no unseen cases, or a network that is not a `Student`.

    Source:
        Ours: the second form of `CalibratedEraseToRetain`. The damage is shrink and perturb (Ash & Adams, arXiv
        1910.08475); that unlearning by damage and distillation lasts is from UNDO (Lee et al., arXiv 2506.06278), where
        the damage is a hyper-parameter. *Erase to Retain* (arXiv 2511.16574) gives the order: strong unlearning, gentle
        restoration. The rule for `a` is a fit to what was measured on ISIC lesions and hippocampus volumes (decision
        17).

    Example:
        >>> ShrinkAndRestore(forget_loader=[], unseen_loader=[]).settings()["strength"]
        0.7
    """

    paper = "ours, after arXiv 1910.08475 and 2506.06278"
    needs: ClassVar[tuple[str, ...]] = ("retain labels", "teacher", "unseen cases")
    recipe: ClassVar[Mapping[str, Any]] = {**GentleRestoration.recipe, "max_epochs": 2}
    trials = ({}, {"method::strength": 0.9}, {"method::strength": 0.5}, {"method::kd_weight": 16.0})

    strength: float = setting(0.7, SHARE)
    damage: float | None = setting(None, OrNull(SHARE))
    probe_steps: int = setting(10, Interval(0, whole=True))
    probe_learning_rate: float = setting(1e-3, POSITIVE)
    hinge_weight: float = setting(0.0, Interval(0))
    stop_at: str | None = setting(REFERENCE, STOPS)
    _cycles: list[dict[str, float | None]] = field(default_factory=list, init=False, repr=False)
    _cycle_began: int = field(default=0, init=False, repr=False)  # sample passes before it
    _cycle_ends: int = field(default=0, init=False, repr=False)  # those at which its part of the budget is spent

    def problems(self) -> Iterator[str]:
        """Settings that contradict each other, too."""
        yield from super().problems()
        if self.stop_at is None and self.damage is None:
            yield "method#stop_at=null leaves nothing to find the damage from; give method#damage, such as 0.3"
        if self.forget_images_gone and self.hinge_weight:
            yield f"method#hinge_weight={self.hinge_weight:g} needs forget cases, whose images are gone; use 0"
        if self.stop_at is None and self.hinge_weight:
            yield (
                f"method#hinge_weight={self.hinge_weight:g} leads to the loss of unseen cases, which "
                "method#stop_at=null does not measure; use 0, or another stop_at"
            )

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Measure how well the original tells forget from unseen cases."""
        super().on_start(engine)
        if self._reference is not None and self._begun is None:
            self._begun = self._reference.begin(engine)
        if self._budget is not None and self.hinge_weight:
            self._budget.varies = True  # the last cycle's steps take forget cases, too

    def step_passes(self, retain: int, forget: int = 0) -> int:
        """Forget cases, too, if the last cycle needs them."""
        return super().step_passes(retain, forget) + (TRAINED * forget if self.hinge_weight else 0)

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Damage the weights as far as the memory before this cycle needs it, and forget the optimizer's momentum."""
        super().on_epoch_start(engine)
        self._cycle_began = taken(engine)
        if not self.can_restore(engine):
            return
        if self._budget is not None:
            cycles = engine.state.max_epochs - engine.state.epoch + 1
            self._cycle_ends = self._cycle_began + self._budget.left(engine) // cycles
        auc = self._auc()
        share = self.damage if self.damage is not None else damage_of(auc or 0.0, self.strength)
        reach = shrink_and_perturb(engine.network, share, torch.initial_seed() % 2**32)
        engine.optimizer.state.clear()
        self._cycles.append({"epoch": engine.state.epoch, "forget_auc": auc, "damage": share, "reach": reach})
        self.record(engine, "damage", share)
        before = "" if auc is None else f"AUC {auc:.3f} before, "
        logger.info("cycle %d: %sdamage %.2f", engine.state.epoch, before, share)

    def on_end(self, engine: SupervisedTrainer) -> None:
        """Warn if adapters express little of the damage; of all cycles, also those before an interruption."""
        reach = min((float(cycle["reach"] or 0.0) for cycle in self._cycles), default=1.0)
        if reach < 0.5:
            warn(
                engine,
                f"adapters express only {reach:.0%} of the damage: most of what the original knows stays; use "
                "network#trainable=all, or a larger network#r",
            )

    def _auc(self) -> float | None:
        """The AUC before this cycle; `None` if it is not measured."""
        if self._reference is not None and self._reference.watch.epochs:
            return self._reference.watch.auc
        return None if self._begun is None else self._begun[0]

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the distillation, and in the last of several cycles the hinge."""
        super().on_loss(engine)
        if self.hinge_weight and 1 < engine.state.epoch == engine.state.max_epochs:
            image, label, _ = self.forget_batch(engine)
            losses = each_loss(engine.loss_function, engine.inferer(image, engine.network), label)
            target = self._reference.watch.epochs[-1]["unseen_loss"] if self._reference is not None else 0.0
            hinge = Hinge()(losses, torch.full_like(losses, target), two_sided=True)
            self.record(engine, "hinge", hinge, len(image))
            engine.state.output[LOSS] = engine.state.output[LOSS] + self.hinge_weight * hinge

    def on_step(self, engine: SupervisedTrainer) -> None:
        """End a cycle that took its part of the budget, so that the next one can follow."""
        more = engine.state.epoch < engine.state.max_epochs
        if more and self._budget is not None and taken(engine) >= self._cycle_ends:
            engine.terminate_epoch()

    @property
    def spans_run(self) -> str | None:
        """Every cycle has a course of its own, but for the budget and the hinge."""
        if self.budget is not None:
            return "the budget is divided"
        return "the hinge is left to the last" if self.hinge_weight else None

    def progress(self, engine: SupervisedTrainer) -> float:
        """How much of the cycle is over: every cycle has a course of its own."""
        steps = max(0.0, (engine.state.iteration - 1) / engine.state.epoch_length - (engine.state.epoch - 1))
        if self._budget is None:
            return steps
        share = (taken(engine) - self._cycle_began) / max(1, self._cycle_ends - self._cycle_began)
        return max(steps, min(1.0, share))

    def further_training(self) -> Callable[[SupervisedTrainer], AbstractContextManager[None]] | None:
        """The probe: a few steps on retained cases, taken back afterwards."""
        return self._probe if self.probe_steps else None

    def further_passes(self, engine: SupervisedTrainer) -> int:
        """The sample passes of the probe."""
        return TRAINED * self.probe_steps * self._samples

    @contextmanager
    def _probe(self, engine: SupervisedTrainer) -> Iterator[None]:
        before = {name: value.clone() for name, value in engine.network.own_state().items()}
        engine.network.train()
        optimizer = torch.optim.AdamW(engine.network.trainable().values(), lr=self.probe_learning_rate)
        look = 0 if self._begun is None else self._begun[1]
        try:
            with nullcontext() if self._budget is None else self._budget.keeping(look):
                for image, label, _ in islice(self.retain_batches(engine), self.probe_steps):
                    loss = engine.loss_function(engine.inferer(image, engine.network), label)
                    self.step(engine, loss, optimizer)
            yield
        finally:
            engine.network.load_state_dict(before, strict=False)

    # -- what is kept --------------------------------------------------------------------------------------------------

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the damage of every cycle."""
        return super().measurements(engine) | {
            "damage": {"start_auc": None if self._begun is None else self._begun[0], "cycles": self._cycles}
        }

    def state_dict(self) -> dict[str, Any]:
        """The cycles so far, in addition to what every method saves."""
        return super().state_dict() | {"cycles": self._cycles}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue after the same cycles."""
        super().load_state_dict(state, engine)
        self._cycles = list(state["cycles"])
