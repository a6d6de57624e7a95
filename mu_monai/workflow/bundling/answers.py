"""Whether a bundle's network, loss, method, metadata and weights agree about the network's outputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from monai.bundle import ConfigParser, verify_net_in_out
from monai.bundle.properties import MetaProperties

from mu_monai.bundle.config import built_network
from mu_monai.bundle.trust import SEPARATOR
from mu_monai.errors import InputError
from mu_monai.keys import MODEL_PT, SEGMENTATION, TASKS
from mu_monai.methods import METHODS
from mu_monai.workflow.bundling.reading import EVALUATE, INFERENCE, TRAIN, UNLEARN, BundleConfigs, target_name, value_at
from mu_monai.workflow.checks import weight_problems

SOFTMAX, SIGMOID = "softmax", "sigmoid"
_LOSSES = {"CrossEntropyLoss": SOFTMAX, "NLLLoss": SOFTMAX, "BCEWithLogitsLoss": SIGMOID}
_DESCRIBED = ("changelog", "required_packages_version", "task", "description", "authors", "copyright")
_CHANNELS = "network_data_format::{}::num_channels"
_IN, _OUT = "inputs::image", "outputs::pred"
_POWER, _ANY = 5, 64  # what MONAI computes from a spatial_shape given as "2**p*n" or "*"


def task_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Where configs and methods name different tasks."""
    told = {
        f"run_folder::bundle::task of {name}.json": bundle.get(name, "run_folder::bundle::task")
        for name in (TRAIN, UNLEARN)
    }
    told |= {f"method::task of {name}.json": value_at(parser, "method::task") for name, parser in bundle.unlearning()}
    told = {place: task for place, task in told.items() if task is not None}
    for place, task in told.items():
        if task not in TASKS:
            yield f"{place} is {task!r}; use {' or '.join(TASKS)}"
    if any(task != other for task, other in pairwise(told.values())):
        every = ", ".join(f"{task!r} as {place}" for place, task in told.items())
        yield f"the configs name several tasks; use one: {every}"
    methods = {method.__name__: method for method in METHODS.values()}
    for name, parser in bundle.unlearning():
        method, task = methods.get(str(target_name(parser.get("method")))), value_at(parser, "method::task")
        if method is not None and task in TASKS and task not in method.tasks:
            yield f"'configs/{name}.json': {method.__name__} is for {' and '.join(method.tasks)}, not for {task}"


def activation_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Where loss, method and inference apply different activations to the network's outputs."""
    told = {f"the loss of {name}.json": _of_loss(parser) for name, parser in bundle.whole.items()}
    told |= {
        f"method::softmax of {name}.json": SOFTMAX if value_at(parser, "method::softmax") else SIGMOID
        for name, parser in bundle.unlearning()
        if "method::softmax" in parser
    }
    told["the postprocessing of inference.json"] = _of_postprocessing(bundle)
    found = {activation for activation in told.values() if activation is not None}
    if len(found) > 1:
        every = ", ".join(f"{activation} by {place}" for place, activation in told.items() if activation is not None)
        yield f"different activations are applied to the network's outputs; use one: {every}"
    yield from _mask_problems(bundle, found)


def _of_loss(parser: ConfigParser) -> str | None:
    flags = [name for name in (SOFTMAX, SIGMOID) if value_at(parser, f"loss::{name}") is True]
    return flags[0] if flags else _LOSSES.get(str(target_name(parser.get("loss"))))


def _of_postprocessing(bundle: BundleConfigs) -> str | None:
    steps = bundle.get(INFERENCE, "postprocessing::transforms")
    listed = steps if isinstance(steps, list) else []
    named = [step for step in listed if str(target_name(step)).startswith("Activations")]
    return next((name for step in named for name in (SOFTMAX, SIGMOID) if step.get(name)), None)


def _mask_problems(bundle: BundleConfigs, activations: set[str]) -> Iterator[str]:
    """Masks must be one sigmoid channel, or several softmax channels with named classes."""
    if bundle.get(TRAIN, "run_folder::bundle::task") != SEGMENTATION:
        return
    channels = _described(bundle, _OUT, "num_channels")
    if activations == {SIGMOID} and channels not in (None, 1):
        yield (
            f"sigmoid masks have one channel, and metadata.json has {channels}; use a softmax for several channels, "
            "background first"
        )
    for name in (TRAIN, UNLEARN, EVALUATE) if activations == {SOFTMAX} else ():
        if name in bundle.whole and bundle.get(name, "scorer::classes") is None:
            yield f"'configs/{name}.json' has no scorer::classes; name the softmax channels, background first"


def metadata_problems(bundle: BundleConfigs) -> Iterator[str]:
    """What `metadata.json` lacks, and where it contradicts the configs."""
    if not bundle.metadata:
        return
    monais = [str(entry["id"]).removeprefix(f"_meta_{SEPARATOR}") for entry in MetaProperties.values()]
    formats = [_CHANNELS.format(part) for part in (_IN, _OUT)]
    metadata = ConfigParser(bundle.metadata)
    for key in dict.fromkeys((*monais, *_DESCRIBED, *formats)):
        if key not in metadata:
            yield f"'configs/metadata.json' has no '{key}'; MONAI and the records of runs read it"
    version, changes = bundle.metadata.get("version"), bundle.metadata.get("changelog")
    if isinstance(changes, Mapping) and str(version) not in changes:
        yield (
            f"'configs/metadata.json': the changelog has no entry for version {version!r}; add one that says what "
            "changed"
        )
    yield from _channel_problems(bundle)


def _channel_problems(bundle: BundleConfigs) -> Iterator[str]:
    names, number = _described(bundle, _OUT, "channel_def"), _described(bundle, _OUT, "num_channels")
    if not isinstance(names, Mapping):
        return
    if number is not None and len(names) != number:
        yield f"'configs/metadata.json' names {len(names)} output channels and counts {number}; make them agree"
    classes = bundle.get(TRAIN, "classes")
    if isinstance(classes, list) and classes != list(names.values()):
        yield (
            f"'configs/metadata.json' names the output channels {', '.join(map(str, names.values()))}, and the "
            f"configs have the classes {', '.join(map(str, classes))}; make them the same, in the same order"
        )


def _described(bundle: BundleConfigs, part: str, key: str) -> Any:
    return ConfigParser(bundle.metadata).get(f"network_data_format{SEPARATOR}{part}{SEPARATOR}{key}")


def network_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Why the network cannot be built, its output does not match the metadata, or the bundle's weights do not fit.

    The network is built, so the expressions in `network_def` and in the ids that it refers to are executed.
    """
    parser = bundle.whole.get(INFERENCE)
    if parser is None or "network_def" not in parser:
        return
    try:
        built_network(parser)
    except InputError as error:
        yield from error.problems
        return
    weights = bundle.folder / "models" / MODEL_PT
    if weights.exists():
        yield from weight_problems(parser, weights)
    if all(_described(bundle, part, "num_channels") is not None for part in (_IN, _OUT)):
        yield from _answer_problems(bundle)


def _answer_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Why the output for one noise image of the metadata's input format does not have the metadata's output format."""
    configs = bundle.folder / "configs"
    logging.getLogger("monai.bundle.scripts").setLevel(logging.ERROR)  # it prints its arguments
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    try:
        verify_net_in_out(net_id="network_def", device="cpu", p=_POWER, any=_ANY, **files)
    except Exception as error:  # a network may raise anything for an image
        told = str(error).splitlines() or [type(error).__name__]
        yield (
            f"the network's output is not what 'configs/metadata.json' says ({told[0]}); correct network_data_format, "
            "or "
            "network_def"
        )
