"""The batches of one of several processes, and how much a step on them counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch.utils._pytree import tree_leaves
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler
from torch.utils.weak import WeakIdKeyDictionary

from mu_monai.errors import InputError, RunError
from mu_monai.processes import number, processes

_WEIGHT = "process_weight"  # in a batch
_WEIGHTS = "process_weights"  # the place in the engine's state
_OWN = ("sampler", "batch_sampler", "drop_last")


class DividedLoader(DataLoader):
    r"""A `DataLoader` whose batches the processes of a run share: each case of a pass is one process's.

    Every process has the same number of batches. What a step of :math:`n` of all :math:`N` cases counts is in the
    batch, for `Replicas`:

    .. math:: w = n P / N

    with :math:`P` processes, so that the mean over processes is that over cases. A process that has no case for the
    last step of a pass takes one of another process, with :math:`w = 0`.

    Args:
        dataset: the cases.
        batch_size: those of each process, at least 1.
        shuffle: whether the order is drawn anew in every epoch; all processes draw the same.
        options: further arguments of a `DataLoader`.

    Raises:
        InputError: for a sampler of its own, or batches that are left out.

    Example:
        >>> len(DividedLoader([1, 2, 3], batch_size=2)), [len(batch) for batch in DividedLoader([[1], [2]])]
        (2, [1, 1])
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int = 1, shuffle: bool = False, **options: Any) -> None:
        own = [name for name in _OWN if options.pop(name, None)]
        if own:
            raise InputError(
                f"a loader with {', '.join(own)} cannot be divided among processes; leave it out, or use one process"
            )
        super().__init__(dataset, batch_size=batch_size, sampler=_Share(dataset, batch_size, shuffle), **options)

    def __iter__(self) -> Iterator[Any]:
        """The batches of a pass, each with what it counts."""
        assert isinstance(self.sampler, _Share)
        for place, batch in enumerate(super().__iter__()):
            weight = self.sampler.weight(place)
            yield {**batch, _WEIGHT: weight} if isinstance(batch, Mapping) else batch


class _Share(DistributedSampler[Any]):
    """The cases of a process, and another's where it would have no case for the last batch."""

    def __init__(self, dataset: Dataset[Any], batch_size: int, shuffle: bool) -> None:
        super().__init__(dataset, num_replicas=processes(), rank=number(), shuffle=shuffle)
        self._cases, self._batch = len(dataset), batch_size  # type: ignore[arg-type]
        self._own = len(range(self.rank, self._cases, self.num_replicas))

    def __len__(self) -> int:
        repeated = self._own < self.num_samples and self._own % self._batch == 0
        return self._own + repeated

    def __iter__(self) -> Iterator[Any]:
        return iter(list(super().__iter__())[: len(self)])

    def weight(self, place: int) -> float:
        """What the batch at a place counts: 1 if all processes have as many cases for it."""
        own = min(self._batch, self._own - place * self._batch)
        whole = self._batch * self.num_replicas
        return own * self.num_replicas / min(whole, self._cases - place * whole)


def remember_weights(engine: SupervisedTrainer) -> None:
    """Let a trainer remember of every image tensor that it prepares what its batch counts."""
    weights, prepare = WeakIdKeyDictionary(), engine.prepare_batch

    def prepared(batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        found = prepare(batch, *args, **kwargs)
        weights[found[0]] = batch.get(_WEIGHT, 1.0)
        return found

    setattr(engine.state, _WEIGHTS, weights)
    engine.prepare_batch = prepared


def weighted(engine: SupervisedTrainer, images: torch.Tensor, answers: Any) -> Any:
    """What a network made of images, whose gradient counts as much as their batch does; in one process, all of it.

    Args:
        engine: the trainer.
        images: the images, as the trainer prepared them.
        answers: tensors that were computed from them.

    Raises:
        RunError: if they are not the images of a batch.
    """
    weights = getattr(engine.state, _WEIGHTS, None)
    if weights is None:
        return answers
    weight = weights.get(images)
    if weight is None:
        raise RunError(
            "a step was taken on images that are not those of one batch, so what they count among all processes is not "
            "known; use one process, and report the method"
        )
    for answer in tree_leaves(answers) if weight != 1 else ():
        if isinstance(answer, torch.Tensor) and answer.requires_grad:
            answer.register_hook(lambda gradient: weight * gradient)
    return answers
