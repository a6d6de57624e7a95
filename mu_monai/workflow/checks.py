"""Checks before anything starts: splits, paths, devices, numbers, classes and weights; problems are sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from mu_monai.adapters import misfits, read_weights, weights_sha256
from mu_monai.bundle.config import built_network
from mu_monai.bundle.earlier import PICTURE_READER
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import is_plain
from mu_monai.data import Split, class_indices, is_file_label, open_split
from mu_monai.data.case_files import image_files
from mu_monai.data.pictures.opening import PICTURE_SUFFIXES
from mu_monai.data.volumes.files import is_volume
from mu_monai.errors import InputError, collect
from mu_monai.keys import CASE_ID, IMAGE, LABEL, MODEL_PT, PATIENT_ID, STUDENT, SUBSET, TEACHER
from mu_monai.runs import RunRecord, changed_files, has_scores, scores_file
from mu_monai.runs.scores import read_scores
from mu_monai.workflow.recipe import FORGET_CLASSES

_LEAST = {"max_epochs": 1, "patches_per_volume": 1, "seed": 0}


def classes_to_forget(parser: ConfigParser, overrides: Mapping[str, Any]) -> list[str]:
    """The classes of a mask that a config with overrides asks to forget; empty if it forgets cases."""
    names = overrides.get(FORGET_CLASSES, parser.get(FORGET_CLASSES) or [])
    return list(names) if isinstance(names, list) else [str(names)]


def class_problems(parser: ConfigParser, overrides: Mapping[str, Any]) -> list[str]:
    """Why classes of a mask cannot be forgotten.

    Raises:
        InputError: if they are not among the classes, or are all of them.
    """
    names = classes_to_forget(parser, overrides)
    if not names:
        return []
    if FORGET_CLASSES not in parser:
        return [
            f"--forget-class {', '.join(names)} is not for this bundle: its config has no id '{FORGET_CLASSES}', since "
            "its masks have no classes to forget; use volume3d or a similar bundle, or forget cases: mu-monai split "
            "--forget"
        ]
    if not isinstance(overrides.get(FORGET_CLASSES, []), list):
        return [f"--set {FORGET_CLASSES}={names[0]} is not a list of classes; use --forget-class {names[0]}"]
    class_indices(names, overrides.get("classes", parser.get("classes")))
    return []


def mask_class_problems(parser: ConfigParser, overrides: Mapping[str, Any], split: Split | None) -> list[str]:
    """Why the bundle's names for the mask values do not match those of the split's source."""
    classes = overrides.get("classes", parser.get("classes"))
    if split is None or classes is None:
        return []
    named = split.provenance.classes
    if not named or named == classes or not is_file_label(split.table[LABEL]).all():
        return []
    return [
        f"the masks of '{split.path}' have the classes {json.dumps(named)} in their source, and the bundle's 'classes' "
        f"are {json.dumps(classes)}; give --set classes='{json.dumps(named)}'"
    ]


def reading_problems(split: Split | None, config: LayeredConfig) -> list[str]:
    """Why the files of a split would not be read as its checks read them: the config has no place to say how."""
    if split is None:
        return []
    reading, content = split.provenance.reading, config.read().get()
    options, unusual = reading.options(), dict(reading.unusual)
    problems = [
        f"the split '{split.path}' was made with {key}={json.dumps(value)}, and the bundle's config has no id '{key}'; "
        "use a bundle that reads files as the shipped ones do, or convert the files"
        for key, value in options.items()
        if key not in content
    ]
    pictures = PICTURE_READER in json.dumps(content, default=str)
    if unusual and not pictures:
        kinds = ", ".join(f"{number} {kind}" for kind, number in unusual.items())
        problems.append(
            f"the split '{split.path}' has pictures ({kinds}) that the readers of this config misread; let LoadImaged "
            f"use {PICTURE_READER}, as the shipped bundles do, or convert the pictures; a model of an earlier version "
            "has to be trained again"
        )
    return problems + _other_dimensions(split, content, pictures=pictures)


def _other_dimensions(split: Split, content: Mapping[str, Any], *, pictures: bool) -> list[str]:
    """Why the images of a split are not those of a bundle: it takes volumes, or reads pictures, and they are not."""
    first = next((case[IMAGE] for part in split.cases.values() for case in part), None)
    network = content.get("network_def")
    if first is None or not isinstance(network, Mapping):
        return []
    file = image_files(first)[0]
    if file.lower().endswith(PICTURE_SUFFIXES) and network.get("spatial_dims") == 3:
        return [_other_bundle(split, "pictures", "takes volumes (network_def#spatial_dims is 3)", "isic")]
    if is_volume(file) and pictures:
        return [_other_bundle(split, "volumes", "reads pictures", "volume3d")]
    return []


def _other_bundle(split: Split, holds: str, takes: str, fitting: str) -> str:
    return (
        f"the split '{split.path}' holds {holds}, and the bundle {takes}; use a bundle for {holds}, such as {fitting}, "
        "or another split"
    )


def number_problems(overrides: Mapping[str, Any]) -> list[str]:
    """Why a seed, or a number of epochs or patches, is not allowed.

    Example:
        >>> number_problems({"max_epochs": True, "seed": 0})
        ['--set max_epochs=true is not allowed; use a whole number of at least 1']
    """
    return [
        f"--set {name}={value if isinstance(value, str) else json.dumps(value)} is not allowed; use a whole number of "
        f"at least {least}"
        for name, least in _LEAST.items()
        if name in overrides and not (type(value := overrides[name]) is int and value >= least)
    ]


def place_problems(places: Mapping[str, str | Path | None]) -> list[str]:
    """Why a config cannot name a file or folder: MONAI reads `#` as a config id, and `$`, `@` or `%` in front as code.

    Every path that enters a config is checked here, including paths that a run folder names.

    Example:
        >>> place_problems({"--out": "runs/#1", "--split": "split.json"})  # doctest: +ELLIPSIS
        ["--out 'runs/#1' cannot be used in a MONAI config; use a path without # and :: that does not begin with ..."]
    """
    return [
        f"{option} '{place}' cannot be used in a MONAI config; use a path without # and :: that does not begin with $, "
        "@ or %; this includes the folders above it"
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


def usable_split(
    path: str | Path | None, needed: Sequence[str], *, forget_images_gone: bool = False
) -> tuple[Split | None, list[str]]:
    """A split whose files are unchanged, read once for a whole command, or what is wrong with it.

    Args:
        path: the split file; None if a command takes the bundle's phantoms.
        needed: the subsets that must not be empty.
        forget_images_gone: whether the files of the forget cases may be missing.

    Returns:
        the split, or None if there is none or it cannot be used; and the problems.
    """
    if path is None:
        return None, []
    try:
        split = open_split(path, verify=True, forget_images_gone=forget_images_gone)
    except InputError as error:
        return None, error.problems
    split.warn_of_edits()
    empty = [name for name in needed if not split.rows[name]]
    problems = [f"subset '{name}' of '{path}' is empty; make a split that fills it" for name in empty]
    return None if problems else split, problems


def weight_problems(parser: ConfigParser, weights: str | Path) -> list[str]:
    """Why weights do not fit the config's network; empty if they do."""
    try:
        network = built_network(parser)
        return [
            f"weights '{weights}' do not fit the bundle's network: {t}" for t in misfits(network, read_weights(weights))
        ]
    except InputError as error:
        return error.problems


