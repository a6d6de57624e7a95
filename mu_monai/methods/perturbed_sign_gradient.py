"""Perturbed Sign Gradient: forget cases learn the original model's answer just past its decision boundary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, ClassVar, NamedTuple

import torch
from monai.engines import SupervisedTrainer
from monai.utils import convert_to_tensor
from torch.utils.data import DataLoader, TensorDataset

from mu_monai.engine import count_of, seeded, warn
from mu_monai.engine.cost import FORWARD, TRAINED
from mu_monai.keys import IMAGE, LABEL, LOSS, PRED
from mu_monai.losses import Distillation
from mu_monai.losses.relabeling import LABEL_MODES, relabeled, relabeling_losses, standing, without_truth
from mu_monai.methods.batches import samples_of_pass
from mu_monai.methods.boundary_search import (
    CLEAN,
    RELEASED,
    VARIANTS,
    BoundaryPoints,
    BoundarySearch,
    SearchSettings,
    Standing,
    intensity_range,
)
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import COUNT, POSITIVE, Interval, OneOf, OrNull, Range, setting
from mu_monai.methods.teacher_answers import TeacherAnswers
from mu_monai.precision import in_full

RUNNER_UP, SKIP, KEEP = "runner_up", "skip", "keep"
LABELS, TEACHER = "labels", "teacher"
ONCE, EVERY_STEP = "once", "every_step"
_HARDLY = 0.1  # the share of flipped cases below which the search counts as failed


class Relabeled(NamedTuple):
    """Forget cases with their labels, those of their boundary points (`target`), and the search results of each case.

    `weight` is 0 for a case that is skipped; `found` holds, per case, whether it flipped, its distance, the number of
    steps taken, and its loss before the first step and after each.
    """

    image: torch.Tensor
    label: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    found: torch.Tensor


@dataclass(kw_only=True)
class PerturbedSignGradient(SearchSettings, UnlearningMethod):
    r"""Relabel the forget set at the decision boundary of the original model, and fine-tune on it.

    .. math::
        \min_w \frac1{|F|} \sum_{i \in F} \mathrm{CE}\big(f_w(x_i),\, y_i^b\big) + \phi\, L_{remain}, \quad
        y_i^b = \arg\max f_{w_0}(x_i + \delta_i)

    where :math:`x_i + \delta_i` is the point, near :math:`x_i`, at which the answer of the original model
    :math:`f_{w_0}` changes; see `mu_monai.methods.boundary_search.BoundarySearch` for how it is found. A step takes one
    batch of relabeled forget cases and, for :math:`\phi > 0`, one of retained cases.

    For masks, which the paper does not cover, the search climbs the mean loss over the label's foreground. A case has
    crossed the boundary when the mean probability of the truth there is at most `confidence` and half of these pixels
    are answered otherwise; each pixel then gets the answer at that point.

    `SearchSettings` has the settings of the search.

    Args:
        on_fail: what happens to a case that does not flip. `runner_up`: it gets the most probable wrong answer, in a
            mask within the foreground; `skip`: it is left out; `keep`: it gets the answer where the search ended,
            usually the true one.
        intensity_range: lowest and highest value of the network's input; `None` measures them on all forget and retain
            images, channel by channel, before training, even if `remain_weight` is 0.
        label_mode: `hard`, the answer; `soft`, its probabilities; or `top-k`, the probabilities of its top outcomes.
        temperature: temperature of soft and top-k labels, > 0.
        top_k: number of outcomes in a top-k label, at least 1; sigmoid masks have two, so 2 or more is `soft`.
        remain_weight: weight of the term on retained cases, >= 0; with 0, a run trains only on forget cases.
        remain_target: `labels`, the supervised loss; or `teacher`, cross-entropy to the teacher's probabilities, minus
            their entropy.
        relabel: `once`, before training, in one pass over the forget batches, whose images (for volumes: patches) are
            then trained on; or again at `every_step`.
        psg_variant: `clean`, or `released`: one step as in the authors' code, new labels at every step, and a case
            that does not flip keeps its answer; the settings from `steps` to `schedule`, `noise_scale`, `confidence`,
            `bisections`, `on_fail` and `relabel` are then ignored.

    Raises:
        InputError: for a value outside these ranges, or a network that is not a `Student`.

    Source:
        *Targeted Unlearning Using Perturbed Sign Gradient Methods* (arXiv 2505.21872), Algorithms 1 to 3, following
        descriptions of the paper and the authors' scripts: noise 1e-2, closeness 1e-3, radius 0.1, hard labels, and 10
        epochs over the forget set without a term on retained cases (`remain_weight=0`). Our default is a weight of 1
        and epochs over the retain set: training only on the forget set costs much accuracy on retained cases. They
        train with SGD at 1e-5 and BatchNorm in training mode; here it is AdamW at 1e-4 with frozen statistics.

    Example:
        >>> PerturbedSignGradient(forget_loader=[]).settings()["label_mode"]
        'hard'
    """

    paper = "Nahass et al. 2025, arXiv 2505.21872"
    needs = ("retain labels", "forget labels", "teacher")
    trials: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"method::remain_weight": 0.0, "epoch_length": "$len(@method::forget_loader)", "max_epochs": 10},  # the paper's
        {"learning_rate": 3e-4},
        {"learning_rate": 1e-3},
    )

    on_fail: str = setting(RUNNER_UP, OneOf(RUNNER_UP, SKIP, KEEP))
    intensity_range: Sequence[float] | None = setting(None, OrNull(Range()))
    label_mode: str = setting("hard", OneOf(*LABEL_MODES))
    temperature: float = setting(1.0, POSITIVE)
    top_k: int = setting(3, COUNT)
    remain_weight: float = setting(1.0, Interval(0))
    remain_target: str = setting(LABELS, OneOf(LABELS, TEACHER))
    relabel: str = setting(ONCE, OneOf(ONCE, EVERY_STEP))
    psg_variant: str = setting(CLEAN, OneOf(*VARIANTS))

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = {item.name: getattr(self, item.name) for item in fields(SearchSettings)}
        self._search = BoundarySearch(**settings, variant=self.psg_variant)
        self._released = self.psg_variant == RELEASED
        self._distillation = Distillation(1.0, "forward", self.is_softmax)
        self._teacher = TeacherAnswers()
        self._original: OriginalModel | None = None
        self._set: TensorDataset | None = None  # the relabeled forget set
        self._batches: Iterator[Relabeled] = iter(())
        self._batch: Relabeled | None = None  # that of the current step, without retained cases
        self._found: list[torch.Tensor] = []  # search results of the last pass

    def step_passes(self, retain: int, forget: int = 0) -> int:
        """The search for the new labels, too, unless that was done once, and retained cases only if they count."""
        search = 0 if self._relabels_once else self._search.passes
        answer = FORWARD if self.remain_target == TEACHER else 0
        return (TRAINED + search) * forget + ((TRAINED + answer) * retain if self.remain_weight else 0)

    # -- the trainer's events ------------------------------------------------------------------------------------------

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Keep a copy of the original model; relabel the forget set with it if that is done once."""
        self._original = OriginalModel(self, engine, self._search, self.intensity_range)
        if self._relabels_once and self.can_restore(engine):
            self._relabel_all(engine)

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Start a new pass over the forget set."""
        super().on_epoch_start(engine)
        self._batches = self._from_set(engine) if self._relabels_once else self._from_search(engine)

    def next_batch(self, engine: SupervisedTrainer) -> Mapping[str, Any] | None:
        """Without a weight on retained cases, relabeled forget cases instead of them."""
        if self.remain_weight:
            return None
        self._batch = next(self._batches)
        return {IMAGE: self._batch.image, LABEL: self._batch.label}

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Lower the loss of relabeled forget cases, together with that of retained ones."""
        if self.remain_weight:
            remain, batch = self._remain_loss(engine), next(self._batches)
            logits = engine.inferer(batch.image, engine.network)
        else:
            assert self._batch is not None
            remain, batch, logits = None, self._batch, engine.state.output[PRED]
        losses = relabeling_losses(logits, batch.target, self.is_softmax)
        forget = (losses * batch.weight).sum() / batch.weight.sum().clamp(min=1)
        flipped, _, _, *inner = batch.found.mean(0)
        columns = {"forget": forget, "flip_rate": flipped, "inner_loss_first": inner[0], "inner_loss_last": inner[-1]}
        for name, value in columns.items():
            self.record(engine, name, value, len(batch.image))
        engine.state.output[LOSS] = forget if remain is None else forget + self.remain_weight * remain

    def on_end(self, engine: SupervisedTrainer) -> None:
        """Warn if the search hardly ever found the boundary."""
        if not self._found:  # the budget allowed no case
            return
        flipped = float(torch.cat(self._found)[:, 0].mean())
        if flipped < _HARDLY:
            warn(
                engine,
                f"the answer to only {flipped:.0%} of the forget cases changed within {self.radius:g} of the intensity "
                "range, so hardly any label comes from the boundary: raise method#radius (and method#steps, or "
                "method#step_size), or lower method#noise",
            )

    # -- its parts -----------------------------------------------------------------------------------------------------

    @property
    def _relabels_once(self) -> bool:
        return self.relabel == ONCE and not self._released

    def _relabel_all(self, engine: SupervisedTrainer) -> None:
        each = self._search.passes
        if self._budget is not None:
            search = each * samples_of_pass(self.forget_loader, self._forget_samples)
            what = "PerturbedSignGradient, to search new labels for all forget cases and for a step,"
            instead = "lower method#steps or method#bisections"
            self._budget.require(engine, search + self._budget.expected, what, instead)
        with seeded(self.forget_loader.dataset):
            batches = [self._relabel(image, label) for image, label, _ in self.forget_pass(engine, each)]
        self._set = TensorDataset(*(torch.cat(parts).cpu() for parts in zip(*batches, strict=True)))
        self._found = [batch.found.cpu() for batch in batches]

    def _from_set(self, engine: SupervisedTrainer) -> Iterator[Relabeled]:
        """Endless batches of the relabeled forget set, shuffled in every pass."""
        assert self._set is not None
        size = len(self._found[0])  # that of a forget batch, which holds several patches per case for volumes
        while True:
            for parts in DataLoader(self._set, batch_size=size, shuffle=True):
                yield Relabeled(*(part.to(engine.state.device) for part in parts))

    def _from_search(self, engine: SupervisedTrainer) -> Iterator[Relabeled]:
        """Endless forget batches, each relabeled when it is drawn."""
        self._found = []
        while True:
            image, label, _ = self.forget_batch(engine)
            batch = self._relabel(image, label)
            self._found.append(batch.found.cpu())
            yield batch

    def _relabel(self, image: torch.Tensor, label: torch.Tensor) -> Relabeled:
        assert self._original is not None
        image, label = (
            convert_to_tensor(values, track_meta=False) for values in (image, label)
        )  # plain, as in checkpoints
        points, logits = self._original.boundary(image, label)
        on_fail = KEEP if self._released else self.on_fail
        if on_fail == RUNNER_UP:
            logits = without_truth(logits, label, self.is_softmax, ~points.flipped)
        return Relabeled(
            image=image,
            label=label,
            target=relabeled(logits, self.is_softmax, self.label_mode, top_k=self.top_k, temperature=self.temperature),
            weight=(points.flipped if on_fail == SKIP else torch.ones_like(points.flipped)).float(),
            found=torch.column_stack([points.flipped, points.distance, points.steps, points.losses.T]),
        )

    def _remain_loss(self, engine: SupervisedTrainer) -> torch.Tensor:
        output = engine.state.output
        if self.remain_target == LABELS:
            self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
            supervised: torch.Tensor = output[LOSS]
            return supervised
        distillation: torch.Tensor = self._distillation(output[PRED], self._teacher(engine))
        self.record(engine, "distillation", distillation, len(output[IMAGE]))
        return distillation

    # -- what is kept --------------------------------------------------------------------------------------------------

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus the search results of the last pass over the forget set."""
        if not self._found:
            return super().measurements(engine) | {"boundary": None}
        found = torch.cat(self._found)
        flipped, distance, steps, losses = found[:, 0] > 0, found[:, 1], found[:, 2], found[:, 3:]
        return super().measurements(engine) | {
            "boundary": {
                "flip_rate": float(found[:, 0].mean()),
                "steps": float(steps.median()),
                "inner_loss": losses.mean(0).tolist(),
                "distance": float(distance[flipped].median()) if flipped.any() else None,
            }
        }

    def state_dict(self) -> dict[str, Any]:
        """The last search results, in addition to what every method saves."""
        return super().state_dict() | {"found": self._found}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue with the last search results."""
        super().load_state_dict(state, engine)
        self._found = list(state["found"])


