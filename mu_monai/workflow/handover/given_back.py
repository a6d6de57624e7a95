"""The user's own bundle with other weights: nothing else in it changes, and nothing in it knows the forgotten."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from mu_monai.adapters import write_tensors
from mu_monai.adapters.weights import Container, opened_weights
from mu_monai.attacks.containers import read_parts
from mu_monai.bundle import Bundle
from mu_monai.bundle.adopted.extract import Extract
from mu_monai.bundle.adopted.parts import EVALUATOR
from mu_monai.bundle.adopted.source import SourceConfig, config_file, make_importable, root_of
from mu_monai.bundle.config import read_config, run_config
from mu_monai.bundle.references import texts
from mu_monai.data import Split
from mu_monai.data.case_files import image_entry
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json, write_json
from mu_monai.keys import CASE_ID, IMAGE, MODEL_PT
from mu_monai.runs import RunRecord
from mu_monai.workflow.handover.names import Names
from mu_monai.workflow.handover.sealed import own_file, raised_version, unlearning_done

State = Mapping[str, torch.Tensor]
logger = logging.getLogger(__name__)
_LINKS = re.compile(r"large_files\.(yml|yaml|json)")
_EXPORTS = (".ts", ".onnx")
_DOCUMENTS = (".py", ".md", ".rst", ".conf", ".cfg", ".toml", ".sh")
_CONFIG_FORMS = (".json", ".yaml", ".yml")
_LISTED = ("training", "validation", "testing", "test")
_NETWORK = "network_def"
_NEAR = 1e-4  # rounding, relative and absolute, of inputs that are the same


def write_given_back(
    folder: Path, bundle: Bundle, record: RunRecord, state: State, teacher: Path, names: Names
) -> list[str]:
    """Copy an adopted bundle with the student's weights in the place and container of the original ones.

    Configs, scripts, documents and licenses are copied; everything else may hold images, names or weights, and is left
    out, and so are lists of cases.

    Args:
        folder: where to write it; it does not exist.
        bundle: the adopted bundle.
        record: `run.json` of the unlearning run.
        state: the student's weights.
        teacher: the file that the run started from.
        names: what a sentence must not name.

    Returns:
        one sentence for what was left out.

    Raises:
        InputError: if a file is a link, or one that the network is built from cannot be searched.
    """
    source, original = bundle.place, _original(bundle, teacher)
    defining = {file: place for file, place in _read_by_network(bundle) if file != original}
    left_out: dict[Path, str] = {}
    problems = [*_unsearchable(defining)]
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_symlink():
            problems.append(f"'{path}' is a link, and a release contains nothing from elsewhere; put the files there")
        elif path.is_file() and path != original and not _is_remains(relative):
            why = None if path in defining else _left_out(path, relative)
            if why:
                left_out[relative] = why
            else:
                target = folder / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(own_file(bundle, relative.as_posix()), target)
    raise_if_any(problems)
    _, container = opened_weights(original)
    inside = original.is_relative_to(source)
    _write_weights(folder / (original.relative_to(source) if inside else Path("models") / MODEL_PT), state, container)
    _write_metadata(folder / "configs" / "metadata.json", record)
    kept = {file.relative_to(source): place for file, place in defining.items()}
    return [*_told_of_left_out(left_out, names), *_told_of_kept(kept)]


def _told_of_left_out(left_out: Mapping[Path, str], names: Names) -> Iterator[str]:
    """What was left out, without the names of data files: the release, and with it the sentence, goes to others."""
    if not left_out:
        return
    logger.info("left out of the bundle: %s", ", ".join(file.as_posix() for file in left_out))
    kinds = Counter((_kind(file, names), why) for file, why in left_out.items())
    told = [f"{kind} ({why}{f'; {number} files' if number > 1 else ''})" for (kind, why), number in kinds.items()]
    yield f"left out of the bundle: {', '.join(told)}"
    if any(file.suffix in _EXPORTS for file in left_out):
        yield "exported forms held the original weights; make them anew: python -m monai.bundle ckpt_export"


def _kind(file: Path, names: Names) -> str:
    """The name of a file that is not of data, and the folder and ending of any other."""
    public = file.parts[0] == "models" or file.suffix in (*_CONFIG_FORMS, *_EXPORTS)
    told = file.as_posix() if public else "/".join([*file.parts[:1], f"*{file.suffix}"][len(file.parts) == 1 :])
    return f"*{file.suffix}" if names.one_in(told) else told


def _told_of_kept(kept: Mapping[Path, str]) -> Iterator[str]:
    for file, place in kept.items():
        yield (
            f"kept {file.as_posix()}, which the network is built from ({place} of its train config): if it was found "
            "by training on the forgotten, it still follows from them"
        )


def _unsearchable(files: Iterable[Path]) -> Iterator[str]:
    """Why files that the network is built from cannot be part of a release: what else they hold is not known."""
    for file in files:
        if any(part.problem for part in read_parts(file.name, file.read_bytes())):
            yield (
                f"'{file}' is read by the network's definition and cannot be read without executing its content, so "
                "what else it holds is not known; save its arrays with numpy.savez, and let the config read them with "
                "numpy.load"
            )


def _read_by_network(bundle: Bundle) -> Iterator[tuple[Path, str]]:
    """The files of a bundle that its network's definition names, such as the result of an architecture search."""
    assert bundle.parts is not None
    extract = Extract(bundle.parts.config, _NETWORK, {})
    named = [*texts({_NETWORK: extract.take(bundle.parts.network)}), *texts(extract.kept)]
    for file in sorted(path for path in (bundle.place / "models").rglob("*") if path.is_file()):
        whole = re.compile(rf"(?<![\w.-]){re.escape(file.name)}(?!\w)")
        place = next((place for place, text in named if whole.search(text)), None)
        if place is not None:
            yield file, place.replace("::", "#")


