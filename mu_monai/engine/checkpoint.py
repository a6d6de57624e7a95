"""The checkpoint: the trainer's position, the trained weights and the optimizer's state after the last full epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from mu_monai.adapters import Student, read_torch, write_tensors
from mu_monai.engine.schedule import spans
from mu_monai.errors import InputError

_FILE = "last.pt"


class Resumable(Protocol):
    """An object with state besides weights and optimizer: an unlearning method."""

    def state_dict(self) -> dict[str, Any]:
        """Only tensors and plain values, because nothing is unpickled."""

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Continue from it; the trainer is already at the position of the checkpoint."""


def save_checkpoint(engine: SupervisedTrainer, folder: Path, method: Resumable | None = None) -> None:
    """Atomically replace the checkpoint with the state after the epoch that just ended."""
    content = {
        "trainer": engine.state_dict(),
        "network": _trained_state(engine.network),
        "optimizer": engine.optimizer.state_dict(),
    }
    if method is not None:
        content["method"] = method.state_dict()
    if engine.scaler is not None:
        content["scaler"] = engine.scaler.state_dict()
    write_tensors(folder / _FILE, content)


def has_checkpoint(folder: Path) -> bool:
    """Whether the folder holds a checkpoint to resume from."""
    return (folder / _FILE).is_file()


def restore_checkpoint(engine: SupervisedTrainer, folder: Path, method: Resumable | None = None) -> None:
    """Restore trainer, network, optimizer and method to the state of the checkpoint.

    Raises:
        InputError: if it is damaged, belongs to another run, or to one of another number of epochs over all of which
            something takes its course, such as the learning rate.
    """
    content = read_torch(folder / _FILE, engine.state.device)
    try:
        _restore(engine, content, folder, method)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"the checkpoint '{folder / _FILE}' is damaged, or belongs to another run ({type(error).__name__}: "
            f"{error}); start a new run"
        ) from error


def _restore(engine: SupervisedTrainer, content: Any, folder: Path, method: Resumable | None) -> None:
    max_epochs = engine.state.max_epochs  # the config may ask for more epochs than the interrupted run did
    position = [value for key, value in content["trainer"].items() if key in ("iteration", "epoch", "epoch_length")]
    if not position or not all(type(value) is int and value >= 0 for value in position):
        raise ValueError(f"its position is {position}, which does not exist in a run")
    before, course = content["trainer"]["max_epochs"], spans(engine)
    if course is not None and before != max_epochs:
        raise InputError(
            f"max_epochs={max_epochs} differs from the {before} epochs that the run was started with, over which "
            f"{course}; resume with max_epochs={before}, or start a new run"
        )
    engine.load_state_dict(content["trainer"])
    engine.state.max_epochs = max_epochs
    expected, saved = set(_trained_state(engine.network)), set(content["network"])
    if expected != saved:
        raise InputError(
            f"the trained weights in the checkpoint in '{folder}' are not those of the config (only in one of them: "
            f"{', '.join(sorted(expected ^ saved)[:8])}); resume with the same config, or start a new run"
        )
    engine.network.load_state_dict(content["network"], strict=not isinstance(engine.network, Student))
    engine.optimizer.load_state_dict(content["optimizer"])
    if engine.scaler is not None:
        engine.scaler.load_state_dict(content["scaler"])
    if method is not None:
        method.load_state_dict(content["method"], engine)


def _trained_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that train; a student's frozen weights are read from the teacher, never copied into the run."""
    return network.own_state() if isinstance(network, Student) else network.state_dict()
