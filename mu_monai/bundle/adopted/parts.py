"""The parts of anybody's bundle, found through its `SupervisedTrainer` and `SupervisedEvaluator` and not by ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mu_monai.bundle.adopted.activation import found_activation
from mu_monai.bundle.adopted.several import find_several, several_problems
from mu_monai.bundle.adopted.source import SourceConfig, config_file, name_of, read_metadata
from mu_monai.bundle.references import REFERENCE, is_disabled
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import IMAGE, LABEL

TRAINER, EVALUATOR = "SupervisedTrainer", "SupervisedEvaluator"
CLASSIFICATION, SEGMENTATION = "classification", "segmentation"
_OWN_LOOPS = ("prepare_batch", "iteration_update")
_MOVED = re.compile(r"\$\s*@(\w+(?:::\w+)*)\s*(?:\.(?:to|cuda)\([^()]*\))?\s*")
_PARALLEL = re.compile(r"\$\s*(?:torch\.)?(?:nn\.)?(?:parallel\.)?\w*DataParallel\((.*?)(?:,.*)?\)\s*")
_RUN_FOLDER = "mu_monai.engine.RunFolder"
_NAME = re.compile(r"\w[\w .-]*")
_OUTPUTS = ("out_channels", "num_classes", "out_chns", "n_classes")
_CLASS_OF_A_MASK = "SetLabelClassd"  # MONAI's step that makes the class of an object of the mask of its label
_NO_TRAINING = "no config named train (.json or .yaml), so nothing says how the model is trained"


@dataclass(kw_only=True)
class Parts:
    """What was understood of a bundle: contents of its config, as they are there, and what is said about them.

    Args:
        folder: the bundle.
        config: its training config.
        evaluation: the config that has the evaluator; often the training config.
        inference: its `inference` config; None if it has none that predicts, for the reason in `unpredicted`.
        metadata: its `metadata.json`; empty if it has none.
        network, loss, optimizer, inferer: the trainer's parts.
        training: the trainer's transform, with augmentation.
        transform: the evaluator's transform, without.
        window: the evaluator's inferer.
        found: the id that each part was found at.
        task: `segmentation` or `classification`.
        label_file: whether the label of a case is a file; False if it is the name or number of a class.
        softmax: whether exactly one output is true; False for a sigmoid, None if nothing says so.
        one_hot: whether the loss takes labels with one channel per class.
        several: whether the network may answer with several tensors, of which the first is used.
        loss_of_all: the trainer's loss over all answers, if it has one; `loss` is then that of one answer.
        columns: the keys of a case that are files besides `image` and `label`.
        numbers: `max_epochs`, `batch_size`, `cache_rate` and, if the optimizer says it, `learning_rate`.
        trained: `max_epochs` and `epoch_length` of the trainer, None if they are not said, and its `batch_size`.
        classes: the names of the outputs; None if they are not known.
        spacing: the size of a voxel in mm that volumes are resampled to; None if they are not.
        notes: what is left out or assumed, one sentence each.
    """

    folder: Path
    config: SourceConfig
    evaluation: SourceConfig
    inference: SourceConfig | None
    unpredicted: str
    metadata: Mapping[str, Any]
    network: Any = None
    loss: Any = None
    optimizer: Any = None
    inferer: Any = None
    training: Any = None
    transform: Any = None
    window: Any = None
    found: dict[str, str] = field(default_factory=dict)
    task: str = SEGMENTATION
    label_file: bool = True
    softmax: bool | None = None
    one_hot: bool = False
    several: bool = False
    loss_of_all: Any = None
    columns: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    trained: dict[str, Any] = field(default_factory=dict)
    classes: list[str] | None = None
    spacing: list[float] | None = None
    notes: list[str] = field(default_factory=list)


def find_parts(folder: Path) -> Parts:
    """Find the parts of a bundle.

    Args:
        folder: one with `configs/train.json` or `.yaml`.

    Raises:
        InputError: with every reason why it cannot be adopted.
    """
    file = config_file(folder, "train")
    if not _NAME.fullmatch(folder.name):
        raise InputError(
            f"'{folder}' cannot be adopted: its folder's name is read by MONAI and told in records; use letters, "
            "digits, spaces, '.', '-' and '_' only, beginning with a letter or digit"
        )
    if file is None:
        raise InputError(
            f"'{folder}' cannot be adopted: it has {_NO_TRAINING}; use a bundle that was trained with MONAI"
        )
    config = SourceConfig(folder, file)
    trainer = _trainer(folder, config)
    inference, unpredicted = _inference(folder)
    parts = Parts(
        folder=folder,
        config=config,
        evaluation=config,
        inference=inference,
        unpredicted=unpredicted,
        metadata=read_metadata(folder),
    )
    problems = [*_loop_problems(trainer), *_trained(parts, trainer), *_evaluated(parts, file), *several_problems(parts)]
    raise_if_any(f"'{folder}' cannot be adopted: {problem}" for problem in problems)
    _describe(parts, trainer)
    return parts


def _trainer(folder: Path, config: SourceConfig) -> Mapping[str, Any]:
    places = config.components(TRAINER)
    if len(places) == 1:
        trainer: Mapping[str, Any] = config.get(places[0])
        return trainer
    if places:
        raise InputError(
            f"'{folder}' cannot be adopted: it has {len(places)} trainers ({_listed(places)}), "
            "and which of them trains the model is not known; keep one in its train config"
        )
    others = [target for _, target in config.targets() if target.endswith(("Trainer", "Workflow", "AlgoEnsemble"))]
    why = f"its trainer is {others[0]}" if others else "no part of its train config is a trainer"
    raise InputError(
        f"'{folder}' cannot be adopted: {why}, and only models that MONAI's {TRAINER} trains (one network, one loss, "
        "images to masks or classes) can be unlearned here"
    )


def _listed(places: list[str]) -> str:
    return ", ".join(place.replace("::", "#") for place in places)


def _loop_problems(trainer: Mapping[str, Any]) -> Iterator[str]:
    for name in _OWN_LOOPS:
        if trainer.get(name) is not None:
            yield (
                f"its trainer has its own {name} ({trainer[name]!r:.60}), so what an iteration does is not known; "
                "only trainers with MONAI's iteration can be adopted"
            )


def _trained(parts: Parts, trainer: Mapping[str, Any]) -> Iterator[str]:
    config = parts.config
    for part, name in {"network": "network", "loss": "loss_function", "optimizer": "optimizer"}.items():
        content, where = config.argument(trainer, name)
        setattr(parts, part, content)
        parts.found[part] = where or name
        if content is None:
            yield f"its trainer names no {name}, or one that does not exist"
    parts.inferer, _ = config.argument(trainer, "inferer")
    _network_without_device(parts)
    loader, _ = config.argument(trainer, "train_data_loader")
    yield from _loaded(parts, config, loader, "training", "train_data_loader")


def _network_without_device(parts: Parts) -> None:
    """Follow `$@network_def.to(@device)` and `$torch.nn.DataParallel(...)` to the network itself."""
    content = parts.network
    while isinstance(content, str):
        if parallel := _PARALLEL.fullmatch(content):
            content = f"${parallel[1].strip()}"
        elif moved := _MOVED.fullmatch(content):
            content, where = parts.config.follow(f"@{moved[1]}")
            parts.found["network_def"] = where or moved[1]
            parts.network = content
        else:
            return


def _loaded(parts: Parts, config: SourceConfig, loader: Any, part: str, argument: str) -> Iterator[str]:
    """Take the transform of a loader's data set."""
    transform, where = transform_of(config, loader)
    if transform is None:
        yield (
            f"its {argument} does not lead to a transform through `dataset` and `transform`, so how a case is read is "
            "not known; name a MONAI DataLoader with a data set that has a transform"
        )
        return
    setattr(parts, part, transform)
    parts.found[part] = where or f"{argument}::dataset::transform"


