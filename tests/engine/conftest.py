"""A small unlearning run in memory: cases, loaders, networks, a method and the handlers of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer
from monai.losses import DiceCELoss
from torch import nn

from mu_monai.adapters import Student
from mu_monai.engine import Reseed, RunFolder, ScoreSubsets, StopOnNonFinite
from mu_monai.files import write_json
from mu_monai.keys import IMAGE, LOSS, SUBSETS

SIZES = {"retain": 6, "forget": 4, "validation": 3, "test": 3}


class Push:
    """A method as the run folder sees it: named settings, and a term on the loss."""

    selective = False

    def __init__(self, loader: DataLoader, weight: float = 3.0) -> None:
        self.loader, self.weight = loader, weight

    def settings(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        return {"drift": {"total": 1.5}}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        pass

    def attach(self, engine: SupervisedTrainer) -> None:
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        image = next(iter(self.loader))[IMAGE]
        forget = nn.functional.softplus(engine.network(image)).mean()
        engine.state.output[LOSS] = engine.state.output[LOSS] + self.weight * forget


class Run:
    """Everything that a bundle's config would put together, ready to go."""

    def __init__(
        self,
        folder: Path,
        split: Path,
        loaders: Mapping[str, DataLoader],
        make_unet: Callable[..., nn.Module],
        make_student: Callable[..., Student],
    ) -> None:
        self.folder, self.split, self.loaders = folder, split, loaders
        self.make_unet, self.make_student = make_unet, make_student

    def trainer(
        self, network: nn.Module, *, handlers: Sequence[Any] = (), epochs: int = 2, rate: float = 0.1, seed: int = 0
    ) -> SupervisedTrainer:
        trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=DataLoader(self.loaders["retain"].dataset, batch_size=4, shuffle=True),
            network=network,
            optimizer=torch.optim.Adam(trainable, lr=rate),
            loss_function=DiceCELoss(sigmoid=True),
            inferer=SimpleInferer(),
            train_handlers=[Reseed(seed), *handlers],
            decollate=False,
        )

    def unlearning(
        self,
        network: Student | None = None,
        *,
        folder: Path | None = None,
        resume: bool = False,
        epochs: int = 2,
        rate: float = 0.1,
        weight: float = 3.0,
        seed: int = 0,
        subsets: Sequence[str] = ("retain", "forget"),
        before: Sequence[Any] = (),
        after: Sequence[Any] = (),
    ) -> SupervisedTrainer:
        """An unlearning run; handlers `before` and `after` stand around the run folder."""
        method = Push(self.loaders["forget"], weight)
        run_folder = RunFolder(
            folder or self.folder,
            bundle={"name": "small", "version": "0.1.0", "task": "segmentation", "root": "bundles/small"},
            split=self.split,
            seed=seed,
            subsets=list(subsets),
            method=method,
            teacher="runs/teacher/model.pt",
            resume=resume,
        )
        datasets = {subset: loader.dataset for subset, loader in self.loaders.items()}
        scorer = ScoreSubsets(datasets, DiceCELoss(sigmoid=True), batch_size=2)
        handlers = [method, StopOnNonFinite(), scorer, *before, run_folder, *after]
        network = network or self.make_student(lora_dropout=0.2)
        return self.trainer(network, handlers=handlers, epochs=epochs, rate=rate, seed=seed)

    def training(self, *, subsets: Sequence[str] = ("retain", "forget"), resume: bool = False, epochs: int = 2):
        run_folder = RunFolder(
            self.folder,
            bundle={"name": "small", "version": "0.1.0", "task": "segmentation", "root": "bundles/small"},
            split=self.split,
            seed=0,
            subsets=list(subsets),
            resume=resume,
        )
        return self.trainer(self.make_unet(), handlers=[run_folder], epochs=epochs, rate=1e-3)


class At:
    """Calls a function at an event, at one epoch or at all."""

    def __init__(self, event: Any, function: Callable[[SupervisedTrainer], None], epoch: int | None = None) -> None:
        self.event, self.function, self.epoch = event, function, epoch

    def attach(self, engine: SupervisedTrainer) -> None:
        engine.add_event_handler(self.event, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        if self.epoch is None or engine.state.epoch == self.epoch:
            self.function(engine)


@pytest.fixture
def at() -> type[At]:
    return At


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A split file; the run folder reads no more than its provenance."""
    counts = {name: {"patients": (size + 1) // 2, "cases": size} for name, size in SIZES.items()}
    provenance = {"source": "memory", "seed": 3, "counts": counts, "sha256": {"a.png": "0" * 64}}
    write_json(tmp_path / "split.json", {**{name: [] for name in SUBSETS}, "provenance": provenance})
    return tmp_path / "split.json"


@pytest.fixture
def run(tmp_path: Path, split: Path, loaders: dict[str, DataLoader], make_unet, make_student) -> Run:
    return Run(tmp_path / "run", split, loaders, make_unet, make_student)
