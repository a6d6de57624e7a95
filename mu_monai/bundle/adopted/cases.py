"""The cases that a bundle lists: those that its model was trained on, and those that it was validated on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu_monai.bundle.adopted.parts import EVALUATOR, TRAINER, Parts
from mu_monai.bundle.adopted.source import SourceConfig
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import IMAGE, LABEL

_DATA_FOLDER = "dataset_dir"
Entries = list[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The lists of a bundle.

    Args:
        trained: the entries of the trainer's data set.
        held_out: those of the evaluator's that the trainer does not have.
    """

    trained: Entries
    held_out: Entries


def listed_cases(parts: Parts, data: Path) -> Listed:
    """Evaluate the lists of a bundle's trainer and evaluator, with its `dataset_dir` set to a folder.

    Args:
        parts: the bundle's parts.
        data: the folder of the images.

    Raises:
        InputError: if a list cannot be evaluated, is empty, or holds something else than cases with image and label.
    """
    entries = {}
    problems: list[str] = []
    for name, config, engine, loader in (
        ("training", parts.config, TRAINER, "train_data_loader"),
        ("validation", parts.evaluation, EVALUATOR, "val_data_loader"),
    ):
        if _DATA_FOLDER in config.parser.get():
            config.lay({_DATA_FOLDER: str(data.resolve())})
        content = _data(config, engine, loader)
        try:
            found, again = list(config.evaluated(content)), list(config.evaluated(content))
        except (InputError, TypeError) as error:
            problems.append(
                f"the {name} list of '{parts.folder}' cannot be read with its {_DATA_FOLDER} set to '{data}': {error}; "
                "give the folder that it was written for, or split with a manifest"
            )
            continue
        problems += _problems(name, found, data, parts.folder)
        if not problems and list(map(_key, found)) != list(map(_key, again)):
            problems.append(
                f"the {name} list of '{parts.folder}' is another one each time it is read, so which cases the model "
                "was trained on cannot be known from it; split with a manifest of those that it was"
            )
        entries[name] = found
    raise_if_any(problems)
    known = {_key(entry) for entry in entries["training"]}
    return Listed(
        trained=entries["training"], held_out=[entry for entry in entries["validation"] if _key(entry) not in known]
    )


def _data(config: SourceConfig, engine: str, loader: str) -> Any:
    content, _ = config.argument(config.get(config.components(engine)[0]), loader)
    dataset, _ = config.argument(content, "dataset")
    data, _ = config.argument(dataset, "data")
    return data


def _problems(name: str, entries: list[Any], data: Path, folder: Path) -> list[str]:
    if not entries:
        return [
            f"the {name} list of '{folder}' is empty with its {_DATA_FOLDER} set to '{data}'; give the folder that it "
            "was written for"
        ]
    odd = [entry for entry in entries if not (isinstance(entry, Mapping) and IMAGE in entry and LABEL in entry)]
    if not odd:
        return _elsewhere(name, entries, data, folder)
    return [f"the {name} list of '{folder}' holds {odd[0]!r:.80}, which is not a case with '{IMAGE}' and '{LABEL}'"]


def _elsewhere(name: str, entries: list[Any], data: Path, folder: Path) -> list[str]:
    """Why a list is not of the images in a folder."""
    first = next((file for entry in entries for file in _key(entry).split("|") if not _is_within(file, data)), None)
    if first is None:
        return []
    return [
        f"the {name} list of '{folder}' names '{first}', which is not in '{data}'; give the folder of its images, or "
        f"set the id of its config that names this folder to be {_DATA_FOLDER}"
    ]


def _is_within(file: str, data: Path) -> bool:
    return (data / file).resolve().is_relative_to(data.resolve())


def _key(entry: Mapping[str, Any]) -> str:
    image = entry[IMAGE]
    return "|".join(map(str, image)) if isinstance(image, list | tuple) else str(image)