def transform_of(config: SourceConfig, loader: Any) -> tuple[Any, str | None]:
    """The transform of a loader's data set, and the id of it."""
    return config.argument(config.argument(loader, "dataset")[0], "transform")


def _evaluated(parts: Parts, file: Path) -> Iterator[str]:
    """Take transform and inferer of the evaluator, from the training config or from `evaluate` laid over it."""
    evaluate = config_file(parts.folder, "evaluate")
    configs = [lambda: parts.config]
    if evaluate is not None:
        configs += [lambda: SourceConfig(parts.folder, file, evaluate), lambda: SourceConfig(parts.folder, evaluate)]
    for read in configs:
        config = read()
        places = config.components(EVALUATOR)
        if len(places) > 1:
            yield f"it has {len(places)} evaluators ({_listed(places)}), and which scores is not known; keep one"
            return
        if places:
            parts.evaluation = config
            evaluator = config.get(places[0])
            parts.window, _ = config.argument(evaluator, "inferer")
            loader, _ = config.argument(evaluator, "val_data_loader")
            yield from _loaded(parts, config, loader, "transform", "val_data_loader")
            return
    yield (
        f"it has no {EVALUATOR} in its train or evaluate config, so how cases are read without augmentation is not "
        "known; add one to its train config"
    )