def changed_problems(run: Path, record: RunRecord, split: Split | None, weights: Mapping[str, str]) -> list[str]:
    """What no longer matches the run's record: weights by their digest, the split by its cases.

    Args:
        run: the run folder.
        record: its `run.json`.
        split: the split that the run is to be used with; None if it is known to be broken.
        weights: files by role.
    """
    digests = {record.role: "weights"} | ({TEACHER: "starting_weights"} if record.role == STUDENT else {})
    return collect(
        *(
            lambda role=role, path=path: _other_weights(run, role, path, getattr(record.sha256, digests[role]))
            for role, path in weights.items()
        ),
        lambda: [] if split is None or is_own(record, split) else _other_cases(run, record, split),
    )


def is_own(record: RunRecord, split: Split) -> bool:
    """Whether a run was made with a split: the same file, or the same cases with the same contents of their files."""
    return split.sha256 == record.sha256.split or split.cases_sha256 == record.split.cases


def _other_weights(run: Path, role: str, path: str, recorded: str | None) -> list[str]:
    if recorded is None:
        return [
            f"'{run}' was made without a {role}, so that '{path}' has no scores there; score it as well: mu-monai "
            f"audit BUNDLE --weights '{run / MODEL_PT}' --split SPLIT --{role} '{path}' --out FOLDER"
        ]
    digest = weights_sha256(read_weights(path))
    problems = [
        f"the weights '{path}' are not those of the {role} that '{run}' was made with (SHA-256 {digest}; its record "
        f"has {recorded}); put the original file back"
    ]
    return [] if digest == recorded else problems


def _other_cases(run: Path, record: RunRecord, split: Split) -> list[str]:
    """Why a split file is not the run's split; only the paths of its files may differ."""
    if not has_scores(run) or changed_files(run, record, [scores_file(run).name]):
        return [
            f"'{split.path}' is not the split file of '{run}', and whether it has the same cases is unknown, since the "
            "run's score table is missing or changed; give the file that the run was made with"
        ]
    before = read_scores(scores_file(run))[[SUBSET, PATIENT_ID, CASE_ID]]
    scored = set(before.drop_duplicates().itertuples(index=False, name=None))
    now = {(case[SUBSET], case[PATIENT_ID], case[CASE_ID]) for part in split.cases.values() for case in part}
    if scored == now and not record.split.cases:  # an earlier version, which knew the cases by their ids alone
        return []
    some = ", ".join(f"{case} in {subset}" for subset, _, case in sorted(scored ^ now)[:5])
    other = f"cases or subsets than '{run}' was made with ({some})" if some else f"images or labels than '{run}' had"
    return [f"the split '{split.path}' holds other {other}; give the same split; only the paths of files may differ"]