def _original(bundle: Bundle, teacher: Path) -> Path:
    """The file whose place and form the student's weights take: the teacher's, or that of the bundle."""
    if teacher.is_relative_to(bundle.place):
        return teacher
    own = sorted((bundle.place / "models").glob("*.pt"))
    named = [path for path in own if path.name == MODEL_PT] or own
    return named[0] if named and len(named) == 1 else teacher


def _is_remains(path: Path) -> bool:
    """What Python, version control and systems leave behind."""
    return "__pycache__" in path.parts or path.parts[0] in (".git", ".svn") or path.name in (".DS_Store", ".gitignore")


def _left_out(path: Path, relative: Path) -> str | None:
    """Why a file is not copied; None for configs, scripts, documents and licenses."""
    if _LINKS.fullmatch(relative.name):
        return "links to the original weights"
    if relative.suffix in _DOCUMENTS or re.match(r"licen[sc]e|notice|copying", relative.name, re.IGNORECASE):
        return None
    if relative.parts[0] == "docs" and relative.suffix == ".txt":
        return None
    if relative.parts[0] == "configs" and relative.suffix in _CONFIG_FORMS:
        return "lists cases" if _lists_cases(path) else None
    return "no config, script or document"


def _lists_cases(path: Path) -> bool:
    """Whether a file is a list of cases and not a config."""
    content = ConfigParser.load_config_file(path) if path.suffix != ".json" else read_json(path)
    lists = content.values() if isinstance(content, dict) and {*content} & {*_LISTED} else [content]
    return any(isinstance(each, list) for each in lists)


def _write_weights(path: Path, state: State, container: Container) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, container.around({name: value.clone().contiguous() for name, value in state.items()}))


def _write_metadata(file: Path, record: RunRecord) -> None:
    metadata: dict[str, Any] = read_json(file, dict) if file.is_file() else {"version": "0.0.0"}
    block, done = unlearning_done(record)
    raised = raised_version(str(metadata.get("version", "0.0.0")))
    changelog = {raised: done} | dict(metadata.get("changelog", {}))
    write_json(file, {**metadata, "version": raised, "changelog": changelog, "unlearning": block})


def answers_alike(folder: Path, bundle: Bundle, split: Split, case: Mapping[str, Any] | None, weights: Path) -> str:
    """Run the bundle's own inference on a case: its files are those of `predict`, and its answer is the measured one.

    Args:
        folder: the released bundle.
        bundle: the adopted bundle, whose made configs `predict` and `evaluate` run.
        split: the run's split.
        case: a case that was not forgotten; None if there is none to try.
        weights: the student's weights.

    Raises:
        InputError: if the bundle does not predict, or predicts something else.
    """
    file = config_file(folder, "inference")
    if case is None or file is None or not bundle.has("inference"):
        return "it was not tried on a case: it has no inference config that predicts, or the images were moved"
    image = image_entry(case, split.inputs)
    _raise_if_read_otherwise(bundle, split, case, image)
    with tempfile.TemporaryDirectory() as place:
        own, made = Path(place) / "own", Path(place) / "made"
        try:
            with _without(bundle.place):
                make_importable(folder)
                run_config([str(file)], _on_one_case(SourceConfig(folder, file), folder, image, own))
            make_importable(bundle.place)
            options = {"images": [image], "output_dir": str(made), "weights": str(weights)}
            run_config(bundle.files("inference"), {"bundle_root": str(bundle.place), **options})
        except RuntimeError as error:
            raise InputError(
                f"nothing is released: the bundle cannot predict a case of its split ({root_of(error)})"
            ) from error
        finally:
            sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
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
    endings = ", ".join(sorted({"".join(Path(name).suffixes) for name in written}))  # the names are of the case
    return f"its own inference was run on a case of its split, and gave the same as predict ({endings})"


@contextmanager
def _without(folder: Path) -> Iterator[None]:
    """Python's path without a folder, so that a release is tried with its own modules."""
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if entry != str(folder)]
    try:
        yield
    finally:
        sys.path[:] = before


def _raise_if_read_otherwise(bundle: Bundle, split: Split, case: Mapping[str, Any], image: Any) -> None:
    """Refuse an inference config that makes another input of a case than the transforms that it was scored with."""
    make_importable(bundle.place)
    config = read_config(bundle.files("evaluate"))
    config.update({"split": str(split.path.resolve())})
    prepared = [each for part in config.get_parsed_content("cases").values() for each in part]  # labels as numbers
    known = next(dict(each) for each in prepared if each[CASE_ID] == case[CASE_ID])
    scored = config.get_parsed_content("transforms")(known)[IMAGE]
    entry = dict(image) if isinstance(image, Mapping) else {IMAGE: image}
    answered = read_config(bundle.files("inference")).get_parsed_content("preprocessing")(entry)[IMAGE]
    answered = torch.as_tensor(answered).float()
    if scored.shape == answered.shape and torch.allclose(scored, torch.as_tensor(answered), atol=_NEAR, rtol=_NEAR):
        return
    raise InputError(
        f"nothing is released: inference.json makes the input {tuple(answered.shape)} in [{answered.min():.3g}, "
        f"{answered.max():.3g}] of a case, and the transforms that the model was trained and measured with make "
        f"{tuple(scored.shape)} in [{scored.min():.3g}, {scored.max():.3g}]; correct the transforms of one of them"
    )


def _written(folder: Path) -> dict[str, bytes]:
    """The files by their names alone; their folders depend on the place that a config sees the image from."""
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


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