def _inference(folder: Path) -> tuple[SourceConfig | None, str]:
    """The inference config, if it predicts from images alone; or why it does not, as what is said of the bundle."""
    file = config_file(folder, "inference")
    config = None if file is None else SourceConfig(folder, file)
    places = [] if config is None else config.components(EVALUATOR)
    if config is None or len(places) != 1 or any(config.get(places[0]).get(name) is not None for name in _OWN_LOOPS):
        return None, (
            "has no inference config with one SupervisedEvaluator, so how it predicts is not known; add "
            "configs/inference.json, as MONAI's model zoo has it"
        )
    evaluator = config.get(places[0])
    unknown = _unknown_handler(config, evaluator)
    if unknown is not None:
        return None, (
            f"has an inference config with {unknown!r:.60} in val_handlers, so whether it loads other weights is not "
            "known; write val_handlers as a list of components, or of references to them"
        )
    loader, _ = config.argument(evaluator, "val_data_loader")
    transform, _ = transform_of(config, loader)
    with suppress(InputError):  # keys that cannot be evaluated hinder predict alone, which says so
        if LABEL in _read_keys(config, transform):
            return None, (
                "has an inference config that reads the label of each case, and what mu-monai predicts has none; "
                "predict with MONAI's command (python -m monai.bundle run)"
            )
    return config, ""


def _unknown_handler(config: SourceConfig, evaluator: Mapping[str, Any]) -> Any:
    """What of an evaluator's handlers is an expression, so that it is not known what it does; None if nothing is."""
    handlers, _ = config.argument(evaluator, "val_handlers")
    if not isinstance(handlers, list):
        return handlers
    return next((each for each in handlers if not isinstance(config.follow(each)[0], Mapping)), None)


def _describe(parts: Parts, trainer: Mapping[str, Any]) -> None:
    config = parts.config
    read = _read_keys(parts.evaluation, parts.transform)
    if not read:
        raise InputError(
            f"'{parts.folder}' cannot be adopted: no step of its transforms reads a file (LoadImaged), so its cases "
            "are arrays, slides or points; export each case as an image and a label file, an array for example with "
            "nibabel.save(nibabel.Nifti1Image(array, numpy.eye(4)), 'case.nii.gz'), and let the transforms begin with "
            "LoadImaged and EnsureChannelFirstd"
        )
    parts.label_file = LABEL in read
    of_masks = any(name_of(step) == _CLASS_OF_A_MASK for step in _steps(parts.evaluation, parts.transform))
    parts.task = CLASSIFICATION if of_masks or not parts.label_file else SEGMENTATION
    parts.columns = sorted(read - {IMAGE, LABEL})
    if parts.columns:
        names = ", ".join(parts.columns)
        parts.notes.append(f"a case is read from {names} too: the split needs a column of files for each of them")
    loader, _ = config.argument(trainer, "train_data_loader")
    dataset, _ = config.argument(loader, "dataset")
    parts.trained = {name: _number(config, trainer.get(name), None) for name in ("max_epochs", "epoch_length")}
    parts.numbers = {
        "max_epochs": parts.trained["max_epochs"] or 1,
        "batch_size": _number(config, loader.get("batch_size"), 1),
        "cache_rate": _number(config, dataset.get("cache_rate"), 1.0 if name_of(dataset) == "CacheDataset" else 0.0),
    }
    parts.trained["batch_size"] = parts.numbers["batch_size"]
    rate = _number(config, _of(parts.optimizer, "lr"), None)
    if rate is None:
        parts.notes.append("no rate (lr) can be read from the optimizer: train uses its own, and cannot set another")
    else:
        parts.numbers["learning_rate"] = rate
    if parts.trained["max_epochs"] is None:
        parts.notes.append("the number of epochs cannot be read from the trainer: no share of its training is told")
    find_several(parts)
    parts.softmax, parts.one_hot = found_activation(parts)
    outputs = _outputs(parts)
    parts.classes = _class_names(parts, outputs)
    parts.spacing = _spacing(parts)
    if config.evaluated(config.argument(trainer, "amp")[0]):
        parts.notes.append("runs compute in 32 bits; for mixed precision, as the trainer has it, give --set amp=true")
    if config.components("LrScheduleHandler"):
        parts.notes.append("the schedule of the learning rate is not used; handlers and metrics neither")
    own = [name for name in ("sampler", "batch_sampler", "collate_fn", "drop_last") if loader.get(name)]
    if own:
        parts.notes.append(f"{', '.join(own)} of the trainer's loader not used: batches are drawn at random")


