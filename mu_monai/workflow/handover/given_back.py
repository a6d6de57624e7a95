"""The user's own bundle with other weights: nothing else in it changes, and nothing in it knows the forgotten."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mu_monai.adapters import write_tensors
from mu_monai.adapters.weights import Container, opened_weights
from mu_monai.bundle import Bundle
from mu_monai.bundle.adopted.parts import EVALUATOR
from mu_monai.bundle.adopted.source import SourceConfig, config_file, make_importable, root_of
from mu_monai.bundle.config import run_config
from mu_monai.data import Split
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json, write_json
from mu_monai.keys import CASE_ID, IMAGE, MODEL_PT, PATIENT_ID
from mu_monai.runs import RunRecord
from mu_monai.workflow.handover.sealed import own_file, raised_version, unlearning_done

State = Mapping[str, torch.Tensor]
_WEIGHTS = (".pt", ".pth", ".ts", ".onnx", ".safetensors", ".ckpt", ".engine", ".plan", ".trt", ".pkl", ".h5", ".bin")
_FOLDERS = ("cache", "eval", "logs", "runs", "results", "__pycache__", ".git")
_LINKS = re.compile(r"large_files\.(yml|yaml|json)")
_LISTS = (".json", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".xlsx")
_CONFIGS = ("train", "evaluate", "inference", "metadata", "logging")
_SHORTEST = 4  # shorter names, such as "7", occur by chance in any text


def write_given_back(
    folder: Path, bundle: Bundle, record: RunRecord, state: State, teacher: Path, split: Split | None
) -> list[str]:
    """Copy an adopted bundle with the student's weights in the place and container of the original ones.

    Weights, engines, caches, links to the original weights and lists that name cases are left out.

    Args:
        folder: where to write it; it does not exist.
        bundle: the adopted bundle.
        record: `run.json` of the unlearning run.
        state: the student's weights.
        teacher: the file that the run started from.
        split: the run's split, whose names must not be in it; None if it was moved.

    Returns:
        one sentence for what was left out.

    Raises:
        InputError: if a file that the bundle needs names a case or patient, or is a link to somewhere else.
    """
    source, names = bundle.place, _names(split)
    place = teacher.relative_to(source) if teacher.is_relative_to(source) else Path("models") / MODEL_PT
    left_out: list[str] = []
    problems: list[str] = []
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        relative = path.relative_to(source)
        why = _left_out(relative) or _list_of_cases(path, relative, names)
        if why is not None:
            left_out.append(f"{relative.as_posix()} ({why})")
            continue
        named = _named(path, names)
        if named:
            problems.append(
                f"'{relative.as_posix()}' of the bundle names '{named}', a case or patient of the split, and the "
                "bundle needs this file; take the name out of it"
            )
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(own_file(bundle, relative.as_posix()), target)
    raise_if_any(problems)
    _, container = opened_weights(teacher)
    _write_weights(folder / place, state, container)
    _write_metadata(folder / "configs" / "metadata.json", record)
    told = [f"left out of the bundle: {', '.join(left_out)}"] if left_out else []
    if any(".ts (" in each or ".onnx (" in each for each in left_out):
        told.append("exported forms held the original weights; make them anew: python -m monai.bundle ckpt_export")
    return told


def _left_out(path: Path) -> str | None:
    if path.suffix in _WEIGHTS:
        return "weights"
    if _LINKS.fullmatch(path.name):
        return "links to the original weights"
    return "results" if set(path.parts[:-1]) & set(_FOLDERS) else None


def _list_of_cases(path: Path, relative: Path, names: re.Pattern[str] | None) -> str | None:
    """Why a file is a list of cases, which is not handed over."""
    config = relative.parent.name == "configs" and relative.stem.startswith(_CONFIGS)
    if relative.suffix in _LISTS and not config and relative.parts[0] not in ("docs", "LICENSE"):
        return "names cases" if _named(path, names) else None
    return None


def _names(split: Split | None) -> re.Pattern[str] | None:
    if split is None:
        return None
    names = {str(case[key]) for part in split.rows.values() for case in part for key in (CASE_ID, PATIENT_ID)}
    long = sorted(name for name in names if len(name) >= _SHORTEST)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, long))})(?![\w-])") if long else None


def _named(path: Path, names: re.Pattern[str] | None) -> str | None:
    found = None if names is None else names.search(path.read_text(encoding="utf-8", errors="replace"))
    return None if found is None else found[0]


def _write_weights(path: Path, state: State, container: Container) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, container.around({name: value.clone().contiguous() for name, value in state.items()}))


def _write_metadata(file: Path, record: RunRecord) -> None:
    metadata: dict[str, Any] = read_json(file, dict) if file.is_file() else {"version": "0.0.0"}
    block, done = unlearning_done(record)
    raised = raised_version(str(metadata.get("version", "0.0.0")))
    changelog = {raised: done} | dict(metadata.get("changelog", {}))
    write_json(file, {**metadata, "version": raised, "changelog": changelog, "unlearning": block})


def answers_alike(folder: Path, bundle: Bundle, image: Any, weights: Path) -> str:
    """Run the bundle's own inference on a case, and compare its files with what `predict` writes, byte by byte.

    Args:
        folder: the released bundle.
        bundle: the adopted bundle, whose made configs `predict` runs.
        image: a case that was not forgotten: a file, several, or a mapping with further inputs; None if there is none
            to try.
        weights: the student's weights.

    Raises:
        InputError: if the bundle does not predict, or predicts something else.
    """
    file = config_file(folder, "inference")
    if image is None or file is None or not bundle.has("inference"):
        return "it was not tried on a case: it has no inference config that predicts, or the images were moved"
    with tempfile.TemporaryDirectory() as place:
        own, made = Path(place) / "own", Path(place) / "made"
        try:
            make_importable(folder)
            run_config([str(file)], _on_one_case(SourceConfig(folder, file), folder, image, own))
            make_importable(bundle.place)
            options = {"images": [image], "output_dir": str(made), "weights": str(weights)}
            run_config(bundle.files("inference"), {"bundle_root": str(bundle.place), **options})
        except RuntimeError as error:
            raise InputError(
                f"nothing is released: the bundle cannot predict a case of its split ({root_of(error)})"
            ) from error
        written, predicted = _written(own), _written(made)
    if not written:
        raise InputError("nothing is released: the bundle writes no prediction for a case of its split")
    if written != predicted:
        differing = sorted(
            name for name in written.keys() | predicted.keys() if written.get(name) != predicted.get(name)
        )
        raise InputError(
            f"nothing is released: its own inference config and mu-monai predict differ in {', '.join(differing)}; "
            "correct inference.json, so that the recipient gets what was measured"
        )
    return f"its own inference was run on a case of its split, and gave the same as predict ({', '.join(written)})"


def _written(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _on_one_case(config: SourceConfig, folder: Path, image: Any, out: Path) -> dict[str, Any]:
    """Overrides that let a bundle's own inference config predict one image."""
    evaluator = config.get(config.components(EVALUATOR)[0])
    loader, loading = config.argument(evaluator, "val_data_loader")
    _, dataset = config.argument(loader, "dataset")
    overrides: dict[str, Any] = {"bundle_root": str(folder)}
    if dataset is None or loading is None:
        raise InputError("nothing is released: the data set of the bundle's inference config has no id; give it one")
    overrides[f"{dataset}::data"] = [image if isinstance(image, Mapping) else {IMAGE: image}]
    overrides[f"{loading}::num_workers"] = 0
    return overrides | {place: str(out) for place in _output_places(config)}


def _output_places(config: SourceConfig) -> Iterator[str]:
    """The ids that say where predictions are written."""
    for place, _ in config.targets():
        component = config.get(place)
        if isinstance(component, Mapping) and "output_dir" in component:
            yield f"{place}::output_dir"
