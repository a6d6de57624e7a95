"""A bundle with only the student, built from MONAI's own classes: it runs without mu_monai."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.bundle import Bundle, shipped_bundles
from mu_monai.bundle.earlier import PICTURE_READER
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.references import texts
from mu_monai.bundle.trust import Trust, inherited
from mu_monai.data.reading import PICTURE_RANGE
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json
from mu_monai.keys import FORGET, RETAIN
from mu_monai.record.predicate import in_what_sense
from mu_monai.runs import RunRecord

_PACKAGE = "mu_monai"
_CHECK, _CROP = f"{_PACKAGE}.data.check_volume.CheckVolumed", f"{_PACKAGE}.data.crop_volume.CropContentd"
_NEEDED = ("network_def", "weights", "images", "device", "evaluator", "run")
_UNUSED = ("split", "cases", PICTURE_RANGE)
_IMPORTS = ("$import glob", "$import os", "$from PIL import ImageOps")
_UPRIGHT_RGB = "$lambda image: ImageOps.exif_transpose(image).convert('RGB')"
_LOAD = "$@network.load_state_dict(torch.load(@weights, map_location=@device, weights_only=True))"
_READERS = {"PILReader": "pillow", "NibabelReader": "nibabel", "PydicomReader": "pydicom", "pandas": "pandas"}


def plain_inference(run: str | Path, bundle: Bundle, trust: Trust) -> dict[str, Any]:
    """The inference config of a run's bundle, with its network, sizes and intensities, and only MONAI's classes.

    It predicts as `mu-monai predict` does, but without the check of volumes, which MONAI does not have.

    Args:
        run: the folder of a finished run.
        bundle: its bundle.
        trust: how far the run is trusted.

    Raises:
        InputError: if the run's config is refused, or the bundle's own `inference.json` needs parts of mu_monai that
            MONAI cannot replace.
    """
    layered = LayeredConfig(bundle, "inference")
    known, taken, file = layered.read(), inherited(run, bundle, trust=trust), layered.files[0]
    layered.lay("run", {key: value for key, value in taken.items() if key in known})
    config = dict(layered.read().get())
    raise_if_any(
        f"'{file}' has no id '{key}'; add it, as in the shipped bundles" for key in _NEEDED if key not in config
    )
    if config.get(PICTURE_RANGE) is not None:
        raise InputError(
            f"'{run}' was trained on images of more than 8 bits, which plain MONAI does not scale as training did "
            f"({PICTURE_RANGE} is {config[PICTURE_RANGE]}); hand over the run folder, or train on images of 8 bits"
        )
    config = {key: _plain(value) for key, value in config.items() if key not in ("_meta_", *_UNUSED)}
    config |= {
        "imports": [*(text for text in config["imports"] if _PACKAGE not in text), *_IMPORTS],
        "bundle_root": ".",
        "dataset_dir": "images",
        "images": "$sorted(glob.glob(os.path.join(@dataset_dir, '*')))",
        "output_dir": "predictions",
        "weights": "$@bundle_root + '/models/model.pt'",
        "network": "$@network_def.to(@device)",
        "initialize": [*config.get("initialize", []), _LOAD],
    }
    config["imports"] = list(dict.fromkeys(config["imports"]))
    raise_if_any(
        f"'{file}' needs {text!r}, which plain MONAI cannot replace; write it with MONAI's own classes, so that the "
        f"model runs without {_PACKAGE}"
        for text in sorted({text for _, text in texts(config)})
        if _PACKAGE in text
    )
    return config


def _plain(value: Any) -> Any:
    """A part of a config with our classes replaced by MONAI's, which do the same for an image without a mask."""
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, Mapping) and item.get("_target_") == _CHECK)]
    if not isinstance(value, Mapping):
        return value
    if value.get("_target_") == PICTURE_READER:
        return {"_target_": "PILReader", "converter": _UPRIGHT_RGB}
    if value.get("_target_") == _CROP:
        place = {"start_coord_key": None, "end_coord_key": None}
        return {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": True, **place}
    return {key: _plain(item) for key, item in value.items()}


def sealed_metadata(bundle: Bundle, config: Mapping[str, Any], record: RunRecord) -> dict[str, Any]:
    """The bundle's metadata with a raised version, the shapes of the run, and what was unlearned; no ids.

    Args:
        bundle: the bundle that the run was made with.
        config: the inference config of the released bundle.
        record: `run.json` of the unlearning run.
    """
    metadata: dict[str, Any] = read_json(own_file(bundle, "configs/metadata.json"))
    phantom = record.provenance.get("phantom")
    block, done = unlearning_done(record)
    raised = raised_version(str(metadata["version"]))
    changes = {
        "version": raised,
        "changelog": {raised: done, **metadata.get("changelog", {})},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in ("pytorch-ignite", *_readers(config))},
        "description": f"{metadata.get('name', metadata['task'])}: {done}. The measurements are in the signed record "
        "that was handed over with it.",
        "data_source": "built-in phantoms" if phantom else "images from the makers of this model",
        "unlearning": block,
    }
    metadata = {key: value for key, value in metadata.items() if key != "image_classes"} | changes
    _set_shapes(metadata["network_data_format"], config)
    if "classes" in config:
        metadata["label_classes"] = ", ".join(f"{index}: {name}" for index, name in enumerate(config["classes"]))
        metadata["pred_classes"] = f"{len(config['classes'])} logits: {', '.join(config['classes'])}"
    return metadata


def unlearning_done(record: RunRecord) -> tuple[dict[str, Any], str]:
    """The `unlearning` block of a released bundle's metadata, and the entry of its changelog."""
    block = unlearning_block(record)
    return block, f"weights after unlearning {_forgotten(block)} with {block['method']}"


