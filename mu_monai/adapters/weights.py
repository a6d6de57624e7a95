"""Plain weights: loading them into a network that they must fit, and their SHA-256."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import atomic_path, special_problem
from mu_monai.keys import MODEL_PT
from mu_monai.runs import changed_files, read_record, run_of

SAFETENSORS = ".safetensors"
_CONTAINERS = ("model", "network", "net", "state_dict")
_WRAPPERS = ("module.", "_orig_mod.")
logger = logging.getLogger(__name__)
_SHOWN = 8


def weights_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a state dict, independent of file format and device.

    Example:
        >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> _ = b.load_state_dict(a.state_dict())
        >>> weights_sha256(a.state_dict()) == weights_sha256(b.state_dict())
        True
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(target: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write tensors and plain values as a torch file, whole or not at all; the same content gives the same bytes.

    Raises:
        OSError: if it cannot be written, with the file's name.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.pt", "b"):
        ...     write_tensors(folder / name, {"weight": torch.ones(2)})
        >>> (folder / "a.pt").read_bytes() == (folder / "b").read_bytes()
        True
    """
    with (
        atomic_path(target) as path,
        path.open("wb") as stream,
    ):  # given a path, torch would put its name into the bytes
        try:
            torch.save(content, stream)
        except RuntimeError as error:  # torch's error for a file that cannot be written further
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def read_torch(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read the content of a torch file; nothing is unpickled, and a damaged archive is detected by its checksums.

    Raises:
        InputError: if it is damaged, or holds more than tensors and plain values.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch itself ignores wrong checksums
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise zipfile.BadZipFile("torch packs nothing, and this unpacks to more than its size")
                if (damaged := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
                if any("/code/" in name for name in archive.namelist()):
                    raise InputError(
                        f"weights '{path}' are a TorchScript archive, which is a program: torch runs what it says when "
                        "it loads it, so it is not opened; give the checkpoint that it was exported from or, if you "
                        'know who made it, take the weights out of it: python -c "import torch; torch.save('
                        f"torch.jit.load('{path}', map_location='cpu').state_dict(), 'model.pt')\""
                    )
        return torch.load(path, map_location=device, weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch raises many types of errors for files that do not hold weights
        raise InputError(
            f"weights '{path}' cannot be read as plain weights ({type(error).__name__}); save them with "
            "torch.save(network.state_dict(), path), or restore the file if it is damaged"
        ) from error


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a plain state dict, or one inside a checkpoint; see `Container`.

    Nothing is unpickled; a file that ends with `.safetensors` is read as such. The weights of a run must match the
    digest in its `run.json`.

    Raises:
        InputError: if the file is missing, is not a weights file, holds no state dict, or belongs to a run that wrote
            other weights.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MODEL_PT
    raise_if_any(filter(None, [special_problem(path)]))
    if not path.is_file():
        raise InputError(f"weights '{path}' do not exist; give a model.pt or a folder that holds one")
    content, _ = opened_weights(path)
    odd = [name for name, value in content.items() if not _is_plain(value)]
    raise_if_any(
        f"weights '{path}' hold {name!r} in a form that no network has (sparse, quantized, or without numbers of its "
        "own); save them with torch.save(network.state_dict(), path)"
        for name in odd[:_SHOWN]
    )
    raise_if_any(_other_than_recorded(path, content))
    return dict(content)


@dataclass(frozen=True)
class Container:
    """How a file holds weights, so that others can be put into its place.

    Args:
        keys: the keys that lead to the state dict in a checkpoint, such as `("state_dict",)`; none for a plain one.
        prefix: what every name begins with, such as `module.` of `DataParallel`.

    Example:
        >>> Container(("model",), "module.").around({"weight": torch.ones(1)})
        {'model': {'module.weight': tensor([1.])}}
    """

    keys: tuple[str, ...] = ()
    prefix: str = ""

    def around(self, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Weights in this form."""
        content: dict[str, Any] = {f"{self.prefix}{name}": value for name, value in state.items()}
        for key in reversed(self.keys):
            content = {key: content}
        return content


def opened_weights(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], Container]:
    """The state dict in a file, and how the file holds it.

    A checkpoint has it under `model`, `network`, `net` or `state_dict`, one within the other if need be. Names may
    begin with `module.` (`DataParallel`) or `_orig_mod.` (`torch.compile`).

    Raises:
        InputError: if the file cannot be read, or holds no state dict.
    """
    path = Path(path)
    content = _read_safetensors(path) if path.suffix == SAFETENSORS else read_torch(path)
    keys: list[str] = []
    while isinstance(content, Mapping):
        key = next((key for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        keys.append(key)
        content = content[key]
    if not isinstance(content, Mapping) or not content or not _is_state(content):
        inside = f" with the keys {', '.join(map(str, content))[:200]}" if isinstance(content, Mapping) else ""
        raise InputError(
            f"weights '{path}' hold a {type(content).__name__}{inside}, not a state dict of tensors; save them with "
            "torch.save(network.state_dict(), path)"
        )
    prefix = ""
    while (more := _prefix(content, prefix)) is not None:
        prefix += more
    if keys or prefix:
        held = " ".join([*map(repr, keys), *([f"with names after {prefix!r}"] if prefix else [])])
        logger.info("the weights in '%s' were taken from %s", path, held)
    return {name.removeprefix(prefix): value for name, value in content.items()}, Container(tuple(keys), prefix)


def _prefix(state: Mapping[str, Any], known: str) -> str | None:
    """What all names go on with after a known prefix, if it is one that a wrapper adds."""
    return next((each for each in _WRAPPERS if all(name.startswith(known + each) for name in state)), None)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"weights '{path}' cannot be read as safetensors ({error}); put the original file back if it is damaged"
        ) from error


def _is_state(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())


def _is_plain(value: torch.Tensor) -> bool:
    """Whether a tensor stores all of its numbers: it is not sparse, quantized, without data, or expanded."""
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _other_than_recorded(path: Path, state: Mapping[str, torch.Tensor]) -> Iterator[str]:
    run = run_of(path)
    if run == path:
        return
    record = read_record(run)
    changed = changed_files(run, record, [MODEL_PT])
    yield from changed
    recorded, digest = record.sha256.weights, weights_sha256(state)
    if not changed and recorded not in (None, digest):
        yield (
            f"the weights '{path}' are not those that the run made (SHA-256 {digest}, in its record {recorded}); put "
            "the original file back"
        )


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Load a state dict into `network`, which it must fit name by name and shape by shape.

    Raises:
        InputError: lists the names and shapes that differ.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.pt"
        >>> torch.save(nn.Linear(2, 1).state_dict(), file)
        >>> _ = load_weights(nn.Linear(2, 1), file)
    """
    state = read_weights(path)
    problems = misfits(network, state)
    if problems:
        raise InputError([f"weights '{path}' do not fit {type(network).__name__}: {text}" for text in problems])
    network.load_state_dict(state)
    return network


def load_models(
    network: nn.Module, weights: Mapping[str, str | os.PathLike[str]], device: torch.device | str = "cpu"
) -> dict[str, nn.Module]:
    """One copy of `network` per role, each with its own weights, in evaluation mode on `device`."""
    return {role: load_weights(copy.deepcopy(network), path).to(device).eval() for role, path in weights.items()}


@torch.no_grad()
def draw_weights(layer: nn.Module) -> None:
    """Draw the weights that a layer itself holds anew, from its own initialization, and reset its statistics.

    Weights of a module without an initialization, such as position embeddings, are drawn from a normal distribution of
    deviation 0.02, cut at two.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> _ = norm.running_mean.fill_(3)
        >>> draw_weights(norm)
        >>> norm.running_mean.item()
        0.0
    """
    reset: Any = getattr(layer, "reset_parameters", None)
    if reset is not None:
        reset()
        return
    for weight in layer.parameters(recurse=False):
        nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)


def misfits(network: nn.Module, state: Mapping[str, torch.Tensor]) -> list[str]:
    """Every difference in names and shapes between a network and a state dict, in words."""
    ours = network.state_dict()
    holder = _holder(ours, state)
    if holder is not None:
        return [
            f"its names begin with '{holder}', as where a module such as Lightning's holds the network; save the "
            f"network's own: torch.save({{name.removeprefix('{holder}'): x for name, x in state.items()}}, path)"
        ]
    problems = [
        f"'{name}' has shape {tuple(state[name].shape)} in the file and {tuple(ours[name].shape)} in the network"
        for name in ours
        if name in state and state[name].shape != ours[name].shape
    ]
    problems += [f"'{name}' is missing in the file" for name in ours if name not in state]
    problems += [f"'{name}' is not in the network" for name in state if name not in ours]
    if len(problems) > _SHOWN:
        problems = [
            *problems[:_SHOWN],
            f"and {len(problems) - _SHOWN} more; is this the network that the weights were made with?",
        ]
    return problems


def _holder(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """What all names of the network begin with in a file, if that is all that differs."""
    first = next(iter(ours), None)
    held = next((name for name in theirs if first is not None and name.endswith(f".{first}")), None)
    if first is None or held is None or first in theirs:
        return None
    prefix = held.removesuffix(first)
    return prefix if all(f"{prefix}{name}" in theirs for name in ours) else None
