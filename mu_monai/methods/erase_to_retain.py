"""Erase to Retain: low-rank adapters distill the teacher on retained cases and unlearn its answers on forget cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.adapters import captured, clip_drift
from mu_monai.engine.divided import weighted
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import IMAGE, LABEL, LOSS, PRED
from mu_monai.losses import (
    DIRECTIONS,
    FORGET_TERMS,
    Distillation,
    Guard,
    answered,
    labeled,
    over_places,
)
from mu_monai.measure import Margins, margins
from mu_monai.methods.budget import MOST
from mu_monai.methods.erase_to_retain_rules import TWO_PHASE, conflicts, misfits
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.restoration import Restoration
from mu_monai.methods.settings import (
    COUNT,
    FLAG,
    POSITIVE,
    SHARE,
    Interval,
    OneOf,
    OrNull,
    Several,
    Text,
    Weights,
    setting,
)
from mu_monai.methods.teacher_answers import TeacherAnswers
from mu_monai.processes import own_batches

SCHEDULES = ("joint", "alternate_epoch", "alternate_step", TWO_PHASE)
REDUCTIONS = ("mean", "sum")


@dataclass(kw_only=True)
class EraseToRetain(UnlearningMethod):
    r"""Distill on the retain set and unlearn the forget set, through adapters; then, if requested, restore the head.

    .. math::
        L = \underbrace{L_{sup} + w_{kd} L_{KD} + w_{guard} L_{guard}}_{\text{retain}}
          + \underbrace{w_{forget} \sum_k w_k L_k}_{\text{forget}}

    The forget terms `L_k` are those of `mu_monai.losses.FORGET_TERMS`; by default only the background term is used.
    Each term is recorded under its own name without its weight, and so are `supervised`, `distillation` and `guard`.

    With `forget_classes`, classes of a mask are forgotten instead of cases. The forget terms then act on the voxels
    labeled as such a class. Distillation and guard act, also on forget batches, on the voxels that neither the label
    nor the teacher assigns to one. Voxels that only the teacher assigns to one are left to the supervised loss, because
    distillation would teach the class.

    Args:
        forget_loader: batches of forget cases with labels; to forget classes, batches of training cases that contain
            them. Labels are used to forget classes, and by the terms `label_flip` and `random_label`.
        forget_classes: channels of a softmax mask, 1 or higher, that are forgotten in all cases; the labels of the
            trainer's own batches must have them as background. Empty to forget cases.
        forget_terms: the forget terms by name with their weights, >= 0.
        mixed_targets: allow forget terms that pull toward different answers, as section 3 of the paper sums them.
        forget_weight: weight of all forget terms together, >= 0 (the paper's lambda).
        kd_weight: weight of the distillation term, >= 0 (the paper's alpha).
        temperature: distillation temperature, > 0.
        kd_direction: `forward` (teacher || student), `reverse` or `js`.
        guard_weight: weight of the guard term, >= 0 (the paper's beta).
        guard_reduction: `mean` or `sum` over pixels; the weight is meant for `mean`.
        confidence: the teacher's probability above which `teacher_contradiction` contradicts it, in [0.5, 1).
        feature_layer: the layer whose pooled output is compared by `repulsion` and in the measured margin; by default
            the last encoder stage.
        schedule: `joint`: one retain and one forget batch in every step (section 4, eq. 11); `alternate_step`: a step
            on a forget batch after each step on a retain batch (section 3); `alternate_epoch`: all retain batches, then
            all forget batches (the released code); `two_phase`: `joint`, then `restore_epochs` epochs in which only the
            head trains, on the retain set (abstract).
        restore_epochs: number of the run's last epochs that restore, at least 1; for `two_phase`.
        restore_learning_rate: learning rate of these epochs, > 0; for `two_phase`.
        restore_tolerance: restoration stops when the loss of the forget cases has returned by more than this share of
            the way to the teacher's, in [0, 1]; `None` to monitor without stopping. The epoch with the lowest loss on
            retained cases within the tolerance is kept.
        max_adapter_norm: maximum distance of the adapted weights from the teacher's (Frobenius norm over all layers,
            without the head's restoration), > 0; `None` for no limit.

    Raises:
        InputError: for a value outside these ranges, forget terms that contradict each other or do not apply to the
            task or to `forget_classes`, or a network that is not a `Student`.

    Source:
        arXiv 2511.16574: section 4, eqs. 2-12, with the settings of section 5.2, are the defaults; the forget terms
        of section 3 as a descent objective, since its signs do not fit the ascent that it prints; the two phases of the
        abstract, for whose restoration the paper gives no numbers (epochs, rate and tolerance are ours). Forgetting
        classes of a mask is our extension. The teacher's logits come from the same network with its adapters off.

    Example:
        >>> EraseToRetain(forget_loader=[], forget_weight=2.0).settings()["forget_weight"]
        2.0
    """

    paper = "arXiv 2511.16574"
    replicable = True
    needs = ("retain labels", "teacher")
    recipe: ClassVar[Mapping[str, Any]] = {"preset": None, "max_epochs": 15, "learning_rate": 1e-4}
    trials = ({}, {"method::forget_weight": 0.3}, {"learning_rate": 3e-4}, {"learning_rate": 1e-3})
    forgets_classes = True

    forget_classes: Sequence[int] = setting([], Several(COUNT, "channels from 1 up, as 0 is the background"))
    forget_terms: Mapping[str, float] = setting({"background": 1.0}, Weights(FORGET_TERMS))
    mixed_targets: bool = setting(False, FLAG)
    forget_weight: float = setting(3.0, Interval(0))
    kd_weight: float = setting(1.0, Interval(0))
    temperature: float = setting(2.0, POSITIVE)
    kd_direction: str = setting("forward", OneOf(*DIRECTIONS))
    guard_weight: float = setting(0.05, Interval(0))
    guard_reduction: str = setting("mean", OneOf(*REDUCTIONS))
    confidence: float = setting(0.8, Interval(0.5, 1, closed="left"))
    feature_layer: str | None = setting(None, OrNull(Text("the name of a layer")))
    schedule: str = setting("joint", OneOf(*SCHEDULES))
    restore_epochs: int = setting(3, COUNT)
    restore_learning_rate: float = setting(1e-5, POSITIVE)
    restore_tolerance: float | None = setting(0.1, OrNull(SHARE))
    max_adapter_norm: float | None = setting(None, OrNull(POSITIVE))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.forget_terms, self.forget_classes = dict(self.forget_terms), list(self.forget_classes)
        softmax = self.is_softmax
        self._distillation = Distillation(self.temperature, self.kd_direction, softmax)
        self._teacher = TeacherAnswers()
        self._guard = Guard(self.guard_reduction)
        settings = {"teacher_contradiction": {"threshold": self.confidence}}
        self._terms = {
            name: FORGET_TERMS[name].make(softmax=softmax, **settings.get(name, {})) for name in self.forget_terms
        }
        self._inputs = {source for name in self._terms for source in FORGET_TERMS[name].inputs}
        self._inputs |= {"teacher"} if self.forget_classes else set()
        self._restoration: Restoration | None = None
        if self.schedule == TWO_PHASE:
            self._restoration = Restoration(self.restore_epochs, self.restore_tolerance, self.measured)

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings, as sentences."""
        yield from super().problems()
        allowed = self.allowed()
        if all(allowed[name].fits(getattr(self, name)) for name in ("task", "forget_terms", "forget_classes")):
            yield from conflicts(self)

    # -- the trainer's events ------------------------------------------------------------------------------------------

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Refuse what cannot work before training starts, and set up the restoration."""
        if self.feature_layer is None:
            self.feature_layer = engine.network.feature_layer
        raise_if_any(misfits(self, engine))
        if self._budget is not None and self.schedule == "alternate_epoch":
            self._pass = MOST * self._forget_samples * len(self.forget_loader)
            self._budget.reserve += self._pass  # the pass over the forget set that ends an epoch
        if self._restoration is not None:
            head = engine.network.add_restoration()
            engine.optimizer.add_param_group({"params": head, "lr": self.restore_learning_rate})

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Begin a new pass over the forget set and, in the second phase, let only the head train."""
        super().on_epoch_start(engine)
        if self._restoration is not None:
            self._restoration.begin_epoch(engine)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the retain terms and, if both share a step, the forget terms to the supervised loss."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        if self._restores(engine):
            return
        if self.forget_classes and labeled(output[LABEL], output[PRED], self.forget_classes).any():
            raise InputError(
                f"the trainer's labels contain classes of method#forget_classes={self.forget_classes}, which would be "
                "learned again; make them background in the labels, as a bundle's config id forget_classes does"
            )
        distillation, guard = self._retain_terms(engine, output[PRED], self._teacher(engine), output[LABEL])
        total = output[LOSS] + self.kd_weight * distillation + self.guard_weight * guard
        if self.schedule in ("joint", TWO_PHASE):
            total = total + self._forget_loss(engine)
        output[LOSS] = total

    def on_step(self, engine: SupervisedTrainer) -> None:
        """Take a step on a forget batch if they alternate by step, and keep the adapters within their limit."""
        if self._restores(engine):
            return
        if self.schedule == "alternate_step":
            self._forget_step(engine)
        self._limit(engine)

    def on_epoch(self, engine: SupervisedTrainer) -> None:
        """Pass once over the forget set if they alternate by epoch; evaluate the epoch if it restored."""
        if self.schedule == "alternate_epoch":
            engine.network.train()
            with nullcontext() if self._budget is None else self._budget.keeping(self._budget.reserve - self._pass):
                for _ in range(len(self.forget_loader)):
                    if self._is_spent(engine, self._forget_samples):
                        break
                    self._forget_step(engine)
                    self._limit(engine)
        if self._restoration is not None:
            self._restoration.judge_epoch(engine)

    def on_end(self, engine: SupervisedTrainer) -> None:
        """Go back to the best epoch of the restoration, and warn if it could not be monitored."""
        if self._restoration is not None:
            self._restoration.end(engine)

    # -- its parts -----------------------------------------------------------------------------------------------------

    def _restores(self, engine: SupervisedTrainer) -> bool:
        return self._restoration is not None and self._restoration.is_on(engine)

    def _retain_terms(
        self, engine: SupervisedTrainer, student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.forget_classes:
            others = ~(labeled(label, teacher, self.forget_classes) | answered(teacher, self.forget_classes))
            distillation, guard = (
                over_places(term, others, student, teacher) for term in (self._distillation, self._guard)
            )
        else:
            distillation, guard = self._distillation(student, teacher), self._guard(student, teacher)
        self.record(engine, "distillation", distillation, len(student))
        self.record(engine, "guard", guard, len(student))
        return distillation, guard

    def _forget_loss(self, engine: SupervisedTrainer) -> torch.Tensor:
        image, label, _ = self.forget_batch(engine)
        student, values = engine.network, {"label": label}
        layer = self.feature_layer if "student_features" in self._inputs else None
        with captured(student.get_base_model(), layer) as features:
            values["student"] = engine.inferer(image, student)
            if self._inputs & {"teacher", "teacher_features"}:
                values["teacher"] = engine.inferer(image, student.teacher)
        if layer is not None:
            half = len(features) // 2  # a sliding window runs the layer several times
            seen = weighted(engine, image, torch.cat(features[:half]).float())
            values |= {"student_features": seen, "teacher_features": torch.cat(features[half:]).float()}
        total = retained = torch.zeros((), device=image.device)
        if self.forget_classes:
            distillation, guard = self._retain_terms(engine, values["student"], values["teacher"], label)
            retained = self.kd_weight * distillation + self.guard_weight * guard
            chosen = labeled(label, values["student"], self.forget_classes)
        for name, term in self._terms.items():
            inputs = [values[source] for source in FORGET_TERMS[name].inputs]
            value = over_places(term, chosen, *inputs) if self.forget_classes else term(*inputs)
            self.record(engine, name, value, len(image))
            total = total + self.forget_terms[name] * value
        return self.forget_weight * total + retained

    def _forget_step(self, engine: SupervisedTrainer) -> None:
        self.step(engine, self._forget_loss(engine))

    def _limit(self, engine: SupervisedTrainer) -> None:
        if self.max_adapter_norm is not None:
            clip_drift(engine.network, self.max_adapter_norm)

    # -- what is kept --------------------------------------------------------------------------------------------------

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """How far the weights, answers and features moved, and what restoration did."""
        measured = super().measurements(engine)
        measured["drift"]["limit"] = self.max_adapter_norm
        return measured | {"restoration": self._restored()["watch"]}

    def measured_margins(self, engine: SupervisedTrainer) -> Margins:
        """How much student and teacher differ on the forget cases or, if classes are forgotten, on all cases."""
        whole = self.measured(engine)
        cases = chain(*map(own_batches, (whole.retain, whole.forget))) if self.forget_classes else whole.forget
        return margins(engine, cases, softmax=self.is_softmax, feature_layer=self.feature_layer, inferer=whole.inferer)

    def state_dict(self) -> dict[str, Any]:
        """The restoration so far, in addition to what every method saves."""
        return super().state_dict() | self._restored()

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue the restoration where it was."""
        super().load_state_dict(state, engine)
        if self._restoration is not None:
            self._restoration.load_state_dict(state, engine)

    def _restored(self) -> dict[str, Any]:
        return {"watch": None, "kept": {}} if self._restoration is None else self._restoration.state_dict()