def _steps(config: SourceConfig, transform: Any) -> list[Any]:
    """The transforms of a `Compose`, one after the other, as far as the config names them."""
    transform, _ = config.follow(transform)
    if isinstance(transform, list):
        return [inner for each in transform for inner in _steps(config, each)]
    if isinstance(transform, str):
        return [inner for name in REFERENCE.findall(transform) for inner in _steps(config, config.get(name))]
    if isinstance(transform, Mapping) and "transforms" in transform:
        return _steps(config, transform["transforms"])
    used = isinstance(transform, Mapping) and "_target_" in transform and not is_disabled(transform)
    return [transform] if used else []


def _read_keys(config: SourceConfig, transform: Any) -> set[str]:
    """The keys of a case that a transform reads files of."""
    return {key for step in _steps(config, transform) for key in _read_by(config, step)}


def _read_by(config: SourceConfig, step: Mapping[str, Any]) -> list[str]:
    if name_of(step) != "LoadImaged":
        return []
    keys = config.evaluated(step.get("keys"))
    return [keys] if isinstance(keys, str) else [str(key) for key in keys or ()]


def _of(component: Any, name: str) -> Any:
    return component.get(name) if isinstance(component, Mapping) else None


def _number(config: SourceConfig, value: Any, otherwise: float | None) -> Any:
    try:
        number = config.evaluated(value)
    except InputError:
        return otherwise
    return number if isinstance(number, int | float) and not isinstance(number, bool) else otherwise


def _outputs(parts: Parts) -> int | None:
    """The number of outputs that the network's arguments say; None if they do not."""
    for name in _OUTPUTS:
        value = _of(parts.network, name)
        if value is not None:
            number = _number(parts.config, value, 0)
            return int(number) or None
    return None


def _class_names(parts: Parts, outputs: int | None) -> list[str] | None:
    try:
        channels = parts.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        names = [str(channels[key]) for key in sorted(channels, key=int)]
    except (KeyError, TypeError, ValueError, AttributeError):
        names = []
    if outputs == 1 and parts.task == SEGMENTATION:
        return None
    if len(names) >= 2 and len(set(names)) == len(names) and outputs in (None, len(names)):
        return names
    if parts.task == CLASSIFICATION:
        parts.notes.append(
            "the order of the classes is not known, since metadata.json does not name one per output "
            "(network_data_format#outputs#pred#channel_def): give it with --set classes='[...]'"
        )
    elif names:
        parts.notes.append(f"metadata.json names {len(names)} outputs and the network has {outputs}: numbers are used")
    return None


def _spacing(parts: Parts) -> list[float] | None:
    """The voxel size of the evaluator's transform, if nothing after `Spacingd` changes it."""
    config, spacing = parts.evaluation, None
    for step in _steps(config, parts.transform):
        if name_of(step) == "Spacingd":
            spacing = step.get("pixdim")
        elif re.search(r"Resize|Zoom|Affine|Resample|Orient|Transpose|Rotate|Flip", name_of(step)):
            spacing = None
    try:
        sizes = config.evaluated(spacing)
    except InputError:
        return None
    sizes = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    if not sizes or not all(isinstance(n, int | float) and n > 0 for n in sizes):
        return None
    axes = int(_number(parts.config, _of(parts.network, "spatial_dims"), len(sizes) if len(sizes) > 1 else 0))
    return [float(size) for size in [*sizes, *sizes[-1:] * axes][:axes]] or None  # MONAI repeats the last one


def adoptable(folder: Path) -> bool:
    """Whether a folder is a bundle that is not in the form that commands run: no config of it makes a run folder."""
    files = [file for name in ("train", "unlearn") if (file := config_file(folder, name)) is not None]
    own = any(_RUN_FOLDER in file.read_text(encoding="utf-8", errors="replace") for file in files)
    there = any(config_file(folder, name) is not None for name in ("train", "inference", "metadata"))
    return there and not own