def released_bundle(folder: Path) -> Path:
    """The bundle in a released folder: `bundle`, or the folder of the user's own bundle under its name.

    Raises:
        InputError: if there is none, or more than one.
    """
    found = [file.parent.parent for file in folder.glob("*/configs/metadata.json")]
    if len(found) != 1:
        raise InputError(
            f"'{folder}' holds {len(found)} bundles (folders with configs/metadata.json), not one; give the folder "
            "that mu-monai release wrote"
        )
    return found[0]


def released_weights(folder: Path) -> Path:
    """The weights of the bundle in a released folder.

    Raises:
        InputError: if it holds not one file of weights.
    """
    models = released_bundle(folder) / "models"
    files = [path for path in models.glob("*") if path.suffix in (".pt", ".pth", ".safetensors")]
    if len(files) > 1:  # one may be what the network is built from
        digest = read_json(models.parent / "configs" / "metadata.json")["unlearning"]["weights_sha256"]
        files = [path for path in files if _digest(path) == digest]
    if len(files) != 1:
        raise InputError(f"'{models}' holds {len(files)} files of weights, not one; give the folder as it was released")
    return files[0]


def _digest(file: Path) -> str | None:
    """The SHA-256 of the weights in a file; None if it holds none."""
    try:
        return weights_sha256(read_weights(file))
    except InputError:
        return None


def unlearning_block(record: RunRecord) -> dict[str, Any]:
    """What was unlearned, by method and by numbers of patients.

    Nothing else about the request is included: a digest of the split could be compared with that of a guessed split,
    and a number of cases can identify a single patient.
    """
    counts = record.provenance.get("counts") or {}
    patients = {name: {"patients": count["patients"]} for name, count in counts.items() if "patients" in count}
    return {
        "method": record.method.name if record.method else "",
        "preset": _shipped_preset(record),
        "forgotten": {"classes": record.forget_classes} if record.forget_classes else patients.get(FORGET),
        "retained": patients.get(RETAIN),
        "weights_sha256": record.sha256.weights,
    }


def _shipped_preset(record: RunRecord) -> str | None:
    """The preset, if a shipped bundle has it: a user's own may be named after a patient."""
    preset = record.preset
    names = {name for folder in shipped_bundles().values() for name in Bundle(folder).presets}
    return preset if preset in names else None


def own_file(bundle: Bundle, name: str) -> Path:
    """A file of a bundle that goes into a release.

    Raises:
        InputError: if it is a link, or inside one: the target is not part of the bundle.
    """
    path = bundle.place / name
    if path.resolve() != bundle.place.resolve() / name:
        raise InputError(
            f"'{path}' is a link to '{path.resolve()}', and a release contains no files from elsewhere; put the file "
            "itself into the bundle"
        )
    return path


def raised_version(text: str) -> str:
    """A version with its last number raised by one.

    Example:
        >>> raised_version("0.1.9"), raised_version("2025a")
        ('0.1.10', '2025a.1')
    """
    head, dot, last = text.rpartition(".")
    return f"{head}{dot}{int(last) + 1}" if last.isdigit() else f"{text}.1"


def readme(metadata: Mapping[str, Any], record: RunRecord) -> str:
    """`docs/README.md` of a released bundle: what it is, and in what sense it has forgotten."""
    block = metadata["unlearning"]
    return README.format(
        name=metadata.get("name", metadata["task"]),
        version=metadata["version"],
        forgotten=_forgotten(block),
        use=metadata.get("intended_use", "Research; not for clinical use"),
        in_what_sense=in_what_sense(asdict(record.method) if record.method else None),
        **{key: block[key] for key in ("method", "weights_sha256")},
    )


def _forgotten(block: Mapping[str, Any]) -> str:
    forgotten = block["forgotten"] or {}
    if "classes" in forgotten:
        return f"the classes {', '.join(forgotten['classes'])}"
    patients = forgotten.get("patients", "some")
    return f"{patients} patient{'' if patients == 1 else 's'}"


def _readers(config: Mapping[str, Any]) -> list[str]:
    text = str(config)
    return sorted({package for word, package in _READERS.items() if word in text})


def _set_shapes(formats: dict[str, Any], config: Mapping[str, Any]) -> None:
    """Set the size and the classes of the run; formats other than images keep their shape."""
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    size = config.get("patch_size", config.get("image_size"))
    for part in (image, pred):
        if size is not None and part["type"] == "image":
            part["spatial_shape"] = list(size)
    if config.get("modality", "CT") != "CT":
        image |= {"modality": config["modality"], "format": "magnitude"}
    if "classes" in config:
        names = list(config["classes"])
        pred |= {"num_channels": len(names), "channel_def": {str(index): name for index, name in enumerate(names)}}
        if pred["type"] != "image":
            pred["spatial_shape"] = [1, len(names)]


README = """# {name}, version {version}

A MONAI bundle for inference. Its weights `models/model.pt` are the result of unlearning {forgotten} with {method}.
It contains nothing else of the run: no adapter, no optimizer state, no original weights.

It needs only MONAI and the packages that `configs/metadata.json` names:

```
python -m monai.bundle run --config_file BUNDLE/configs/inference.json --bundle_root BUNDLE \\
    --dataset_dir IMAGES --output_dir PREDICTIONS
```

`IMAGES` is a folder of images, or of folders with one DICOM series each. Choose a folder `PREDICTIONS` outside of this
bundle: with any file added, it is no longer the bundle that was signed.

Images are not checked: make sure that a volume is of the kind that the model was trained on, such as a CT in Hounsfield
units.

The SHA-256 of the weights, over names and values, is `{weights_sha256}`.

{in_what_sense}

The signed record that was handed over with this bundle states what was measured. Nothing beyond that is known. {use}.
"""
