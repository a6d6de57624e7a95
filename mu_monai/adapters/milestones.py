"""Milestones: the weights that a training had after some of its epochs, before it memorized its cases."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mu_monai.adapters.weights import SAFETENSORS
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import atomic_path, special_problem
from mu_monai.keys import MILESTONES_DIR
from mu_monai.runs import changed_files, is_run, read_record

_SUFFIXES = (SAFETENSORS, ".pt", ".pth")
_MEMORIZED = "memorized"
_EPOCH = re.compile(r"epoch[=_-]?(\d+)", re.IGNORECASE)


def milestone_epochs(number: int, max_epochs: int) -> list[int]:
    r"""The epochs after which weights are kept, spread geometrically between the first and the last.

    .. math:: e_i = \operatorname{round}(E^{\,i / (n + 1)}), \quad i = 1 \dots n

    Networks learn what all cases share early and single cases late, so the distances grow. Epochs that would be equal
    are kept once, and the last epoch is the model itself.

    Args:
        number: how many, `n`, 0 or more.
        max_epochs: the number of epochs of the training, `E`.

    Example:
        >>> milestone_epochs(6, 40), milestone_epochs(6, 4)
        ([2, 3, 5, 8, 14, 24], [1, 2, 3])
    """
    epochs = {round(max_epochs ** (place / (number + 1))) for place in range(1, number + 1)}
    return sorted(epoch for epoch in epochs if 0 < epoch < max_epochs)


def write_milestone(
    folder: str | os.PathLike[str], epoch: int, state: Mapping[str, torch.Tensor], memorized: float | None = None
) -> Path:
    """Write the weights after an epoch as safetensors, whole or not at all, without the optimizer's state.

    Args:
        folder: the folder of all milestones.
        epoch: the epoch.
        state: the state dict of the network.
        memorized: the probability, in [0, 1], that a patient who was trained on has a lower loss than one who was not;
            `None` if it is not known.

    Returns:
        the file.

    Raises:
        OSError: if it cannot be written.
    """
    metadata = None if memorized is None else {_MEMORIZED: f"{memorized:.6f}"}
    return write_safetensors(Path(folder) / f"epoch-{epoch:04d}{SAFETENSORS}", state, metadata)


def write_safetensors(file: Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write weights as safetensors, whole or not at all.

    Args:
        file: the file.
        state: the state dict of a network.
        metadata: text that is kept with them.

    Returns:
        the file.

    Raises:
        OSError: if it cannot be written.
    """
    with atomic_path(file) as path:
        try:  # clones: safetensors refuses tensors that share memory
            content = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
            save_file(content, path, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            raise OSError(f"'{file}' cannot be written ({error})") from error
    return file


def find_milestones(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """The milestones in a folder by their epoch, in ascending order.

    A milestone is a file of weights with its epoch in the name, as this program (`epoch-0016.safetensors`) and MONAI's
    `CheckpointSaver` (`model_epoch=16.pt`) write it. Other files are ignored. Those of a run must match its record.

    Raises:
        InputError: if there are none, two have the same epoch, or a run wrote others.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> torch.save({}, f"{folder}/model_epoch=16.pt")
        >>> _ = write_milestone(folder, 3, {"weight": torch.ones(1)})
        >>> [(epoch, file.name) for epoch, file in find_milestones(folder).items()]
        [(3, 'epoch-0003.safetensors'), (16, 'model_epoch=16.pt')]
    """
    folder = Path(folder)
    by_epoch: dict[int, list[Path]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _EPOCH.search(file.name)
        if match and file.suffix in _SUFFIXES:
            by_epoch.setdefault(int(match[1]), []).append(file)
    problems = [
        f"'{folder}' has {len(files)} files of epoch {epoch} ({', '.join(file.name for file in files)}); leave one"
        for epoch, files in by_epoch.items()
        if len(files) > 1
    ]
    problems += [text for files in by_epoch.values() for file in files if (text := special_problem(file))]
    if not by_epoch:
        problems.append(
            f"'{folder}' holds no milestones: files such as epoch-0016.safetensors or model_epoch=16.pt; give the "
            "folder of a run that kept them (train with milestones=12), or one that MONAI's CheckpointSaver wrote to"
        )
    if folder.name == MILESTONES_DIR and is_run(folder.parent):
        problems += changed_files(folder.parent, read_record(folder.parent), [MILESTONES_DIR])
    raise_if_any(problems)
    return {epoch: files[0] for epoch, files in sorted(by_epoch.items())}


def memorized_at(file: str | os.PathLike[str]) -> float | None:
    """How well losses told training from unseen patients at a milestone, as its training measured it.

    Returns:
        the AUC, in [0, 1]; `None` if it was not measured.

    Raises:
        InputError: if the file is damaged.

    Example:
        >>> import tempfile
        >>> memorized_at(write_milestone(tempfile.mkdtemp(), 3, {"weight": torch.ones(1)}, 0.5))
        0.5
    """
    if Path(file).suffix != SAFETENSORS:
        return None
    try:
        with safe_open(file, framework="pt") as content:
            noted = (content.metadata() or {}).get(_MEMORIZED)
        if noted is not None and not 0 <= float(noted) <= 1:
            raise ValueError(f"{_MEMORIZED} is {noted}, not a number in [0, 1]")
        return None if noted is None else float(noted)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"milestone '{file}' cannot be read ({error}); put the original back, or leave it out"
        ) from error
