"""Functions that several processes run together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import start_processes


def in_processes(number: int, work: Callable[..., Any], *arguments: Any, folder: Path) -> list[Any]:
    """What each of so many processes returns; they are copies of this one."""
    start_processes(_enter, args=(number, work, arguments, folder), nprocs=number, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(number)]


def _enter(rank: int, number: int, work: Callable[..., Any], arguments: tuple[Any, ...], folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=number)
    try:
        torch.save(work(*arguments), folder / f"{rank}.pt")
    finally:
        distributed.destroy_process_group()
