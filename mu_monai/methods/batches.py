"""The batches of a loader, as methods take them: a new pass, one batch on the trainer's device, and its size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    """How many samples a batch holds, of all processes, which must call it; of volumes, several patches of each.

    A batch is read for it; what the random transforms draw afterwards does not depend on that.
    """
    with _undisturbed(loader.dataset), seeded(loader.dataset):
        return total(len(next(iter(loader))[IMAGE]))


@contextmanager
def _undisturbed(dataset: Any) -> Iterator[None]:
    """Give the random transforms of a data set back the generators that they have now."""
    kept = [(part, vars(part).get("R")) for part in _random_parts(dataset, set())]
    try:
        yield
    finally:
        for part, generator in kept:
            vars(part).pop("R", None)  # without one of its own, it draws from that of its class
            if generator is not None:
                part.R = generator


def _random_parts(part: Any, seen: set[int]) -> Iterator[Any]:
    """All that MONAI's `set_rnd` seeds in a data set."""
    if id(part) in seen or isinstance(part, type):
        return
    seen.add(id(part))
    if hasattr(part, "__dict__") and hasattr(part, "set_random_state"):
        yield part
    for inner in part if isinstance(part, tuple | list) else getattr(part, "__dict__", {}).values():
        yield from _random_parts(inner, seen)


def samples_of_pass(loader: DataLoader[Mapping[str, Any]], samples: int) -> int:
    """How many samples a pass over a loader holds, by how many `samples_of` says of a batch; its last may be smaller.

    Example:
        >>> samples_of_pass(DataLoader(range(5), batch_size=4), samples=8)  # two patches of each
        10
    """
    cases: int = len(loader.dataset)  # type: ignore[arg-type]
    return min(len(loader) * samples, -(-samples * cases // min(cases, loader.batch_size or 1)))


def prepared(engine: SupervisedTrainer, batch: Mapping[str, Any]) -> Batch:
    """The images and labels of a batch on the trainer's device, and the ids of its cases."""
    image, label, *_ = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
    return image, label, list(batch.get(CASE_ID, ()))