class OriginalModel:
    """A copy of the model that a run starts from, and the points where its answers change.

    Args:
        method: the method that has the cases and the kind of outputs.
        engine: the trainer, whose network is a `Student`.
        search: finds the points.
        limits: lowest and highest value of the input; `None` measures them on forget and retain images.
    """

    def __init__(
        self,
        method: UnlearningMethod,
        engine: SupervisedTrainer,
        search: BoundarySearch,
        limits: Sequence[float] | None = None,
    ) -> None:
        self._search, self._inferer, self._softmax = search, in_full(engine.inferer), method.is_softmax
        self._network = engine.network.reverted().eval().requires_grad_(False)
        count_of(engine).watch(self._network)
        if limits is None:
            cases = method.measured(engine)
            with seeded(cases.forget.dataset, cases.retain.dataset):
                ends = intensity_range(chain(cases.forget, cases.retain))
        else:
            ends = torch.tensor(limits[0]), torch.tensor(limits[1])
        self._low, self._high = (end.to(engine.state.device, torch.float32) for end in ends)

    def boundary(self, image: torch.Tensor, label: torch.Tensor) -> tuple[BoundaryPoints, torch.Tensor]:
        """The points where the answers to forget images change, and the logits there, in single precision."""

        def judge(points: torch.Tensor) -> Standing:
            return Standing(*standing(self._inferer(points, self._network), label, self._softmax))

        with torch.autocast(image.device.type, enabled=False):
            points = self._search(judge, image, self._low, self._high)
            with torch.no_grad():
                return points, self._inferer(points.image, self._network)
