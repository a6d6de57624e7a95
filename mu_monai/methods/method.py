"""The base class of unlearning methods: hyper-parameters, a forget loader, and actions at the trainer's events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch.utils.data import DataLoader

from mu_monai.adapters import Student, layer_drifts, total_drift
from mu_monai.engine import StopAtReference, record_term
from mu_monai.engine.cost import TRAINED, count_of
from mu_monai.engine.schedule import CONSTANT, RISES_AND_FALLS, SCHEDULES, share_of_peak, span
from mu_monai.engine.stop_at_reference import REFERENCE, REWIND
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CLASSIFICATION, IMAGE, SEGMENTATION, TASKS
from mu_monai.measure import Margins, WholeCases, margins
from mu_monai.methods.batches import Batch, begin_pass, prepared, samples_of
from mu_monai.methods.budget import MOST, Budget
from mu_monai.methods.settings import FLAG, Allowed, Interval, OneOf, OrNull, declared, setting
from mu_monai.methods.teacher_answers import answered, go_on
from mu_monai.precision import in_full
from mu_monai.processes import several, total

STOPS = OneOf(None, REFERENCE, REWIND)
NEEDS = ("retain labels", "forget labels", "teacher", "unseen cases", "milestones", "two runs")
COSTS = {
    "one-shot": "every case once, without training",
    "forget": "steps on forget cases",
    "retain": "steps on retained cases",
    "both": "steps on forget and on retained cases",
}


@dataclass(kw_only=True)
class UnlearningMethod:
    """A handler that turns a `SupervisedTrainer` on retain batches into an unlearning run.

    The trainer stays as MONAI wrote it: its batches are retain batches and its loss is the supervised loss. The
    method owns the forget loader and acts at the trainer's events.

    Besides its hyper-parameters, a method declares for all its runs: `paper`, its source; `tasks`, those that it
    supports; `needs`, from `NEEDS`; `cost`, from `COSTS`; `recipe`, how it is trained if a bundle has no settings of
    its own for it, by config id; `trials`, four settings that `mu-monai compare` may choose from on validation cases,
    the default first; `batch_share`, how large its batches are as a share of those of the training; `selective`,
    whether it leaves some weights unchanged by design; `forgets_classes`, whether it can forget classes of a mask, by a
    setting `forget_classes`; `without_forget_images`, whether it can do without any forget case; `comes_back`, whether
    it corrects by itself for cases that were forgotten too far; `fills_budget`, whether it trains for as long as it is
    given; and `replicable`, whether several processes can run it, each with its own cases: it then sees cases in steps
    of the trainer's loss and through `mu_monai.measure` alone, and gives the trainer's inferer the images as they were
    prepared.

    A setting is a field made by `mu_monai.methods.settings.setting`, which declares the allowed values. Only conditions
    between settings are left to `problems`.

    Args:
        forget_loader: batches of forget cases, with the keys of the trainer's own batches.
        unseen_loader: batches of cases that were never trained on (`validation`), prepared like forget batches.
        whole: the whole cases to measure on, if the batches are patches of them; by default the batches themselves.
        forget_images_gone: whether the images of the forget cases no longer exist, so that `forget_loader` is empty. In
            their place, `stop_at` compares retained cases with unseen ones.
        task: `segmentation` or `classification`.
        softmax: whether the channels of a mask are one softmax or independent sigmoid outputs; classes are a softmax.
        stop_at: `reference`: measure after every epoch how well the losses distinguish forget cases from unseen ones,
            end the run when they no longer do, and keep the epoch that came nearest; `rewind`: run to the end, then go
            back to that epoch; `None`: run to the end and keep the last epoch.
        tolerance: how far from 0.5 the AUC of the forget cases against the unseen ones may be to count as reached, in
            (0, 0.5); for `stop_at`.
        lr_schedule: `constant`, or `one-cycle`: the learning rate rises to its full value over the first fifth of the
            run and falls along a cosine to 0 at its end.
        budget: the most sample passes that the run may take, see `mu_monai.engine.PassCount`; `None` for no limit.

    Raises:
        InputError: for a value outside these ranges, a network that is not a `Student`, or `stop_at` without unseen
            cases.
    """

    paper: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = TASKS
    needs: ClassVar[tuple[str, ...]] = ()
    cost: ClassVar[str] = "both"
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "preset": None,
            "network::trainable": "all",
            "network::scope": "all",
            "max_epochs": 5,
            "learning_rate": 1e-4,
            "score_interval": 5,
        }
    )
    trials: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"learning_rate": 3e-5},
        {"learning_rate": 3e-4},
        {"learning_rate": 1e-3},
    )
    selective: ClassVar[bool] = False
    batch_share: ClassVar[float] = 1.0
    fills_budget: ClassVar[bool] = False
    comes_back: ClassVar[bool] = False
    forgets_classes: ClassVar[bool] = False
    without_forget_images: ClassVar[bool] = False
    replicable: ClassVar[bool] = False

    forget_loader: DataLoader[Mapping[str, Any]] = field(repr=False)
    unseen_loader: DataLoader[Mapping[str, Any]] | None = field(default=None, repr=False)
    whole: WholeCases | None = field(default=None, repr=False)
    forget_images_gone: bool = field(default=False, repr=False)
    task: str = SEGMENTATION
    softmax: bool = setting(False, FLAG)
    stop_at: str | None = setting(None, STOPS)
    tolerance: float = setting(0.05, Interval(0, 0.5, closed="neither"))
    lr_schedule: str = setting(CONSTANT, OneOf(*SCHEDULES))
    budget: int | None = setting(None, OrNull(Interval(0, whole=True)))

    def __post_init__(self) -> None:
        self._forget_batches: Iterator[Mapping[str, Any]] | None = None
        self._reference: StopAtReference | None = None
        self._peaks: list[float] = []  # the learning rates of the config
        self._budget = None if self.budget is None else Budget(self.budget)
        self._begun: tuple[float, int] | None = None  # the AUC before the first step, and the passes of measuring it
        self._samples = self._forget_samples = 1  # in a batch of the trainer and of the forget loader
        raise_if_any(self.problems())

    @classmethod
    def allowed(cls) -> dict[str, Allowed]:
        """The allowed values of each setting, by name."""
        return declared(cls) | {"task": OneOf(*cls.tasks)}

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings, as sentences; a method adds its conditions between settings."""
        for name, allowed in self.allowed().items():
            yield from allowed.problems(f"method#{name}", getattr(self, name))
        if self.stop_at is not None and self.cost == "one-shot":
            yield f"method#stop_at='{self.stop_at}' needs epochs, but this method takes one step; leave stop_at out"
        if self.forget_images_gone and not self.without_forget_images:
            yield (
                f"{type(self).__name__} needs the images of the forget cases, which are gone (forget_images_gone); use "
                "a method for which 'mu-monai methods' says that none are needed"
            )

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook the method's actions to the trainer's events."""
        if len(self.forget_loader) == 0 and not self.forget_images_gone:
            raise InputError(
                "the forget set is empty, so there is nothing to unlearn; choose cases with the split's --forget"
            )
        if several() and not self.replicable:
            raise InputError(not_replicable(type(self).__name__))
        engine.add_event_handler(Events.STARTED, self._require_student)
        engine.add_event_handler(Events.STARTED, self._require_affordable)
        engine.add_event_handler(Events.STARTED, self.on_start)
        engine.add_event_handler(Events.STARTED, self._keep_peaks)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._replace_batch)
        engine.add_event_handler(Events.ITERATION_STARTED, self._set_rates)
        engine.add_event_handler(Events.EPOCH_STARTED, self._set_rates)  # for steps before the first batch
        engine.add_event_handler(Events.EPOCH_STARTED, self.on_epoch_start)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.on_loss)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self.on_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.on_epoch)
        if self.stop_at is not None:
            self._reference = StopAtReference(
                stop_at=self.stop_at,
                tolerance=self.tolerance,
                comes_back=self.comes_back,
                cases=self.measured,
                stand_in=self.forget_images_gone,
                unseen=self.unseen_cases,
                further=self.further_training(),
            )
            self._reference.attach(engine)
        if self._budget is not None:
            self._budget.attach(engine)
        engine.add_event_handler(Events.COMPLETED, self.on_end)

    def _require_student(self, engine: SupervisedTrainer) -> None:
        count_of(engine)  # from here on, what the method does counts
        network = engine.network
        if not isinstance(network, Student):
            raise InputError(
                f"{type(self).__name__} needs a network that includes its teacher, not a {type(network).__name__}; "
                "wrap it in mu_monai.adapters.Student"
            )

    def _require_affordable(self, engine: SupervisedTrainer) -> None:
        if self._budget is None:
            return
        least = TRAINED * (len(engine.data_loader.dataset) + len(self.forget_loader.dataset))  # type: ignore[arg-type]
        if self.cost == "one-shot" and least > self._budget.passes:
            raise InputError(
                f"{type(self).__name__} needs every case once, about {least} sample passes, more than its budget of "
                f"{self._budget.passes}; raise the budget, or use a method that can end early"
            )
        batches = {"retain": samples_of(engine.data_loader)}
        batches |= {} if self.forget_images_gone else {"forget": samples_of(self.forget_loader)}
        self._samples, self._forget_samples = batches["retain"], batches.get("forget", 0)
        self._budget.varies = self.cost not in batches
        self._budget.expected = self.step_passes(**batches)
        if self._reference is not None:
            self._begun = self._reference.begin(engine)
            look, further = self._begun[1], self.further_passes(engine)
            self._budget.reserve = look + (further + look if further else 0)

    def _keep_peaks(self, engine: SupervisedTrainer) -> None:
        if self.spans_run is not None:
            span(engine, self.spans_run)
        self._peaks = [group["lr"] for group in engine.optimizer.param_groups]

    def _set_rates(self, engine: SupervisedTrainer) -> None:
        share = self.rate(engine)
        self.set_learning_rates(engine, [share * peak for peak in self._peaks])

    def _replace_batch(self, engine: SupervisedTrainer) -> None:
        batch = self.next_batch(engine)
        if batch is not None:
            engine.state.batch = batch

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters, by name, as stored in `run.json`."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.repr}

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """How far the weights, answers and features of a student moved, and the course toward the reference."""
        return {
            "drift": {
                "total": total_drift(engine.network),
                "limit": None,
                "layers": [asdict(layer) for layer in layer_drifts(engine.network)],
            },
            "margins": None if self.forget_images_gone else asdict(self.measured_margins(engine)),
            "steering": None if self._reference is None else self._reference.watch.as_dict(),
        }

    def measured_margins(self, engine: SupervisedTrainer) -> Margins:
        """How much student and teacher differ on the forget cases."""
        cases = self.measured(engine)
        return margins(
            engine,
            cases.forget,
            softmax=self.is_softmax,
            feature_layer=engine.network.feature_layer,
            inferer=cases.inferer,
        )

    @property
    def is_softmax(self) -> bool:
        """Whether the outputs are one softmax over classes."""
        return self.softmax or self.task == CLASSIFICATION

    @property
    def spans_run(self) -> str | None:
        """What takes its course over all epochs, so that a run is resumed with as many; None if nothing does."""
        return None if self.lr_schedule == CONSTANT else RISES_AND_FALLS

    def state_dict(self) -> dict[str, Any]:
        """What the method needs to continue an interrupted run, besides weights and optimizer."""
        steering = {"steering": None, "nearest": {}} if self._reference is None else self._reference.state_dict()
        return steering | answered(self) | {"budget": None if self._budget is None else self._budget.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue from the state that `state_dict` returned; called after `on_start`."""
        if self._reference is not None:
            self._reference.load_state_dict(state, engine)
        if self._budget is not None:
            self._budget.load_state_dict(state["budget"], engine)
        go_on(self, state)

    # -- the trainer's events ------------------------------------------------------------------------------------------

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Act before the first iteration."""

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Start a new pass over the forget set: no state is carried between epochs, so resuming is exact."""
        self._forget_batches = None
        begin_pass(self.forget_loader, engine.state.epoch)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Act on `engine.state.output["loss"]`, the supervised retain loss, before the backward pass."""

    def on_step(self, engine: SupervisedTrainer) -> None:
        """Act after the optimizer's step on a retain batch."""

    def on_epoch(self, engine: SupervisedTrainer) -> None:
        """Act after the last retain batch of an epoch."""

    def on_end(self, engine: SupervisedTrainer) -> None:
        """Act after the last epoch, before the run's weights are written."""

    def further_training(self) -> Callable[[SupervisedTrainer], AbstractContextManager[None]] | None:
        """A context in which the network is trained further, for judging whether it stays; `None` to judge as it is."""
        return None

    def further_passes(self, engine: SupervisedTrainer) -> int:
        """The sample passes of further training, each time that it is judged."""
        return 0

    def measured(self, engine: SupervisedTrainer) -> WholeCases:
        """The cases to measure on: whole cases if there are any, else the forget batches and the trainer's own."""
        own = {"forget": self.forget_loader, "retain": engine.data_loader}
        return self.whole or WholeCases(**own, inferer=in_full(engine.inferer))

    @property
    def unseen_cases(self) -> Any:
        """The unseen cases to measure on, whole if there are any; `None` if there are none."""
        return self.unseen_loader if self.whole is None else self.whole.unseen

    def step_passes(self, retain: int, forget: int = 0) -> int:
        """The most sample passes that a step may take, by the samples in a batch of each kind."""
        return MOST * {"retain": retain, "forget": forget}.get(self.cost, retain + forget)

    def can_restore(self, engine: SupervisedTrainer) -> bool:
        """Whether the budget allows a step, so that what is damaged now can be restored."""
        return self._budget is None or self._budget.allows_step(engine)

    # -- batches and steps ---------------------------------------------------------------------------------------------

    def next_batch(self, engine: SupervisedTrainer) -> Mapping[str, Any] | None:
        """The batch that the trainer takes its next step on; `None` for its own retain batch.

        A method that trains on forget cases alone returns `self.next_forget()`: retained cases then take no pass.
        """
        return None

    def next_forget(self) -> Mapping[str, Any]:
        """The next batch of the forget loader, which is repeated."""
        batch = next(self._forget_batches, None) if self._forget_batches is not None else None
        if batch is None:
            self._forget_batches = iter(self.forget_loader)
            batch = next(self._forget_batches)
        return batch

    def forget_batch(self, engine: SupervisedTrainer) -> Batch:
        """The next forget images and labels on the trainer's device, and their ids; the loader is repeated."""
        return prepared(engine, self.next_forget())

    def forget_pass(self, engine: SupervisedTrainer, each: int = MOST) -> Iterator[Batch]:
        """Every forget batch once, as `forget_batch` returns it, if the budget has `each` passes for its samples."""
        for batch in self.forget_loader:
            if self._is_spent(engine, total(len(batch[IMAGE])), each):
                return
            yield prepared(engine, batch)

    def retain_batches(self, engine: SupervisedTrainer) -> Iterator[Batch]:
        """Batches of the trainer's own cases, without end, or until the budget is spent."""
        while True:
            for batch in engine.data_loader:
                if self._is_spent(engine, total(len(batch[IMAGE]))):
                    return
                yield prepared(engine, batch)

    def _is_spent(self, engine: SupervisedTrainer, samples: int, each: int = MOST) -> bool:
        """Whether a batch of so many samples, of all processes, is more than the budget has left."""
        return self._budget is not None and not self._budget.allows(engine, each * samples)

    def progress(self, engine: SupervisedTrainer) -> float:
        """How much of the run is over before the current step, in [0, 1): of its steps, or of its budget if more."""
        steps = max(0, engine.state.iteration - 1) / (engine.state.max_epochs * engine.state.epoch_length)
        return steps if self._budget is None else max(steps, self._budget.progress(engine))

    def rate(self, engine: SupervisedTrainer) -> float:
        """The learning rate of the current step, as a share of that of the config."""
        return share_of_peak(self.lr_schedule, self.progress(engine))

    @staticmethod
    def step(engine: SupervisedTrainer, loss: torch.Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Take a step outside the trainer's iterations, of its optimizer or another, with its scaler if it has one."""
        optimizer = optimizer or engine.optimizer
        optimizer.zero_grad(set_to_none=True)
        if engine.scaler is not None:
            engine.scaler.scale(loss).backward()
            engine.scaler.step(optimizer)
            engine.scaler.update()
        else:
            loss.backward()
            optimizer.step()

    @staticmethod
    def set_learning_rates(engine: SupervisedTrainer, rates: Sequence[float]) -> None:
        """Set the learning rate of every parameter group of the optimizer."""
        for group, rate in zip(engine.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    record = staticmethod(record_term)


def not_replicable(method: str) -> str:
    """Why several processes cannot run a method."""
    return (
        f"{method} needs all cases in one process, so several cannot run it; use one, or a method for which 'mu-monai "
        "methods' says that several can"
    )
