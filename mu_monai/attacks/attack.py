"""The base class of attacks: a function from a model to a model."""

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
        known: the forgotten cases that the attacker has, to train on; never those that are tested.
        loss: the supervised loss.
        inferer: how a network is applied to a batch.
        device: where the networks are.
        seed: seed of all random draws.
        folder: the folder that the model came in, if the attacker has it.
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
    """One way to bring the forgotten cases back; settings are keyword-only fields with defaults.

    The attacked model is not changed: `stages` works on a copy. `summary` is one sentence on what the attacker does and
    needs.
    """

    summary: ClassVar[str]

    def __call__(self, network: nn.Module, data: AttackData) -> nn.Module:
        """The model at the end of the attack, in evaluation mode; `network` is not changed."""
        return deque(self.stages(network, data), maxlen=1).pop()[1]

    def stages(self, network: nn.Module, data: AttackData) -> Iterator[tuple[int, nn.Module]]:
        """The states of the attacked model to test, each with its step; the last one is the result."""
        attacked = copy.deepcopy(network).eval().requires_grad_(True)
        for step in self.act(attacked, data):
            yield step, attacked.eval()

    @abstractmethod
    def act(self, network: nn.Module, data: AttackData) -> Iterator[int]:
        """Change the network in place; yield the number of each step after it."""

    def hindered(self, network: nn.Module, data: AttackData) -> str:
        """Why the attack cannot run on this network with these data; empty if it can."""
        return ""

    def sweep(self) -> dict[float | None, Attack]:
        """What an audit runs, by learning rate: an attack that does not train is run once, as it is."""
        return {None: self}

    def settings(self) -> dict[str, Any]:
        """The settings, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def endless(loader: Batches, batch_size: int, seed: int) -> Iterator[Mapping[str, Any]]:
    """Endless batches of a loader's data, shuffled with a seed.

    Args:
        loader: the loader whose data set and collate function are used.
        batch_size: items per batch; fewer if the data set has fewer.
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
