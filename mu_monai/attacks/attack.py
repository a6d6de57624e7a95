"""What every attack is: a function from a model to a model."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from monai.data.utils import set_rnd
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mu_monai.measure import Apply

Batches = DataLoader[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class AttackData:
    """What an attacker has besides the model.

    Args:
        retain: retain cases to train on.
        known: the forgotten cases that the attacker has, to train on; never the ones that are tested.
        loss: the supervised loss.
        inferer: how a network is applied to a batch.
        device: where the networks are.
        seed: seed of whatever is drawn.
        folder: the folder that the model came in, where the attacker holds it.
    """

    retain: Batches
    known: Batches
    loss: nn.Module
    inferer: Apply
    device: torch.device
    seed: int = 0
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """One way to bring the forgotten back; settings are keyword-only fields with defaults.

    The model that is attacked stays as it is, bit for bit: `stages` works on a copy. `summary` says in a sentence what
    the attacker does and needs.
    """

    summary: ClassVar[str]

    def __call__(self, network: nn.Module, data: AttackData) -> nn.Module:
        """The model that the attack ends with, in evaluation mode; the given one stays as it is."""
        return deque(self.stages(network, data), maxlen=1).pop()[1]

    def stages(self, network: nn.Module, data: AttackData) -> Iterator[tuple[int, nn.Module]]:
        """Every state of the attacked model that is worth a look, with its step; the last one is the result."""
        attacked = copy.deepcopy(network).eval().requires_grad_(True)
        for step in self.act(attacked, data):
            yield step, attacked.eval()

    @abstractmethod
    def act(self, network: nn.Module, data: AttackData) -> Iterator[int]:
        """Change the network in place, yielding the number of every step after it."""

    def settings(self) -> dict[str, Any]:
        """The settings, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def endless(loader: Batches, batch_size: int, seed: int) -> Iterator[Mapping[str, Any]]:
    """Batches of a loader's data in an order of our own, over and over.

    Args:
        loader: whose data and way of collating is taken.
        batch_size: items of the data set in a batch; fewer where the data set has fewer.
        seed: seed of the order and of random transforms.
    """
    dataset: TorchDataset[Any] = loader.dataset
    set_rnd(dataset, seed)
    batches: Batches = DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        collate_fn=loader.collate_fn,
        generator=torch.Generator().manual_seed(seed),
    )
    while True:
        yield from batches
