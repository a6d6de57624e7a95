"""One small unlearning job per task: masks, volumes and classes; and a classifier small enough to check by hand."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer
from torch.utils.data import DataLoader

from mu_monai.adapters import Student
from mu_monai.engine import Reseed, StopOnNonFinite
from mu_monai.methods import UnlearningMethod


@dataclass(frozen=True)
class Task:
    """What an unlearning run of one task starts from."""

    bundle: str
    split: str
    teacher: Path
    overlays: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def tasks(phantom_splits, teachers) -> dict[str, Task]:
    bundles = {"masks": "isic", "classes": "isic_classification", "volumes": "volume3d"}
    return {name: Task(bundle, phantom_splits[bundle], teachers[bundle]) for name, bundle in bundles.items()}


# -- a classifier of four numbers, small enough to compute a step by hand ----------------------------------------------


class Small:
    """A method on a small classifier: its trainer, and the plain teacher beside it."""

    def __init__(self, kind: type[UnlearningMethod], settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        retained, forgotten = options.get("cases", (8, 4))
        self.retain, self.forget = small_cases("retain", retained), small_cases("forget", forgotten)
        self.teacher = options.get("plain", small_network)()
        what = {"scope": "all", "trainable": "all"} | options.get("network", {})
        student = Student(options.get("plain", small_network)(), **what)
        torch.manual_seed(options.get("seed", 0))
        loader = options.get("loader", DataLoader)
        forget_loader = loader(self.forget, batch_size=options.get("forget_batch", 4))
        self.method = kind(forget_loader=forget_loader, task="classification", **settings)
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=options.get("epochs", 1),
            epoch_length=options.get("epoch_length"),
            train_data_loader=loader(self.retain, batch_size=options.get("retain_batch", 8)),
            network=student,
            optimizer=options.get("optimizer", torch.optim.SGD)(student.trainable().values(), lr=options["rate"]),
            loss_function=options.get("loss", torch.nn.CrossEntropyLoss()),
            inferer=SimpleInferer(),
            train_handlers=[
                *options.get("first", ()),
                Reseed(options.get("seed", 0)),
                self.method,
                StopOnNonFinite(),
            ],
            decollate=False,
        )

    def run(self) -> dict[str, torch.Tensor]:
        """The weights and statistics after the run."""
        self.trainer.run()
        return self.trainer.network.merged().state_dict()

    def stepped(self, objective: Callable[[torch.nn.Module], torch.Tensor], rate: float) -> dict[str, torch.Tensor]:
        """The teacher's weights after one plain gradient step on an objective of the network."""
        network = copy.deepcopy(self.teacher)
        gradients = torch.autograd.grad(objective(network), list(network.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(network.parameters(), gradients, strict=True):
                weight -= rate * gradient
        return network.state_dict()


def small_network() -> torch.nn.Module:
    torch.manual_seed(7)
    layers = {"first": torch.nn.Linear(4, 6), "norm": torch.nn.BatchNorm1d(6), "act": torch.nn.PReLU()}
    layers |= {"middle": torch.nn.Linear(6, 5), "last": torch.nn.Linear(5, 3)}
    network = torch.nn.Sequential(OrderedDict(layers))
    network(torch.randn(64, 4) + 1)  # statistics that are no longer the initial ones
    return network.eval()


def still_network() -> torch.nn.Module:
    """A convolution and linear layers, without BatchNorm, which normalizes by the batch of each process."""
    torch.manual_seed(7)
    layers = [
        torch.nn.Unflatten(1, (1, 2, 2)),
        torch.nn.Conv2d(1, 6, 2),
        torch.nn.Flatten(),
        torch.nn.LayerNorm(6),
        torch.nn.PReLU(),
    ]
    return torch.nn.Sequential(*layers, torch.nn.Linear(6, 5), torch.nn.Linear(5, 3)).eval()


def small_cases(subset: str, number: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(len(subset))
    images, labels = torch.randn(number, 4, generator=generator), torch.randint(3, (number,), generator=generator)
    ids = [f"{subset}-{index}" for index in range(number)]
    return [
        {"image": image, "label": label, "case_id": case, "patient_id": case}
        for image, label, case in zip(images, labels, ids, strict=True)
    ]


@pytest.fixture
def small() -> Callable[..., Small]:
    """Makes a method's run on the small classifier."""

    def make(kind: type[UnlearningMethod], rate: float = 0.1, options: Any = None, **settings: Any) -> Small:
        return Small(kind, settings, {"rate": rate} | dict(options or {}))

    return make


@pytest.fixture
def loss_of() -> Callable[[torch.nn.Module, list[dict[str, Any]]], torch.Tensor]:
    """The mean cross-entropy of a network on cases."""

    def loss(network: torch.nn.Module, cases: list[dict[str, Any]]) -> torch.Tensor:
        images, labels = (torch.stack([case[key] for case in cases]) for key in ("image", "label"))
        return torch.nn.functional.cross_entropy(network(images), labels)

    return loss
