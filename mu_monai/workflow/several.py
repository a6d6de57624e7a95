"""Runs of several processes: what is laid over a config for them, what cannot be so, and how they are started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mu_monai.bundle.config import run_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.multi_gpu import PREFIX, multi_gpu
from mu_monai.bundle.opened import Bundle
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.method import not_replicable
from mu_monai.processes import too_many
from mu_monai.workflow.launching import launch


def overlays_for(processes: int, bundle: Bundle, name: str) -> list[str]:
    """The bundle's overlay for several processes, if it has one.

    Args:
        processes: the number of processes.
        bundle: the bundle.
        name: `train`, `unlearn` or `evaluate`.
    """
    overlay = f"{PREFIX}{name}"
    return [overlay] if processes > 1 and (bundle.configs / f"{overlay}.json").is_file() else []


def lay_several(processes: int, config: LayeredConfig, name: str) -> None:
    """Lay the overlay for several processes over the config of a bundle that has none."""
    if processes > 1 and not overlays_for(processes, config.bundle, name):
        made = multi_gpu(name, config.read("recipe").get())
        config.lay("options", {key.replace("#", "::"): value for key, value in made.items()})


def several_problems(
    processes: int, device: str | None, method: type[UnlearningMethod] | None = None, *, plan: bool = False
) -> Iterator[str]:
    """Why a run cannot have so many processes.

    Args:
        processes: as given by `--processes`.
        device: as given by `--device`.
        method: the method, of an unlearning run.
        plan: whether the run is only planned.
    """
    if processes == 1:
        return
    yield from (f"--processes: {problem}" for problem in too_many(processes))
    if device is not None:
        yield f"--device {device} and --processes {processes} exclude each other: each process has a GPU of its own"
    if plan:
        yield f"--plan and --processes {processes} exclude each other; plan it for one process"
    if method is not None and not method.replicable:
        yield f"--processes {processes}: {not_replicable(method.__name__)}"


def run_together(processes: int, config: LayeredConfig, overrides: dict[str, object], folder: str | Path) -> None:
    """Run a config in this process, or in several."""
    if processes == 1:
        run_config(config.files, overrides)
    else:
        launch(processes, config.files, overrides, folder)
