"""Check a bundle for everything that runs, their records and their reports rely on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mu_monai.bundle import find_bundle
from mu_monai.bundle.adopted.parts import adoptable
from mu_monai.errors import InputError, collect, raise_if_any
from mu_monai.keys import MODEL_PT
from mu_monai.workflow.bundling.agreement import (
    default_preset_problems,
    name_problems,
    overlay_problems,
    preparation_problems,
    shared_problems,
    twin_problems,
)
from mu_monai.workflow.bundling.answers import activation_problems, metadata_problems, network_problems, task_problems
from mu_monai.workflow.bundling.reading import CONFIGS, BundleConfigs, read_configs
from mu_monai.workflow.bundling.wiring import (
    component_problems,
    handler_problems,
    id_problems,
    reference_problems,
    subset_problems,
    trainer_problems,
)
from mu_monai.workflow.checks import place_problems

_FILES = ("LICENSE", "docs/README.md")
_RULES = (
    id_problems,
    name_problems,
    shared_problems,
    preparation_problems,
    overlay_problems,
    default_preset_problems,
    component_problems,
    reference_problems,
    handler_problems,
    trainer_problems,
    subset_problems,
    task_problems,
    activation_problems,
    metadata_problems,
    network_problems,
    twin_problems,
)


def check_bundle(bundle: str | Path) -> list[str]:
    """Check that commands can train, unlearn, evaluate and predict with a bundle.

    Nothing is written or trained. The modules of its components are imported, and the network is built and run on one
    noise image. For this, its `imports` and the expressions of `network_def` are executed, and no others.

    Args:
        bundle: folder, or name of a shipped bundle.

    Returns:
        what was checked and found right, one sentence each.

    Raises:
        InputError: everything that would make a command or a report fail, or be silently wrong.

    Example:
        >>> check_bundle("chase")[0]
        'configs train, unlearn, evaluate, inference are complete and agree'
    """
    folder = find_bundle(bundle)
    if adoptable(folder):
        raise InputError(
            f"'{bundle}' is a bundle that was trained elsewhere; see what is understood of it with mu-monai bundle "
            f"inspect {bundle}"
        )
    configs = read_configs(folder)
    missing = [f"'{name}' is missing; write one" for name in _FILES if not (folder / name).is_file()]
    raise_if_any(
        configs.problems
        + missing
        + collect(
            lambda: place_problems({"BUNDLE": folder}),
            *(lambda rule=rule: rule(configs) for rule in _RULES),
        )
    )
    return list(_found(configs))


def _found(configs: BundleConfigs) -> Iterator[str]:
    yield f"configs {', '.join(CONFIGS)} are complete and agree"
    if configs.overlays:
        yield f"overlays {', '.join(configs.overlays)} fit them"
    if (configs.folder / "models" / MODEL_PT).exists():
        yield "the network's output is what the metadata says, and models/model.pt fits it"
    else:
        yield "the network's output is what the metadata says; without models/model.pt, 'unlearn' needs --teacher"
