"""The batches of a loader, as methods take them: a new pass, one batch on the trainer's device, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from mu_monai.engine import seeded
from mu_monai.keys import CASE_ID, IMAGE
from mu_monai.processes import total

Batch = tuple[torch.Tensor, torch.Tensor, list[str]]


def begin_pass(loader: DataLoader[Any], epoch: int) -> None:
    """Let the sampler and the transforms of a loader draw for an epoch; a trainer does so for its own loader.

    Args:
        loader: the loader.
        epoch: the number of the epoch.
    """
    sampler = getattr(loader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        sampler.set_epoch(epoch)
    set_rnd(loader.dataset, torch.initial_seed() % 2**32)


def samples_of(loader: DataLoader[Mapping[str, Any]]) -> int:
    """How many samples a batch holds, of all processes, which must call it; of volumes, several patches of each."""
    with seeded(loader.dataset):
        return total(len(next(iter(loader))[IMAGE]))


def prepared(engine: SupervisedTrainer, batch: Mapping[str, Any]) -> Batch:
    """The images and labels of a batch on the trainer's device, and the ids of its cases."""
    image, label, *_ = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
    return image, label, list(batch.get(CASE_ID, ()))
