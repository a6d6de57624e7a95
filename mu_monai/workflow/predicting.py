"""Predict new images with the model of a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from mu_monai.adapters import read_weights
from mu_monai.bundle.adopted.source import WRITES_IMAGES, name_of
from mu_monai.bundle.config import run_config, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.references import leaves
from mu_monai.bundle.trust import SEPARATOR, STRANGER, Trust, inherited, is_of_bundle
from mu_monai.data import open_split
from mu_monai.data.case_files import files_of, image_entry
from mu_monai.data.volumes.files import promised_too_much
from mu_monai.errors import InputError, collect, raise_if_any
from mu_monai.files import whole_folder
from mu_monai.keys import MODEL_PT, TEST
from mu_monai.lock import writes
from mu_monai.reasons import reason_for, unexpected
from mu_monai.runs import open_run
from mu_monai.workflow.checks import device_problems, place_problems, weight_problems
from mu_monai.workflow.recipe import common_options

_IMAGES, _NETWORK = "dataset", "network"  # MONAI's names for the images and the model of an inference config


@writes("out")
def predict(
    run: str | Path,
    images: Sequence[str | Path] | None = None,
    *,
    split: str | Path | None = None,
    out: str | Path,
    device: str | None = None,
    trust: Trust = STRANGER,
) -> Path:
    """Write the predictions of a finished run's model: masks in the geometry of their images, or a table of classes.

    Every image is read before the first prediction is made, and the folder appears whole or not at all.

    The bundle's `inference.json` is run with the network, intensities, spacing and patches of the run, so that a model
    is used as it was trained.

    Args:
        run: the folder of a finished run; for an unlearning run, the student predicts.
        images: files, or folders that hold one DICOM series each.
        split: a `split.json`, to predict its test cases instead: for cases of several files.
        out: the folder to make. Images from several folders keep these folders in it.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        trust: how far the run is trusted.

    Returns:
        the folder.

    Raises:
        InputError: if the run is not finished, images are missing or cannot be read, two would be written to the same
            file, or `out` is not empty.
    """
    run, out = Path(run), Path(out)
    raise_if_any(["give images or --split, not both"] if images and split else [])
    entries = _test_cases(split) if split is not None else [str(Path(image).absolute()) for image in images or ()]
    paths = [Path(file) for entry in entries for file in files_of(entry)[:1]]
    bundle = trust.bundle_of(open_run(run, MODEL_PT).record)
    config = LayeredConfig(bundle, "inference")
    known, taken = config.read(), inherited(run, bundle, trust=trust)
    if "transforms" in taken and not is_of_bundle(bundle, "transforms", taken["transforms"]):
        raise InputError(
            f"'{run}' was trained with transforms of its own, and the inference config of '{bundle.place}' prepares "
            "images by its own preprocessing, so the model would get other images than it was trained on; give a "
            "bundle with the transforms of the run in train.json and inference.json (--bundle)"
        )
    config.lay("run", {key: value for key, value in taken.items() if key in known})
    config.lay("options", common_options(bundle, None, device) | {"weights": str((run / MODEL_PT).resolve())})
    config.lay("options", {"images": entries, "output_dir": str(out)})
    parser = config.read()
    places: dict[str, str | Path | None] = {"RUN": run, "--out": out, "the bundle": bundle.place}
    files = [file for entry in entries for file in files_of(entry)]
    places |= {f"image {number}": path for number, path in enumerate(files, start=1)}
    raise_if_any(
        collect(
            lambda: unknown_ids(known, ("weights", "images", "output_dir"), "predict sets, and"),
            lambda: image_problems(paths, by_name=_writes_by_name(parser)),
            lambda: place_problems(places),
            lambda: out_problems(out),
            lambda: device_problems(device),
            lambda: weight_problems(parser, run / MODEL_PT),
        )
    )
    with whole_folder(out) as folder:
        done = run_config(config.files, config.overrides | {"output_dir": str(folder)}, _read_all)
        raise_if_any(_other_weights(done.parser, run))
        if not any(path.is_file() for path in folder.rglob("*")):
            raise InputError(
                "the bundle's inference config wrote nothing into output_dir; let its postprocessing or a handler save "
                "what it predicts (SaveImaged)"
            )
    return out


def _test_cases(split: str | Path) -> list[Any]:
    """The images of a split's test cases, as far as they are files: one or several each, and further inputs."""
    opened = open_split(split)
    if not opened.cases[TEST]:
        raise InputError(f"'{split}' has no test cases; give images instead")
    return [image_entry(case, opened.inputs) for case in opened.cases[TEST]]


def _read_all(parser: ConfigParser) -> None:
    """Read every image as the config does, before anything is written."""
    images = parser.get_parsed_content(_IMAGES) if _IMAGES in parser else ()
    problems = []
    for number in range(len(images)):
        try:
            images[number]
        except Exception as error:  # a transform may raise anything
            reason = reason_for(error) or unexpected(error)
            problems += reason.problems if isinstance(reason, InputError) else [str(reason)]
    raise_if_any(problems)


def _other_weights(parser: ConfigParser, run: Path) -> Iterator[str]:
    """Why the predictions are not those of a run's model: its network does not end with the run's weights."""
    network = parser.get_parsed_content(_NETWORK) if _NETWORK in parser else None
    if not isinstance(network, nn.Module):
        return
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    for name, value in read_weights(run / MODEL_PT).items():
        there = [state[key] for key in state if key == name or key.endswith(f".{name}")]  # it may be wrapped
        if not any(each.shape == value.shape and torch.equal(each, value) for each in there):
            yield (
                f"the bundle's inference config changes the network after the weights of '{run}' were loaded, such as "
                f"by a handler that loads a checkpoint ({name}), so that another model would predict; take that out"
            )
            return


def image_problems(paths: Sequence[Path], *, by_name: bool = False) -> list[str]:
    """Why images cannot be predicted: they are missing, or two of them would be written to the same file.

    Args:
        paths: the images.
        by_name: whether predictions are named after images alone, and not after their folders.
    """
    if not paths:
        return ["no image is given; name image files, or folders of DICOM series"]
    problems = [f"image '{path}' does not exist; check its path" for path in paths if not path.exists()]
    problems += [f"image '{path}' {problem}" for path in paths for problem in promised_too_much(str(path))]
    named: dict[Path, list[str]] = {}
    for path in paths:
        whole = _without_suffix(path)
        named.setdefault(Path(whole.name) if by_name else whole, []).append(f"'{path}'")
    return problems + [
        f"{' and '.join(names)} would be written to the same file; predict them separately, each with its own --out"
        for names in named.values()
        if len(names) > 1
    ]


def _writes_by_name(parser: ConfigParser) -> bool:
    """Whether a config saves images without the folders that they were in."""
    components = (place.rpartition(SEPARATOR) for place, _ in leaves(parser.get()))
    parts = [parser.get(place) for place, _, key in components if key == "_target_"]
    return any(name_of(part) in WRITES_IMAGES and not part.get("data_root_dir") for part in parts)


def _without_suffix(path: Path) -> Path:
    """The path that MONAI names an output after: without its last suffix or `.nii.gz`, even for a folder."""
    return path.with_name(Path(path.stem).stem if path.suffix == ".gz" else path.stem)


def out_problems(out: Path) -> list[str]:
    """Why a folder cannot be written to: it is not empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"'{out}' exists and is not empty; give another --out or remove it")
    return []
