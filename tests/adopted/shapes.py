"""Minimal bundles in the shapes that MONAI's model zoo has, with made images: nothing here is copied from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from PIL import Image

CASES = 14
DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
UNET = {"_target_": "UNet", "channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1, "norm": "instance"}


@dataclass
class Shape:
    """One kind of bundle.

    Args:
        steps: the deterministic transforms, for the keys that `{keys}` stands for.
        write: writes the files of a case and returns its entry.
        of_classes: the answer is a class, whatever the label of a case is.
    """

    write: Callable[[Path, int, np.random.Generator], dict[str, Any]]
    steps: Callable[[Sequence[str]], list[dict[str, Any]]]
    network: dict[str, Any]
    loss: dict[str, Any]
    answer: list[dict[str, Any]]
    classes: list[str]
    random: list[dict[str, Any]] = field(default_factory=list)
    inferer: dict[str, Any] = field(default_factory=lambda: {"_target_": "SimpleInferer"})
    inputs: Sequence[str] = ("image",)
    form: str = "json"
    listed: str = "list"
    scripts: str | None = None
    container: Callable[[dict[str, Any]], Any] = dict
    output: str = ".nii.gz"
    label_is_file: bool = True
    of_classes: bool = False


def volume(folder: Path, number: int, rng: np.random.Generator, regions: int = 1, channels: int = 1) -> dict[str, Any]:
    """A box of one or more structures; several channels lie in a file each."""
    image, label = rng.normal(0, 30, (16, 16, 8)), np.zeros((16, 16, 8), np.uint8)
    x, y = rng.integers(2, 7, 2)
    for region in range(regions):
        label[x + region : x + 8 - region, y + region : y + 8 - region, 2:7] = region + 1
    image += 60.0 * label
    names = [f"case_{number:02}_{channel}.nii.gz" for channel in range(channels)]
    for place in ("images", "labels"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for name in names:
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([1.5, 1.5, 2, 1])), folder / "images" / name)
    path = folder / "labels" / f"case_{number:02}.nii.gz"
    nib.save(nib.Nifti1Image(label, np.diag([1.5, 1.5, 2, 1])), path)
    images = [str(folder / "images" / name) for name in names]
    return {"image": images[0] if channels == 1 else images, "label": str(path)}


def channels_in_one_file(folder: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A volume whose two channels are the fourth dimension of one file."""
    entry = volume(folder, number, rng, channels=2)
    parts = [nib.load(path) for path in entry["image"]]
    path = folder / "images" / f"case_{number:02}.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([part.get_fdata() for part in parts], axis=-1), parts[0].affine), path)
    return entry | {"image": str(path)}


