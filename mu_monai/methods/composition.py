"""Composition: the features of one unlearned model with the head of another, then a short fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.adapters import Student, read_weights, summed
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import ADAPTER_DIR, MODEL_PT
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import SHARE, OneOf, Text, setting
from mu_monai.runs import is_run, open_run

HOWS = ("head", "weights", "adapters")
FINE_TUNES = ("all", "head")
RUN = Text("the folder of a finished run")
State = dict[str, torch.Tensor]

_DIGESTS = ("starting_weights", "split", "weights")
_RUN = {"sha256": dict.fromkeys(_DIGESTS, str), "method": {"name": str}}


@dataclass(kw_only=True)
class Composition(UnlearningMethod):
    r"""Combine two unlearned models of one teacher, then fine-tune on the retain set.

    .. math::
        \theta = \begin{cases}
            (\theta_R^{features}, \theta_F^{head}) & \text{head} \\
            (1 - s)\, \theta_R + s\, \theta_F & \text{weights} \\
            \theta_T + \Delta_R + s\, \Delta_F & \text{adapters}
        \end{cases}

    `R` is the model that retains well, `F` the one that forgets well, `T` the teacher of both. The forget set is not
    used. Long fine-tuning brings the forgotten cases back, as with any model that forgot; check the curve, which has
    the scores of every epoch.

    Args:
        good_retain: folder of the finished run of `R`.
        good_forget: folder of the finished run of `F`.
        how: `head`, as published; `weights` interpolates; `adapters` adds up the runs' adapters.
        share: `s`, in [0, 1]; not used for `head`.
        fine_tune: `all` weights, or only the `head`.

    Raises:
        InputError: for a value outside these ranges, a network that is not a `Student` or whose weights do not all
            train, runs that did not start from its teacher or used different splits, an unknown head, or runs without
            adapters to add.

    Source:
        *Perturbed Sign Gradient* (arXiv 2505.21872, first version, and its released code): the classifier of one model
        on the features of the other, then at most 5 epochs with Adam at 1e-4. Here the optimizer is the bundle's AdamW,
        and the BatchNorm statistics are those of `R`, but for `weights`, which interpolates them, too. `weights` and
        `adapters` are ours. If the shares added up to 1, the sum of adapters would equal the interpolation, so
        `adapters` keeps all of `R`.

    Example:
        >>> Composition(forget_loader=[]).settings()["how"]
        'head'
    """

    paper = "arXiv 2505.21872, first version"
    needs = ("retain labels", "two runs")
    cost = "retain"
    recipe: ClassVar[Mapping[str, Any]] = {**UnlearningMethod.recipe, "score_interval": 1}
    trials = (
        {},
        {"method::fine_tune": "head"},
        {"method::how": "weights"},
        {"method::how": "weights", "method::share": 0.75},
    )
    selective = True  # weights that neither run changed stay as they are if only the head is fine-tuned

    good_retain: str = setting("", RUN)
    good_forget: str = setting("", RUN)
    how: str = setting("head", OneOf(*HOWS))
    share: float = setting(0.5, SHARE)
    fine_tune: str = setting("all", OneOf(*FINE_TUNES))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sources: dict[str, Any] = {}  # what was combined, as the run's record has it

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Load the combined weights into the student and choose what is fine-tuned."""
        student: Student = engine.network
        raise_if_any(self._start_problems(student))
        records = {name: open_run(folder, MODEL_PT, ADAPTER_DIR).record for name, folder in self._parents().items()}
        raise_if_any(
            f"'{self._parents()[name]}' is not an unlearning run: its role is {record.role}; give a run made by "
            "'mu-monai unlearn'"
            for name, record in records.items()
            if record.method is None or record.sha256.starting_weights is None
        )
        raise_if_any(
            f"the run '{self._parents()[name]}' started from weights with SHA-256 "
            f"{record.sha256.starting_weights}, but this teacher has {student.base_sha256}; compose runs of the same "
            "teacher"
            for name, record in records.items()
            if record.sha256.starting_weights != student.base_sha256
        )
        first, second = (record.sha256.split for record in records.values())
        if first != second:
            raise InputError(
                f"the runs '{self.good_retain}' and '{self.good_forget}' used different splits (SHA-256 {first} and "
                f"{second}); compose runs that forgot the same cases"
            )
        state = composed(student, **self._parents(), how=self.how, share=self.share)
        for layer in student.placement.targets:
            wrapper: Any = student.get_base_model().get_submodule(layer)
            copies = wrapper.modules_to_save[student.active_adapter]
            copies.load_state_dict({name: state[f"{layer}.{name}"] for name in copies.state_dict()})
        for name, parameter in student.trainable().items():
            parameter.requires_grad_(self.fine_tune == "all" or name.startswith(f"base_model.model.{student.head}."))
        self._sources = {
            name: {
                "run": str(self._parents()[name]),
                "method": record.method.name if record.method else "",
                "weights": record.sha256.weights,
            }
            for name, record in records.items()
        }
        self._sources["transplanted"] = _of_layer(state, student.head) if self.how == "head" else []

    def _parents(self) -> dict[str, Path]:
        return {"good_retain": Path(self.good_retain), "good_forget": Path(self.good_forget)}

    def _start_problems(self, student: Student) -> Iterator[str]:
        if not student.trains_all:
            yield (
                "a composition combines the weights of two models, which adapters of one model cannot hold; leave "
                "network#trainable at 'all'"
            )
        for name, folder in self._parents().items():
            if not is_run(folder):
                yield (
                    f"method#{name}='{getattr(self, name)}' is not a run folder; a composition takes two finished "
                    "unlearning runs: mu-monai compose GOOD_RETAIN GOOD_FORGET --out RUN"
                )
        if student.head is None and "head" in (self.how, self.fine_tune):
            yield (
                f"the head of {type(student.get_base_model()).__name__} is not known, so it cannot be taken from a "
                "run or fine-tuned on its own; use how 'weights' or 'adapters' and fine_tune 'all'"
            )

    # -- what is kept --------------------------------------------------------------------------------------------------

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus what was combined."""
        return super().measurements(engine) | {"composition": self._sources}

    def state_dict(self) -> dict[str, Any]:
        """What was combined, in addition to what every method saves."""
        return super().state_dict() | {"composition": self._sources}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue with the same composition; the weights come from the checkpoint."""
        super().load_state_dict(state, engine)
        self._sources = dict(state["composition"])


def composed(student: Student, good_retain: Path, good_forget: Path, *, how: str, share: float) -> State:
    """The combined plain weights of two runs.

    Args:
        student: a student of the teacher of both runs; its head and weights are read.
        good_retain: run folder of the model whose features are kept.
        good_forget: run folder of the model whose head, or a share of whose weights, is taken.
        how: one of `HOWS`.
        share: share of `good_forget`, in [0, 1].

    Raises:
        InputError: if a folder holds no weights, or no adapters to add.
    """
    if how == "adapters":
        folders = [folder / ADAPTER_DIR for folder in (good_retain, good_forget)]
        return dict(summed(student.reverted(), folders, [1.0, share]).state_dict())
    first, second = read_weights(good_retain), read_weights(good_forget)
    if how == "weights":
        return {
            name: torch.lerp(value, second[name], share) if value.is_floating_point() else value
            for name, value in first.items()
        }
    return first | {name: second[name] for name in _of_layer(first, student.head)}


def _of_layer(state: Mapping[str, Any], layer: str | None) -> list[str]:
    """The names of a layer's weights."""
    return [name for name in state if name.startswith(f"{layer}.")]
