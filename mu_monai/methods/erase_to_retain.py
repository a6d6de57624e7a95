"""Erase to Retain: low-rank adapters distil the teacher on retained cases and unlearn its answers on forget cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.adapters import captured, clip_drift
from mu_monai.engine import warn
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CLASSIFICATION, IMAGE, LABEL, LOSS, PRED, SEGMENTATION
from mu_monai.losses import (
    DIRECTIONS,
    FORGET_TERMS,
    Distillation,
    Guard,
    answered,
    contradictions,
    labelled,
    over_places,
    unrestrictable,
)
from mu_monai.measure import Margins, margins, mean_case_loss
from mu_monai.methods.method import UnlearningMethod, choice_problems, range_problems, require_student
from mu_monai.methods.watchdog import RestorationWatch

SCHEDULES = ("joint", "alternate_epoch", "alternate_step", "two_phase")


@dataclass(kw_only=True)
class EraseToRetain(UnlearningMethod):
    r"""Distil the retain set and unlearn the forget set, through adapters; then, if asked, restore the head.

    .. math::
        L = \underbrace{L_{sup} + w_{kd} L_{KD} + w_{guard} L_{guard}}_{\text{retain}}
          + \underbrace{w_{forget} \sum_k w_k L_k}_{\text{forget}}

    The forget terms `L_k` are those of `mu_monai.losses.FORGET_TERMS`; by default it is the background term alone. Each
    term is recorded under its own name without its weight, and so are `supervised`, `distillation` and `guard`.

    With `forget_classes`, classes of a mask are forgotten instead of cases. The forget terms then act on the voxels
    with the label of such a class; distillation and guard, on forget batches too, on those that neither label nor
    teacher gives to one. What the teacher alone takes for one is left to the supervised loss: distilling it teaches it.

    Args:
        forget_loader: batches of forget cases, or to forget classes of training cases that contain them, with labels.
            Labels are used to forget classes, and by the terms `label_flip` and `random_label`.
        forget_classes: channels of a softmax mask, from 1 on, that are forgotten in all cases; the labels of the
            trainer's own batches must have them as background. Empty to forget cases.
        forget_terms: the forget terms by name with their weights, >= 0.
        mixed_targets: allow forget terms that pull to different answers, as section 3 of the paper sums them.
        forget_weight: weight of all forget terms together, >= 0 (the paper's lambda).
        kd_weight: weight of the distillation term, >= 0 (the paper's alpha).
        temperature: distillation temperature, > 0.
        kd_direction: `forward` (teacher || student), `reverse` or `js`.
        guard_weight: weight of the guard term, >= 0 (the paper's beta).
        guard_reduction: `mean` or `sum` over pixels; the weight is meant for `mean`.
        confidence: the teacher's probability above which `teacher_contradiction` contradicts it, in [0.5, 1).
        feature_layer: the layer whose pooled output `repulsion` and the measured margin compare; by default the last
            encoder stage.
        schedule: `joint`: one retain and one forget batch in every step (section 4, eq. 11); `alternate_step`: a step
            on a forget batch after each step on a retain batch (section 3); `alternate_epoch`: all retain batches, then
            all forget batches (the released code); `two_phase`: `joint`, then `restore_epochs` epochs in which the head
            alone learns the retain set (abstract).
        restore_epochs: how many of the run's last epochs restore, at least 1; for `two_phase`.
        restore_learning_rate: of these epochs, > 0; for `two_phase`.
        restore_tolerance: restoration stops when the loss of the forget cases has come back by more than this share of
            the way to the teacher's, in [0, 1]; none to watch without stopping. The epoch with the lowest loss on
            retained cases within the tolerance is kept.
        max_adapter_norm: keep the adapted weights at most this far from the teacher's (Frobenius norm over all layers,
            the head's restoration aside), > 0; none for no limit.

    Raises:
        InputError: for a value outside these ranges, forget terms that contradict each other or mean nothing for the
            task or for `forget_classes`, or a network that is no `Student`.

    Source:
        arXiv 2511.16574: section 4, eqs. 2-12, with the settings of section 5.2, are the defaults; the forget terms
        of section 3 as a descent objective, since its signs do not fit the ascent that it prints; the two phases of the
        abstract, whose restoration has no number in the paper (epochs, rate and tolerance are ours). Forgetting
        classes of a mask is our extension. The teacher's logits come from the same network with its adapters off.

    Example:
        >>> EraseToRetain(forget_loader=[], forget_weight=2.0).settings()["forget_weight"]
        2.0
    """

    paper = "arXiv 2511.16574"
    needs = ("retain labels", "teacher")
    recipe: ClassVar[Mapping[str, Any]] = {"preset": None, "max_epochs": 15, "learning_rate": 1e-4}
    trials = ({}, {"method::forget_weight": 0.3}, {"learning_rate": 3e-4}, {"learning_rate": 1e-3})

    forget_classes: Sequence[int] = ()
    forget_terms: Mapping[str, float] = field(default_factory=lambda: {"background": 1.0})
    mixed_targets: bool = False
    forget_weight: float = 3.0
    kd_weight: float = 1.0
    temperature: float = 2.0
    kd_direction: str = "forward"
    guard_weight: float = 0.05
    guard_reduction: str = "mean"
    confidence: float = 0.8
    feature_layer: str | None = None
    schedule: str = "joint"
    restore_epochs: int = 3
    restore_learning_rate: float = 1e-5
    restore_tolerance: float | None = 0.1
    max_adapter_norm: float | None = None

    def __post_init__(self) -> None:
        self.forget_terms, self.forget_classes = dict(self.forget_terms), list(self.forget_classes)
        super().__post_init__()
        softmax = self.is_softmax
        self._distillation = Distillation(self.temperature, self.kd_direction, softmax)
        self._guard = Guard(self.guard_reduction)
        settings = {"teacher_contradiction": {"threshold": self.confidence}}
        self._terms = {
            name: FORGET_TERMS[name].make(softmax=softmax, **settings.get(name, {})) for name in self.forget_terms
        }
        self._inputs = {source for name in self._terms for source in FORGET_TERMS[name].inputs}
        self._inputs |= {"teacher"} if self.forget_classes else set()
        self._watch: RestorationWatch | None = None
        self._kept: dict[str, torch.Tensor] = {}  # the head's change to go back to

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings, as sentences."""
        yield from super().problems()
        yield from self._range_problems()
        yield from self._choice_problems()
        yield from self._class_problems()

    def _range_problems(self) -> Iterator[str]:
        weights = {name: getattr(self, name) for name in ("kd_weight", "guard_weight", "forget_weight")}
        weights |= {f"forget_terms#{name}": weight for name, weight in self.forget_terms.items()}
        rates = {name: getattr(self, name) for name in ("temperature", "restore_learning_rate")}
        limits = {"max_adapter_norm": self.max_adapter_norm, "restore_tolerance": self.restore_tolerance}
        norm, tolerance = ({name: value} if value is not None else {} for name, value in limits.items())
        yield from range_problems(weights, "a number of 0 or more", lambda value: 0 <= value < math.inf)
        yield from range_problems(rates | norm, "a number above 0", lambda value: 0 < value < math.inf)
        yield from range_problems({"confidence": self.confidence}, "a probability in [0.5, 1)", lambda p: 0.5 <= p < 1)
        yield from range_problems(tolerance, "a share in [0, 1] or null", lambda share: 0 <= share <= 1)
        epochs = {"restore_epochs": self.restore_epochs}
        yield from range_problems(epochs, "1, 2 ... epochs", lambda value: value >= 1 and isinstance(value, int))

    def _choice_problems(self) -> Iterator[str]:
        choices: dict[str, tuple[Any, ...]] = {
            "schedule": SCHEDULES,
            "kd_direction": DIRECTIONS,
            "guard_reduction": ("mean", "sum"),
            "mixed_targets": (True, False),
        }
        yield from choice_problems({name: getattr(self, name) for name in choices}, choices)
        if self.stop_at is not None and self.schedule == "two_phase":
            yield (
                f"method#stop_at='{self.stop_at}' chooses among epochs of one kind, and two_phase restores in "
                "its last ones; use another schedule, or leave stop_at out"
            )
        if not self.forget_terms:
            yield f"method#forget_terms is empty; name at least one of {', '.join(FORGET_TERMS)}"
        yield from contradictions(self.forget_terms, self.task, mixed_targets=self.mixed_targets is True)

    def _class_problems(self) -> Iterator[str]:
        """What does not go together with forgetting classes of a mask."""
        if not self.forget_classes:
            return
        what = f"method#forget_classes={self.forget_classes}"
        if not all(isinstance(index, int) and index >= 1 for index in self.forget_classes):
            yield f"{what} is not allowed; use channels from 1 on (0 is the background)"
        if self.task != SEGMENTATION or not self.softmax:
            yield f"{what} needs masks that are a softmax over classes; use it with task=segmentation and softmax=true"
        if self.guard_reduction == "sum":
            yield f"{what} leaves some voxels to the guard, which have no sum per case; use guard_reduction=mean"
        if self.schedule == "two_phase":
            yield (
                f"{what} cannot be restored: whether it comes back would be judged by the loss of whole cases, where "
                "all classes count; use the schedule joint, alternate_epoch or alternate_step"
            )
        if self.stop_at is not None:
            yield f"{what} has no unseen cases to compare with, since a class is forgotten in all; leave stop_at out"
        yield from unrestrictable(self.forget_terms)

    # -- the trainer's events ------------------------------------------------------------------------------------------

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Refuse what cannot work before anything is trained, and make room for the restoration."""
        require_student(self, engine)
        if self.feature_layer is None:
            self.feature_layer = engine.network.feature_layer
        raise_if_any(self._misfits(engine))
        if self.schedule == "two_phase":
            head = engine.network.add_restoration()
            engine.optimizer.add_param_group({"params": head, "lr": self.restore_learning_rate})

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Begin a fresh pass over the forget set and, in the second phase, let the head train alone."""
        super().on_epoch_start(engine)
        if self.schedule == "two_phase":
            self.record(engine, "phase", 2 if self._restores(engine) else 1)
        if self._restores(engine):
            if self._watch is None:
                cases, models = self.measured(engine), (engine.network.teacher, engine.network)
                before, now = (mean_case_loss(engine, model, cases.forget, cases.inferer) for model in models)
                self._watch = RestorationWatch(self.restore_tolerance, before, now)
                self._keep_head(engine)
            engine.optimizer.zero_grad(set_to_none=True)  # a gradient of zero would still move what has momentum
            engine.network.train_head()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the retain terms and, where both share a step, the forget terms to the supervised loss."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        if self._restores(engine):
            return
        if self.forget_classes and labelled(output[LABEL], output[PRED], self.forget_classes).any():
            raise InputError(
                f"the trainer's labels hold classes of method#forget_classes={self.forget_classes}, which would be "
                "learned again; make them background there, as the id forget_classes of a bundle does"
            )
        teacher = engine.inferer(output[IMAGE], engine.network.teacher)
        distillation, guard = self._retain_terms(engine, output[PRED], teacher, output[LABEL])
        total = output[LOSS] + self.kd_weight * distillation + self.guard_weight * guard
        if self.schedule in ("joint", "two_phase"):
            total = total + self._forget_loss(engine)
        output[LOSS] = total

    def on_step(self, engine: SupervisedTrainer) -> None:
        """Keep the adapters within their limit; if they alternate by step, follow with a step on a forget batch."""
        if self._restores(engine):
            return
        if self.schedule == "alternate_step":
            self._forget_step(engine)
        self._limit(engine)

    def on_epoch(self, engine: SupervisedTrainer) -> None:
        """Pass once over the forget set if they alternate by epoch; judge the epoch if it restored."""
        if self.schedule == "alternate_epoch":
            engine.network.train()
            for _ in range(len(self.forget_loader)):
                self._forget_step(engine)
                self._limit(engine)
        if self._watch is not None:
            self._judge(engine, self._watch)

    def on_end(self, engine: SupervisedTrainer) -> None:
        """Go back to the best epoch of the restoration, and say where it could not be watched."""
        if self._watch is None:
            return
        engine.network.load_state_dict(self._kept, strict=False)
        warn(engine, *self._watch.warnings())

    # -- its parts -----------------------------------------------------------------------------------------------------

    def _restores(self, engine: SupervisedTrainer) -> bool:
        return self.schedule == "two_phase" and engine.state.epoch > engine.state.max_epochs - self.restore_epochs

    def _retain_terms(
        self, engine: SupervisedTrainer, student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.forget_classes:
            kept = ~(labelled(label, teacher, self.forget_classes) | answered(teacher, self.forget_classes))
            distillation, guard = (
                over_places(term, kept, student, teacher) for term in (self._distillation, self._guard)
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
            half = len(features) // 2  # a sliding window passes several times
            values |= {"student_features": torch.cat(features[:half]), "teacher_features": torch.cat(features[half:])}
        total = retained = torch.zeros((), device=image.device)
        if self.forget_classes:
            distillation, guard = self._retain_terms(engine, values["student"], values["teacher"], label)
            retained = self.kd_weight * distillation + self.guard_weight * guard
            chosen = labelled(label, values["student"], self.forget_classes)
        for name, term in self._terms.items():
            inputs = [values[source] for source in FORGET_TERMS[name].inputs]
            value = over_places(term, chosen, *inputs) if self.forget_classes else term(*inputs)
            self.record(engine, name, value, len(image))
            total = total + self.forget_terms[name] * value
        return self.forget_weight * total + retained

    def _forget_step(self, engine: SupervisedTrainer) -> None:
        with self.autocast(engine):
            loss = self._forget_loss(engine)
        self.step(engine, loss)

    def _limit(self, engine: SupervisedTrainer) -> None:
        if self.max_adapter_norm is not None:
            clip_drift(engine.network, self.max_adapter_norm)

    def _judge(self, engine: SupervisedTrainer, watch: RestorationWatch) -> None:
        cases = self.measured(engine)
        forget_loss = mean_case_loss(engine, engine.network, cases.forget, cases.inferer)
        retain_loss = mean_case_loss(engine, engine.network, cases.retain, cases.inferer)
        if watch.see(engine.state.epoch, forget_loss=forget_loss, retain_loss=retain_loss):
            self._keep_head(engine)
        self.record(engine, "forget_returned", watch.epochs[-1]["returned"])
        if watch.stopped:
            engine.terminate()

    def _keep_head(self, engine: SupervisedTrainer) -> None:
        self._kept = {name: value.clone() for name, value in engine.network.restoration_state().items()}

    def _misfits(self, engine: SupervisedTrainer) -> Iterator[str]:
        """What only the data and the network can tell: does a pass over forget cases give what the terms need?"""
        if self.schedule == "two_phase" and engine.state.max_epochs <= self.restore_epochs:
            yield (
                f"max_epochs={engine.state.max_epochs} leaves no epoch to unlearn before the {self.restore_epochs} of "
                "method#restore_epochs; raise the one or lower the other"
            )
        if self.schedule == "alternate_step" and engine.accumulation_steps > 1:
            yield (
                f"method#schedule='alternate_step' takes a step after every retain batch, and the trainer one after "
                f"{engine.accumulation_steps}; use accumulation_steps=1 or another schedule"
            )
        layers = dict(engine.network.get_base_model().named_modules())
        if self.feature_layer is not None and self.feature_layer not in layers:
            listed = ", ".join(name for name in layers if name and "lora_" not in name and "base_layer" not in name)
            yield f"method#feature_layer={self.feature_layer!r} is no layer; choose one of {listed}"
            return
        if "repulsion" in self._terms and self.feature_layer is None:
            yield "the last encoder stage of this network is not known; name a layer by method#feature_layer"
            return
        yield from self._answer_problems(engine)

    def _answer_problems(self, engine: SupervisedTrainer) -> Iterator[str]:
        image, *_ = self.forget_batch(engine)
        engine.network.eval()  # a look must not move the statistics of BatchNorm
        with captured(engine.network.get_base_model(), self.feature_layer) as features:
            logits = engine.inferer(image, engine.network)
        if (logits.dim() == 2) != (self.task == CLASSIFICATION):
            yield (
                f"method#task={self.task!r} does not fit the network, whose output has the shape "
                f"{tuple(logits.shape)}; classes are (B, C), masks (B, C, H, W[, D])"
            )
        if max(self.forget_classes, default=0) >= logits.shape[1]:
            yield (
                f"method#forget_classes={self.forget_classes} is not allowed for a network of {logits.shape[1]} "
                f"channels; use channels from 1 to {logits.shape[1] - 1}"
            )
        if "repulsion" in self._terms and not features[0].requires_grad:
            yield (
                f"the term 'repulsion' cannot act: no adapter lies before the layer {self.feature_layer!r}, so its "
                "features are the teacher's for good; choose network#scope=all, or a method#feature_layer behind the "
                "first adapter"
            )

    # -- what is kept --------------------------------------------------------------------------------------------------

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """How far the weights, answers and features moved, and what restoration did."""
        found = super().measurements(engine)
        found["drift"]["limit"] = self.max_adapter_norm
        return found | {"restoration": None if self._watch is None else self._watch.as_dict()}

    def measured_margins(self, engine: SupervisedTrainer) -> Margins:
        """How differently student and teacher see the forget cases or, where classes are forgotten, all of them."""
        whole = self.measured(engine)
        cases = chain(whole.retain, whole.forget) if self.forget_classes else whole.forget
        return margins(engine, cases, softmax=self.is_softmax, feature_layer=self.feature_layer, inferer=whole.inferer)

    def state_dict(self) -> dict[str, Any]:
        """The restoration so far, besides what every method keeps."""
        return super().state_dict() | {
            "watch": None if self._watch is None else self._watch.as_dict(),
            "kept": self._kept,
        }

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Go on with the restoration where it was."""
        super().load_state_dict(state, engine)
        self._kept = dict(state["kept"])
        if state["watch"] is None:
            return
        self._watch = RestorationWatch(**state["watch"])
        done = len(self._watch.epochs)
        first = engine.state.epoch - done + 1
        if first != engine.state.max_epochs - self.restore_epochs + 1:
            raise InputError(
                f"max_epochs={engine.state.max_epochs} is another number than the run was started with, and its "
                f"restoration began in epoch {first}; resume with max_epochs={first + self.restore_epochs - 1}"
            )
        if self._watch.stopped:
            engine.terminate()
