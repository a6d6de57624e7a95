"""Train a model on a split: the teacher, or on retain alone the retrained model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.bundle import ConfigParser

from mu_monai.bundle import find_bundle
from mu_monai.data import class_indices, is_file_label, load_split, read_split
from mu_monai.errors import raise_if_any
from mu_monai.keys import LABEL, PROVENANCE, RETAIN, SUBSETS, TRAINING_SUBSETS
from mu_monai.lock import writes
from mu_monai.workflow.config import collect, config_files, parse_settings, read_config, run_config, unknown_ids
from mu_monai.workflow.trust import is_plain

FORGET_CLASSES = "forget_classes"


@writes("out")
def train(
    bundle: str | Path,
    *,
    split: str | Path | None,
    out: str | Path,
    subsets: Sequence[str] = TRAINING_SUBSETS,
    forget_classes: Sequence[str] = (),
    settings: Sequence[str] = (),
    overlays: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
) -> Path:
    """Train a bundle's network and score every case of the split.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`; none for the bundle's built-in phantoms.
        out: the run folder to make.
        subsets: what to train on: `retain` and `forget` for the teacher, `retain` for the retrained model.
        forget_classes: classes of a mask to train without: the retrained model, where these are unlearned.
        settings: `KEY=VALUE` overrides of config ids.
        overlays: config files laid over the bundle's, by path or by name in its `configs/`.
        resume: go on with an interrupted run.
        device: such as `cpu` or `cuda:0`; by default a GPU where there is one.
        quiet: no progress bar.

    Returns:
        the run folder.

    Raises:
        InputError: every problem of the input, before anything is trained.
    """
    files = config_files(bundle, "train", overlays)
    overrides = {"run_dir": str(out), "subsets": list(subsets), "resume": resume, "quiet": quiet}
    overrides |= class_overrides(forget_classes) | common_overrides(bundle, split, device) | parse_settings(settings)
    parser = read_config(files)
    wrong = [name for name in subsets if name not in TRAINING_SUBSETS]
    problems = [] if subsets else [f"--subsets is empty; use {' or '.join(TRAINING_SUBSETS)}, or both"]
    problems += [f"--subsets {name} cannot be trained on; use {' or '.join(TRAINING_SUBSETS)}" for name in wrong]
    problems += collect(
        lambda: class_problems(parser, overrides) or unknown_ids(parser, list(overrides)),
        lambda: split_problems(split, [RETAIN]) or mask_class_problems(parser, overrides, split),
        lambda: place_problems({"--out": out, "--split": split, "BUNDLE": find_bundle(bundle)}),
        lambda: device_problems(device),
        lambda: number_problems(overrides),
    )
    raise_if_any(problems)
    run_config(files, overrides)
    return Path(out)


def common_overrides(bundle: str | Path, split: str | Path | None, device: str | None) -> dict[str, str]:
    """The overrides that training, unlearning and evaluation share."""
    overrides = {"bundle_root": str(find_bundle(bundle))}
    if split is not None:
        overrides["split"] = str(Path(split).resolve())
    if device is not None:
        overrides["device"] = f"$torch.device('{device}')"
    return overrides


def class_overrides(forget_classes: Sequence[str]) -> dict[str, Any]:
    """The override for classes of a mask that are to be forgotten."""
    return {FORGET_CLASSES: list(forget_classes)} if forget_classes else {}


def classes_to_forget(parser: ConfigParser, overrides: Mapping[str, Any]) -> list[str]:
    """The classes of a mask that a config with overrides asks to forget; none where it forgets cases."""
    names = overrides.get(FORGET_CLASSES, parser.get(FORGET_CLASSES) or [])
    return list(names) if isinstance(names, list) else [str(names)]


def class_problems(parser: ConfigParser, overrides: Mapping[str, Any]) -> list[str]:
    """Why classes of a mask cannot be forgotten.

    Raises:
        InputError: where they are none of the classes, or all of them.
    """
    names = classes_to_forget(parser, overrides)
    if not names:
        return []
    if FORGET_CLASSES not in parser:
        return [
            f"--forget-class {', '.join(names)} is not for this bundle: its config has no id '{FORGET_CLASSES}', since "
            "its masks have no classes to forget; use volume3d or a bundle like it, or choose cases with the split's "
            "--forget"
        ]
    if not isinstance(overrides.get(FORGET_CLASSES, []), list):
        return [f"--set {FORGET_CLASSES}={names[0]} is no list of classes; use --forget-class {names[0]}"]
    class_indices(names, overrides.get("classes", parser.get("classes")))
    return []


def mask_class_problems(parser: ConfigParser, overrides: Mapping[str, Any], split: str | Path | None) -> list[str]:
    """Why the bundle calls the values of masks otherwise than the source that a split was made from."""
    classes = overrides.get("classes", parser.get("classes"))
    if split is None or classes is None:
        return []
    content = read_split(split)
    named = content[PROVENANCE].get("classes")
    labels = pd.Series([case[LABEL] for subset in SUBSETS for case in content[subset]], dtype=object)
    if not named or named == classes or not is_file_label(labels).all():
        return []
    return [
        f"the masks of '{split}' hold the classes {json.dumps(named)}, as their source names them, and the bundle's "
        f"'classes' are {json.dumps(classes)}; give --set classes='{json.dumps(named)}'"
    ]


def number_problems(overrides: Mapping[str, Any]) -> list[str]:
    """Why numbers of epochs or patches cannot be run."""
    return [
        f"--set {name}={overrides[name]} is not allowed; use a whole number of at least 1"
        for name in ("max_epochs", "patches_per_volume")
        if name in overrides and not (isinstance(overrides[name], int) and overrides[name] >= 1)
    ]


def place_problems(places: Mapping[str, str | Path | None]) -> list[str]:
    """Why a config cannot name a file or folder: MONAI reads `#` as a step into the config, and a first sign as code.

    Every path that a config is going to see goes through here, also one that a run folder names.

    Example:
        >>> place_problems({"--out": "runs/#1", "--split": "split.json"})  # doctest: +ELLIPSIS
        ["--out 'runs/#1' cannot stand in a MONAI config; use a path without # and :: that does not begin with ..."]
    """
    return [
        f"{option} '{place}' cannot stand in a MONAI config; use a path without # and :: that does not begin with $, @ "
        "or %, also in the names of the folders that it lies in"
        for option, place in places.items()
        if place is not None and not (is_plain(str(place)) and is_plain(str(Path(place).resolve())))
    ]


def device_problems(device: str | None) -> list[str]:
    """Why a device cannot be used on this machine."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        reason = str(error).splitlines()[0]
        return [f"--device {device} cannot be used ({reason}); use cpu, cuda or cuda:N, as this machine has them"]
    return []


def split_problems(split: str | Path | None, needed: Sequence[str]) -> list[str]:
    """What is wrong with a split, its files included; an empty subset is wrong where it is needed."""
    if split is None:
        return []
    cases = load_split(split, verify=True)
    return [f"subset '{name}' of '{split}' is empty; make a split that fills it" for name in needed if not cases[name]]