def picture(folder: Path, number: int, rng: np.random.Generator, size: int = 32) -> dict[str, Any]:
    """A photograph with a bright square, and its mask of 0 and 255."""
    pixels, mask = rng.integers(0, 120, (size, size, 3)), np.zeros((size, size), np.uint8)
    x, y = rng.integers(2, size // 2, 2)
    mask[x : x + size // 3, y : y + size // 3] = 255
    pixels[mask > 0] += 120
    for place in ("images", "labels"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    image, label = folder / "images" / f"frame_{number:02}.png", folder / "labels" / f"frame_{number:02}.png"
    Image.fromarray(pixels.astype(np.uint8)).save(image)
    Image.fromarray(mask).save(label)
    return {"image": str(image), "label": str(label)}


def classified(folder: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A photograph of one of two classes, by its brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"photo_{number:02}.png"
    Image.fromarray((rng.integers(0, 100, (32, 32, 3)) + 120 * (number % 2)).astype(np.uint8)).save(path)
    return {"image": str(path), "label": number % 2}


def nucleus(folder: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A photograph of an object, whose mask holds the number of its class, and 255 where others lie."""
    entry = picture(folder, number, rng)
    mask = np.where(np.array(Image.open(entry["label"])) > 0, number % 2 + 1, 0).astype(np.uint8)
    mask[28:] = 255
    Image.fromarray(mask).save(entry["label"])
    return entry


def two_phases(folder: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A volume in two contrast phases, a file each."""
    entry = volume(folder, number, rng, channels=2)
    artery, vein = entry.pop("image")
    return {"image": artery, "vein": vein, **entry}


def _volumes(keys: Sequence[str], *more: dict[str, Any], first: bool = True) -> list[dict[str, Any]]:
    label = "label" in keys
    images = [key for key in keys if key != "label"]
    modes = [*["bilinear"] * len(images), *(["nearest"] if label else [])]
    steps = [
        {"_target_": "LoadImaged", "keys": list(keys)},
        {"_target_": "EnsureChannelFirstd", "keys": list(keys)},
        {"_target_": "Orientationd", "keys": list(keys), "axcodes": "RAS", "labels": None},
        {"_target_": "Spacingd", "keys": list(keys), "pixdim": [1.5, 1.5, 2.0], "mode": modes},
        {
            "_target_": "ScaleIntensityRanged",
            "keys": images,
            "a_min": -60,
            "a_max": 160,
            "b_min": 0,
            "b_max": 1,
            "clip": True,
        },
    ]
    return [*(steps if first else steps[:1]), *more, {"_target_": "EnsureTyped", "keys": list(keys)}]


def _pictures(keys: Sequence[str]) -> list[dict[str, Any]]:
    steps = [
        {"_target_": "LoadImaged", "keys": list(keys), "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": -1},
        {"_target_": "ScaleIntensityd", "keys": "image"},
    ]
    if "label" in keys:
        steps.insert(2, {"_target_": "EnsureChannelFirstd", "keys": "label"})
        steps.append({"_target_": "AsDiscreted", "keys": "label", "threshold": 127})
    return [*steps, {"_target_": "EnsureTyped", "keys": list(keys), "dtype": "$torch.float32"}]


def _nuclei(keys: Sequence[str]) -> list[dict[str, Any]]:
    steps = [
        {"_target_": "LoadImaged", "keys": list(keys), "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": list(keys)},
        {"_target_": "ScaleIntensityd", "keys": "image"},
    ]
    if "label" in keys:
        one = {"_target_": "SplitLabeld", "keys": "label", "mask_value": "", "others_value": 255}
        steps += [one | {"to_binary_mask": False}, {"_target_": "SetLabelClassd", "keys": "label", "offset": -1}]
    return [*steps, {"_target_": "SelectItemsd", "keys": list(keys)}]


def _photos(keys: Sequence[str], *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"_target_": "LoadImaged", "keys": "image", "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": -1},
        {"_target_": "ScaleIntensityd", "keys": "image"},
        {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
        *(more if "label" in keys else ()),
    ]


SOFTMAX = [{"_target_": "Activationsd", "keys": "pred", "softmax": True}]
SIGMOID = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 8], "sw_batch_size": 2, "overlap": 0.5}
CROP = {
    "_target_": "RandCropByPosNegLabeld",
    "keys": ["image", "label"],
    "label_key": "label",
    "spatial_size": [16, 16, 8],
    "num_samples": 2,
}
DICE_CE = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True}
SCRIPT = '''
from torch import nn


class TwoLayers(nn.Module):
    """A network that only this bundle has."""

    def __init__(self, out_channels):
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.norm = nn.InstanceNorm3d(4, affine=True)
        self.last = nn.Conv3d(4, out_channels, 1)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu())
'''

SHAPES = {
    "ct_binary_softmax": Shape(
        write=volume,
        steps=_volumes,
        random=[CROP],
        network=UNET | {"spatial_dims": 3, "in_channels": 1, "out_channels": 2},
        loss=DICE_CE | {"squared_pred": True, "batch": True},
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "spleen"],
        inferer=WINDOWS,
        listed="globs",
    ),
    "mr_two_classes": Shape(
        write=lambda *args: volume(*args, regions=2),
        steps=_volumes,
        network=UNET | {"spatial_dims": 3, "in_channels": 1, "out_channels": 3},
        loss={
            "_target_": "DiceFocalLoss",
            "to_onehot_y": True,
            "softmax": True,
            "batch": True,
            "include_background": False,
        },
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "central", "peripheral"],
        inferer=WINDOWS,
        container=lambda state: {"model": state, "epoch": 3},
    ),
    "regions_of_four_channels": Shape(
        write=lambda *args: volume(*args, regions=3, channels=4),
        steps=lambda keys: _volumes(
            keys,
            *([{"_target_": "ConvertToMultiChannelBasedOnBratsClassesd", "keys": "label"}] if "label" in keys else []),
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
            first=False,
        ),
        network={"_target_": "SegResNet", "init_filters": 8, "in_channels": 4, "out_channels": 3, "blocks_down": [1, 1]}
        | {"blocks_up": [1]},
        loss={"_target_": "DiceLoss", "to_onehot_y": False, "sigmoid": True, "squared_pred": True},
        answer=[*SIGMOID, THRESHOLD],
        classes=["tumor core", "whole tumor", "enhancing tumor"],
        listed="folds",
    ),
    "rgb_with_focal_loss": Shape(
        write=picture,
        steps=_pictures,
        random=[{"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5}],
        network=UNET | {"spatial_dims": 2, "in_channels": 3, "out_channels": 2},
        loss={"_target_": "DiceFocalLoss", "to_onehot_y": True, "softmax": True},
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "tool"],
        output=".png",
    ),
    "class_by_index": Shape(
        write=classified,
        steps=_photos,
        network={"_target_": "ResNet", "block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [4, 8, 8, 8]}
        | {"spatial_dims": 2, "n_input_channels": 3, "num_classes": 2},
        loss={"_target_": "torch.nn.CrossEntropyLoss", "reduction": "sum"},
        answer=SOFTMAX,
        classes=["inside", "outside"],
        label_is_file=False,
        of_classes=True,
    ),
    "class_one_hot": Shape(
        write=classified,
        steps=lambda keys: _photos(keys, {"_target_": "AsDiscreted", "keys": "label", "to_onehot": 2}),
        network={
            "_target_": "DenseNet121",
            "spatial_dims": 2,
            "in_channels": 3,
            "out_channels": 2,
            "block_config": [1, 1],
        }
        | {"init_features": 8, "growth_rate": 4},
        loss={"_target_": "torch.nn.CrossEntropyLoss"},
        answer=SOFTMAX,
        classes=["dark", "bright"],
        label_is_file=False,
        of_classes=True,
    ),
    "class_of_a_mask": Shape(
        write=nucleus,
        steps=_nuclei,
        network={"_target_": "ResNet", "block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [4, 8, 8, 8]}
        | {"spatial_dims": 2, "n_input_channels": 3, "num_classes": 2},
        loss={"_target_": "torch.nn.CrossEntropyLoss"},
        answer=SOFTMAX,
        classes=["round", "spindle"],
        of_classes=True,
    ),
    "yaml_template": Shape(
        write=volume,
        steps=lambda keys: _volumes(keys, {"_target_": "ScaleIntensityd", "keys": "image"}, first=True),
        network=UNET | {"spatial_dims": 3, "in_channels": 1, "out_channels": "@num_classes"},
        loss={"_target_": "DiceLoss", "include_background": True, "to_onehot_y": True, "softmax": True},
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "box"],
        form="yaml",
    ),
    "network_of_its_own": Shape(
        write=volume,
        steps=_volumes,
        network={"_target_": "scripts.networks.TwoLayers", "out_channels": 2},
        loss=DICE_CE,
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "kidney"],
        inferer=WINDOWS,
        scripts=SCRIPT,
    ),
    "transformer": Shape(
        write=lambda folder, number, rng: picture(folder, number, rng, size=64),
        steps=_pictures,
        network={"_target_": "SwinUNETR", "spatial_dims": 2, "in_channels": 3, "out_channels": 2, "feature_size": 12},
        loss=DICE_CE,
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "tool"],
        output=".png",
    ),
    "several_answers": Shape(
        write=volume,
        steps=_volumes,
        network={"_target_": "SegResNetDS", "init_filters": 4, "blocks_down": [1, 1], "dsdepth": 2, "norm": "instance"},
        loss={"_target_": "DeepSupervisionLoss", "loss": DICE_CE},
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "liver"],
        inferer=WINDOWS,
    ),
    "several_inputs": Shape(
        write=two_phases,
        steps=lambda keys: [
            *_volumes(keys)[:-1],
            {"_target_": "ConcatItemsd", "keys": ["image", "vein"], "name": "image"},
            {"_target_": "EnsureTyped", "keys": [key for key in keys if key != "vein"]},
        ],
        network=UNET | {"spatial_dims": 3, "in_channels": 2, "out_channels": 2},
        loss=DICE_CE,
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "kidney"],
        inputs=("image", "vein"),
    ),
    "channels_in_one_file": Shape(
        write=channels_in_one_file,
        steps=_volumes,
        network=UNET | {"spatial_dims": 3, "in_channels": 2, "out_channels": 2},
        loss=DICE_CE,
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "lesion"],
    ),
    "list_with_folds": Shape(
        write=volume,
        steps=_volumes,
        network=UNET | {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "act": "relu"},
        loss=DICE_CE,
        answer=[*SOFTMAX, ARGMAX],
        classes=["background", "pancreas"],
        listed="folds",
    ),
}


