"""One run on several processes, started by torchrun: which of them this is, and what all of them have together.

A program that torchrun did not start is one process, and nothing here does anything in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from mu_monai.errors import InputError, raise_if_any

_LOCAL = "LOCAL_RANK"  # the number of a process on its machine, from torchrun
_Row = TypeVar("_Row")
_Number = TypeVar("_Number", int, float)
_Made = TypeVar("_Made")


def several() -> bool:
    """Whether this run has several processes.

    Example:
        >>> several()
        False
    """
    return processes() > 1


def processes() -> int:
    """The number of processes of this run.

    Example:
        >>> processes()
        1
    """
    return distributed.get_world_size() if _joined() else 1


def number() -> int:
    """Which of them this is, from 0 on.

    Example:
        >>> number()
        0
    """
    return distributed.get_rank() if _joined() else 0


def is_first() -> bool:
    """Whether this is the process that writes files and shows progress.

    Example:
        >>> is_first()
        True
    """
    return number() == 0


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def own_device() -> torch.device:
    """The device of this process: the GPU with its local number, or the CPU on a machine without GPUs.

    Raises:
        InputError: if the machine has fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    raise_if_any(too_many(int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    device = torch.device("cuda", int(os.environ.get(_LOCAL, 0)))
    torch.cuda.set_device(device)  # what is gathered goes through it
    return device


def require_torchrun() -> None:
    """Refuse to go on if torchrun did not start this process.

    Raises:
        InputError: if it did not.
    """
    if _LOCAL not in os.environ:
        raise InputError(
            "a multi_gpu config is for processes that torchrun starts: torchrun --standalone --nproc_per_node=2 -m "
            "monai.bundle run ..., or mu-monai ... --processes 2"
        )


def too_many(wanted: int) -> list[str]:
    """Why a machine cannot have so many processes: each needs a GPU of its own, if there are any.

    Example:
        >>> too_many(0)
        ['0 processes are not allowed; use 1, 2 ...']
    """
    if wanted < 1:
        return [f"{wanted} processes are not allowed; use 1, 2 ..."]
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else wanted
    if wanted > gpus:
        return [f"{wanted} processes need as many GPUs, and this machine has {gpus}; use at most {gpus}"]
    return []


def gathered(rows: Sequence[_Row]) -> list[list[_Row]]:
    """The rows of every process, in the order of their numbers; all processes must call it.

    Args:
        rows: what this process has, of any type that can be pickled.

    Example:
        >>> gathered([1, 2])
        [[1, 2]]
    """
    parts: list[Any] = [list(rows)]
    if several():
        parts = [None] * processes()
        distributed.all_gather_object(parts, list(rows))
    return parts


def once(rows: Sequence[_Row], key: Callable[[_Row], str]) -> list[_Row]:
    """The rows of all processes, those of a case only once, sorted by case; of one process, its rows as they are.

    A sampler gives some cases to two processes, so that all have as many batches. Of these, the rows of the first one
    count.

    Args:
        rows: those of this process; a case may have several.
        key: the case of a row.

    Example:
        >>> once(["b", "a", "b"], key=str)
        ['b', 'a', 'b']
    """
    if not several():
        return list(rows)
    found: dict[str, list[_Row]] = {}
    for part in gathered(rows):
        own: dict[str, list[_Row]] = {}
        for row in part:
            own.setdefault(key(row), []).append(row)
        found = own | found
    return [row for case in sorted(found) for row in found[case]]


def own_batches(loader: Iterable[_Row]) -> Iterable[_Row]:
    """The batches of a `DataLoader` that this process takes: every second one of two processes, in order.

    Only these are read. A loader whose sampler divides its cases already, and what is not a `DataLoader`, is taken as
    it is.

    Example:
        >>> own_batches(["a", "b"])
        ['a', 'b']
    """
    if not _divides(loader):
        return loader
    places, size = range(len(loader.dataset)), loader.batch_size or 1  # type: ignore[attr-defined]
    batches = [list(places[start : start + size]) for start in places[::size]]
    reading = {"num_workers": loader.num_workers, "collate_fn": loader.collate_fn}  # type: ignore[attr-defined]
    return DataLoader(loader.dataset, batch_sampler=batches[number() :: processes()], **reading)  # type: ignore[attr-defined]


def all_batches(results: Sequence[_Row], loader: object) -> list[_Row]:
    """The results of all processes for the batches of a loader, in the order of the batches.

    Args:
        results: one for each of `own_batches(loader)`.
        loader: the loader.

    Example:
        >>> all_batches([0.1, 0.2], ["a", "b"])
        [0.1, 0.2]
    """
    if not _divides(loader):
        return list(results)
    parts = gathered(results)
    return [parts[place % len(parts)][place // len(parts)] for place in range(sum(map(len, parts)))]


def _divides(loader: object) -> bool:
    return several() and isinstance(loader, DataLoader) and not isinstance(loader.sampler, DistributedSampler)


def total(amount: _Number) -> _Number:
    """The sum over all processes; all of them must call it.

    Example:
        >>> total(3)
        3
    """
    if not several():
        return amount
    from ignite import distributed as idist  # a split has no use for it

    summed: Any = idist.all_reduce(amount)
    return type(amount)(summed)


def made_by_first(make: Callable[[], _Made]) -> _Made:
    """What the first process makes, for all of them, such as a folder that must not exist before.

    Args:
        make: is called in the first process; the others wait for what it returns.

    Raises:
        InputError: in every process, if it was raised in the first.

    Example:
        >>> made_by_first(lambda: "runs/teacher-2")
        'runs/teacher-2'
    """
    if not several():
        return make()
    found: list[Any] = [None, None]
    if is_first():
        try:
            found[0] = make()
        except InputError as error:
            found[1] = error
    distributed.broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return found[0]


def differing(facts: Mapping[str, str]) -> list[str]:
    """What processes do not have in common, as sentences; all of them must call it.

    Args:
        facts: by name, such as the digest of the split or the version of a package.

    Example:
        >>> differing({"the split": "ab12"})
        []
    """
    parts = [dict(part) for part in gathered(list(facts.items()))]
    return [
        f"{name} differs between the processes of this run: {', '.join(dict.fromkeys(part[name] for part in parts))}; "
        "start all of them with the same files and packages"
        for name in facts
        if len({part[name] for part in parts}) > 1
    ]
