"""Plain weights out of an unlearning run: merged (the student) or reverted (the teacher)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mu_monai.adapters import Student, load_student, load_weights
from mu_monai.errors import InputError
from mu_monai.files import atomic_path
from mu_monai.keys import ADAPTER_DIR
from mu_monai.workflow.config import bundle_of, config_files, inherited, read_config, read_run


def merge(run: str | Path, *, out: str | Path, teacher: str | Path | None = None) -> Path:
    """Write the student as plain weights: the teacher's with the run's adapters merged into them.

    Args:
        run: the folder of a finished unlearning run.
        out: the weights file to write; it must not exist.
        teacher: the teacher's weights, where they are no longer where the run found them.

    Returns:
        the path of the weights.

    Raises:
        InputError: where the run is no unlearning run, the teacher is missing or another one, or `out` exists.
    """
    return _write(_student(run, out, teacher).merged(), out)


def revert(run: str | Path, *, out: str | Path, teacher: str | Path | None = None) -> Path:
    """Write the teacher as plain weights: the run's network without its adapters, bit for bit what it started from.

    Args and errors are those of `merge`.
    """
    return _write(_student(run, out, teacher).reverted(), out)


def _student(run: str | Path, out: str | Path, teacher: str | Path | None) -> Student:
    if Path(out).exists():
        raise InputError(f"'{out}' exists; give another file or remove it")
    record = read_run(run)
    if record["verb"] != "unlearn":
        raise InputError(f"'{run}' is a {record['verb']} run; only an unlearning run has adapters to merge or take off")
    files = config_files(bundle_of(record), "unlearn")
    parser = read_config(files)
    parser.update(inherited(run, files, ["classes", "image_size", "network_def"]))
    network = parser.get_parsed_content("network_def", instantiate=True)
    return load_student(load_weights(network, teacher or record["teacher"]), Path(run) / ADAPTER_DIR)


def _write(network: nn.Module, out: str | Path) -> Path:
    with atomic_path(out) as path:
        torch.save({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return Path(out)
