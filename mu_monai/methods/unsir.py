"""UNSIR: damage what a classifier knows about whole classes with learned noise, then repair the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from monai.engines import SupervisedTrainer

from mu_monai.engine import warn
from mu_monai.engine.cost import TRAINED
from mu_monai.errors import InputError
from mu_monai.keys import CLASSIFICATION, IMAGE, LABEL, LOSS
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import COUNT, POSITIVE, Interval, setting
from mu_monai.precision import in_full


@dataclass(kw_only=True)
class UNSIR(UnlearningMethod):
    r"""Learn noise that looks least like a class, train on it as that class, and repair on retained cases.

    .. math:: N_c = \arg\min_N \frac1n \sum_i \big( -\ell(f_t(N_i), c) + \lambda \|N_i\|_2^2 \big)

    for each class `c` of the forget cases. The first `impair_epochs` epochs train on retained cases and equally many
    noise images :math:`N_c`, labeled as `c`; the others repair on retained cases only. No image of a forget case is
    used. Classes should be forgotten whole: if retained cases have them as well, they are learned again, and the run
    warns about it.

    Args:
        noise_cases: noise images per class, at least 1.
        noise_steps: optimizer steps (Adam) in which the noise is learned, at least 1.
        noise_learning_rate: learning rate of these steps, > 0.
        noise_decay: :math:`\lambda`, >= 0.
        impair_epochs: number of first epochs that impair, at least 1.
        repair_ratio: the learning rate of repair as a share of the learning rate of impair, > 0.

    Raises:
        InputError: for a value outside these ranges, `stop_at`, a run without an epoch of repair, a task other than
            classification, or a network that is not a `Student`.

    Source:
        Tarun et al. 2023, arXiv 2111.08947: one epoch of each, Adam at 0.02 and 0.01, 256 noise images per class in 40
        steps at 0.1, lambda 0.1. Here the optimizer is the bundle's, there are fewer noise images, and each class's
        noise has its own label; the published notebook labels all of it class 0.

    Example:
        >>> UNSIR(forget_loader=[], task="classification").settings()["impair_epochs"]
        1
    """

    paper = "Tarun et al. 2023, arXiv 2111.08947"
    tasks = (CLASSIFICATION,)
    needs = ("retain labels", "forget labels", "teacher")
    cost = "retain"
    recipe: ClassVar[Mapping[str, Any]] = {
        **UnlearningMethod.recipe,
        "max_epochs": 2,
        "learning_rate": 1e-3,
        "score_interval": 2,
    }
    trials = ({}, {"learning_rate": 3e-3}, {"learning_rate": 3e-4}, {"learning_rate": 1e-4})

    task: str = CLASSIFICATION
    noise_cases: int = setting(32, COUNT)
    noise_steps: int = setting(40, COUNT)
    noise_learning_rate: float = setting(0.1, POSITIVE)
    noise_decay: float = setting(0.1, Interval(0))
    impair_epochs: int = setting(1, COUNT)
    repair_ratio: float = setting(0.5, POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._classes: list[int] = []
        self._noise: dict[str, torch.Tensor] = {}

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings, as sentences."""
        yield from super().problems()
        if self.stop_at is not None:
            yield (
                f"method#stop_at='{self.stop_at}' needs epochs that all do the same, but UNSIR first impairs and then "
                "repairs; leave stop_at out"
            )

    def step_passes(self, retain: int, forget: int = 0) -> int:
        """Retained cases and equally many noise images; the original answers nothing."""
        return TRAINED * 2 * retain

    # -- the trainer's events ------------------------------------------------------------------------------------------

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Find the classes to forget, and check whether they are forgotten whole."""
        if engine.state.max_epochs <= self.impair_epochs:
            raise InputError(
                f"max_epochs={engine.state.max_epochs} leaves no epoch to repair, because "
                f"method#impair_epochs={self.impair_epochs}; raise max_epochs or lower method#impair_epochs"
            )
        self._classes = sorted(_classes(self.forget_loader))
        if self._budget is not None and self.can_restore(engine):
            noise = TRAINED * self.noise_steps * self.noise_cases * len(self._classes)
            steps = 2 * self._budget.expected  # another step begins only if one as expensive could
            what = "UNSIR, to learn its noise and for a step that impairs and one that repairs,"
            instead = "lower method#noise_cases or method#noise_steps"
            self._budget.require(engine, noise + steps, what, instead)
        shared = sorted(_classes(engine.data_loader) & set(self._classes))
        if shared:
            warn(
                engine,
                f"UNSIR forgets whole classes, but retained cases have {len(shared)} of the {len(self._classes)} to be "
                f"forgotten (outputs {', '.join(map(str, shared))}): it damages these classes and then learns them "
                "again; forget all cases of a class (--forget-where), or use another method",
            )

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Learn the noise before the first epoch."""
        super().on_epoch_start(engine)
        if not self._noise:
            self._noise = self._learned_noise(engine)

    def rate(self, engine: SupervisedTrainer) -> float:
        """The learning rate of the phase."""
        return super().rate(engine) * (1.0 if self._impairs(engine) else self.repair_ratio)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Train on equally many noise images, labeled as their class, together with the retained cases."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        if not self._impairs(engine):
            return
        drawn = torch.randint(len(self._noise[LABEL]), (len(output[IMAGE]),), device=engine.state.device)
        image, label = self._noise[IMAGE][drawn], self._noise[LABEL][drawn]
        noise = engine.loss_function(engine.inferer(image, engine.network), label)
        self.record(engine, "noise", noise, len(image))
        output[LOSS] = (output[LOSS] + noise) / 2

    def on_end(self, engine: SupervisedTrainer) -> None:
        """Warn if the run ended before it repaired."""
        if engine.state.epoch and self._impairs(engine):
            warn(
                engine,
                f"the run ended in epoch {engine.state.epoch}, before the model was repaired: it was impaired, and no "
                "more; raise the budget",
            )

    # -- its parts -----------------------------------------------------------------------------------------------------

    def _impairs(self, engine: SupervisedTrainer) -> bool:
        return bool(engine.state.epoch <= self.impair_epochs)

    def _learned_noise(self, engine: SupervisedTrainer) -> dict[str, torch.Tensor]:
        """The noise images of every class with their labels; the student still equals the teacher at this point."""
        sample, *_ = self.forget_batch(engine)
        labels = torch.tensor(self._classes, device=sample.device).repeat_interleave(self.noise_cases)
        engine.network.eval()
        images = [self._noise_of(engine, label, sample[0]) for label in labels.split(self.noise_cases)]
        return {IMAGE: torch.cat(images), LABEL: labels}

    def _noise_of(self, engine: SupervisedTrainer, label: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The noise images of one class, one per label, in the shape of an image."""
        image = torch.randn(len(label), *like.shape, device=like.device)
        optimizer = torch.optim.Adam([image], lr=self.noise_learning_rate)
        apply = in_full(engine.inferer)
        for _ in range(self.noise_steps):
            image.requires_grad_()
            energy = image.square().flatten(1).sum(dim=1).mean()
            loss = self.noise_decay * energy - engine.loss_function(apply(image, engine.network), label)
            (image.grad,) = torch.autograd.grad(loss, [image])
            optimizer.step()
        return image.detach()

    # -- what is kept --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The noise, in addition to what every method saves."""
        return super().state_dict() | {"noise": self._noise}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue with the same noise."""
        super().load_state_dict(state, engine)
        self._noise = dict(state["noise"])


def _classes(batches: Any) -> set[int]:
    """The classes that the labels of batches hold."""
    return {int(label) for batch in batches for label in batch[LABEL]}