def make_bundle(name: str, folder: Path) -> Path:
    """Write a bundle of a shape, its images in `data` beside it and its weights; returns the bundle's folder."""
    shape, rng = SHAPES[name], np.random.default_rng(0)
    entries = [shape.write(folder / "data", number, rng) for number in range(CASES)]
    bundle = folder / name
    for place in ("configs", "models", "docs"):
        (bundle / place).mkdir(parents=True)
    if shape.scripts:
        (bundle / "scripts").mkdir()
        (bundle / "scripts" / "__init__.py").touch()
        (bundle / "scripts" / "networks.py").write_text(shape.scripts)
    configs = {"train": _train(shape), "inference": _inference(shape)}
    for config, content in configs.items():
        text = json.dumps(content, indent=2) if shape.form == "json" else yaml.safe_dump(content, sort_keys=False)
        (bundle / "configs" / f"{config}.{shape.form}").write_text(text)
    if shape.listed != "globs":
        (bundle / "datalist.json").write_text(json.dumps([e | {"fold": n // 10} for n, e in enumerate(entries)]))
    (bundle / "configs" / "metadata.json").write_text(json.dumps(_metadata(shape), indent=2))
    (bundle / "LICENSE").write_text("a license")
    (bundle / "docs" / "README.md").write_text(f"# {name}\n")
    (bundle / "large_files.yml").write_text("large_files: []\n")
    torch.save(shape.container(_weights(shape, bundle)), bundle / "models" / "model.pt")
    return bundle


def _weights(shape: Shape, bundle: Path) -> dict[str, torch.Tensor]:
    import sys

    sys.path.insert(0, str(bundle))
    for module in [each for each in sys.modules if each.partition(".")[0] == "scripts"]:
        del sys.modules[module]
    try:
        torch.manual_seed(0)
        parser = ConfigParser({"network_def": shape.network, "num_classes": len(shape.classes)})
        network: torch.nn.Module = parser.get_parsed_content("network_def")
        return network.state_dict()
    finally:
        sys.path.remove(str(bundle))


def _train(shape: Shape) -> dict[str, Any]:
    keys = [*shape.inputs, *(["label"] if shape.label_is_file else [])]
    steps = shape.steps([*shape.inputs, "label"]) if not shape.label_is_file else shape.steps(keys)
    lists = {"training": f"$@entries[:{CASES - 4}]", "validation": f"$@entries[{CASES - 4}:]"}
    content = "$json.load(open(@bundle_root + '/datalist.json'))"
    if shape.listed == "globs":
        content = "$[{'image': i, 'label': l} for i, l in zip(@files['images'], @files['labels'])]"
    if shape.listed == "folds":
        lists = {
            name: f"$[e for e in @entries if (e['fold'] {sign} 1)]"
            for name, sign in (("training", "!="), ("validation", "=="))
        }
    post = {
        "_target_": "Compose",
        "transforms": [*shape.answer, *([_one_hot(shape)] if ARGMAX in shape.answer else [])],
    }
    return {
        "imports": ["$import glob", "$import json", "$import os"],
        "bundle_root": ".",
        "dataset_dir": "/nowhere",
        "num_classes": len(shape.classes),
        "output_dir": "$@bundle_root + '/eval'",
        "files": "$dict((name, sorted(glob.glob(@dataset_dir + '/' + name + '/*'))) for name in ('images', 'labels'))",
        "entries": content,
        "epochs": 2,
        "device": DEVICE,
        "net": shape.network,
        "network": "$@net.to(@device)",
        "lossfn": shape.loss,
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.002},
        "train": {
            "deterministic_transforms": steps,
            "random_transforms": shape.random,
            "preprocessing": {
                "_target_": "Compose",
                "transforms": "$@train#deterministic_transforms + @train#random_transforms",
            },
            "dataset": {"_target_": "CacheDataset", "data": lists["training"], "transform": "@train#preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": 2, "shuffle": True},
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": post,
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": "@epochs",
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "loss_function": "@lossfn",
                "optimizer": "@optimizer",
                "inferer": "@train#inferer",
                "postprocessing": "@train#postprocessing",
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": "%train#deterministic_transforms"},
            "dataset": {"_target_": "Dataset", "data": lists["validation"], "transform": "@validate#preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1},
            "inferer": shape.inferer,
            "postprocessing": "%train#postprocessing",
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "postprocessing": "@validate#postprocessing",
            },
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@train#trainer.run()"],
    }


def _one_hot(shape: Shape) -> dict[str, Any]:
    return {"_target_": "AsDiscreted", "keys": "label", "to_onehot": len(shape.classes)}


def _inference(shape: Shape) -> dict[str, Any]:
    save = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_ext": shape.output}
    if not shape.of_classes:
        invert = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
        last = [shape.answer[0], {**invert, "nearest_interp": False}, *shape.answer[1:], save | {"resample": False}]
        handlers = []
    else:
        last = shape.answer
        saver = {"_target_": "ClassificationSaver", "output_dir": "@output_dir", "filename": "predictions.csv"}
        handlers = [
            saver
            | {
                "batch_transform": "$lambda batch: [case['image'].meta for case in batch]",
                "output_transform": "$monai.handlers.from_engine('pred')",
            }
        ]
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "dataset_dir": "/nowhere",
        "output_dir": "$@bundle_root + '/eval'",
        "num_classes": len(shape.classes),
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*'))",
        "device": DEVICE,
        "network_def": shape.network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": shape.steps(shape.inputs)},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "postprocessing": {"_target_": "Compose", "transforms": last},
        "inferer": shape.inferer,
        "handlers": handlers,
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "initialize": ["$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }


def _metadata(shape: Shape) -> dict[str, Any]:
    channels = {str(index): name for index, name in enumerate(shape.classes)}
    return {
        "version": "0.5.3",
        "changelog": {"0.5.3": "first"},
        "monai_version": "1.4.0",
        "name": "A bundle of somebody else's",
        "task": "to find something",
        "network_data_format": {"outputs": {"pred": {"type": "image", "channel_def": channels}}},
    }
