"""The last check of a volume before a network sees it."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from mu_monai.data.classes import class_name_problems
from mu_monai.data.label_map import suggested_map
from mu_monai.data.volumes.geometry import affine_problem, grid_problem
from mu_monai.errors import raise_if_any
from mu_monai.keys import IMAGE, LABEL

Modality = Literal["CT", "MR"]
CT_RANGE = (-32768, 32767)  # the range of a CT's 16-bit values


class CheckVolumed(MapTransform):
    """Refuse volumes whose values or geometry are not what a network would be trained to expect.

    Place it after `LoadImaged(..., ensure_channel_first=True)`, before anything changes values or voxels.

    Args:
        keys: the image and its label; the label may be absent from the data (inference).
        classes: names of the label's values 0, 1, 2 ...; the first is the background.
        modality: `CT` also checks that the values can be Hounsfield units; `MR` accepts any finite values.
        window: for a CT, the Hounsfield units that become 0 and 1, lower one first.

    Raises:
        InputError: for classes that are not at least two different names, and for an invalid window. With the name of
            the file: for NaN or infinity, for a CT without Hounsfield units, for label values without a class, and for
            a label on other voxels than its image.

    Example:
        >>> check = CheckVolumed(classes=["background", "organ"], modality="MR")
        >>> volume = MetaTensor(torch.zeros(1, 4, 4, 4), meta={"filename_or_obj": "a_seg.nii.gz"})
        >>> _ = check({"image": volume, "label": volume})
        >>> check({"image": volume, "label": volume + 2})
        Traceback (most recent call last):
        mu_monai.errors.InputError: label 'a_seg.nii.gz' holds the values 2; with the classes 'background', 'organ' \
they must be whole numbers from 0 to 1: name all classes with --set classes='["background", ...]', or number the \
values: mu-monai split --label-map '{2: 1}'
    """

    def __init__(
        self,
        keys: KeysCollection = (IMAGE, LABEL),
        *,
        classes: Sequence[str],
        modality: Modality = "CT",
        window: Sequence[float] | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        raise_if_any([*class_name_problems(classes), *_setting_problems(modality, window)])
        self.classes, self.modality = list(classes), modality

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data unchanged, if nothing is wrong with them."""
        image, *labels = (data[key] for key in self.key_iterator(dict(data)))
        problems = _image_problems(f"image {_file(image)!r}", image, self.modality)
        for label in labels:
            problems += _label_problems(f"label {_file(label)!r}", label, image, self.classes)
        raise_if_any(problems)
        return dict(data)


def _setting_problems(modality: str, window: Sequence[float] | None) -> Iterator[str]:
    if modality not in get_args(Modality):
        yield f"modality={modality!r} is unknown; choose {' or '.join(map(repr, get_args(Modality)))}"
    if window is None:
        return
    numbers = [bound for bound in window if isinstance(bound, int | float)] if isinstance(window, Sequence) else []
    if not (len(numbers) == 2 and -math.inf < numbers[0] < numbers[1] < math.inf):
        yield f"window={window!r} is not allowed; give two Hounsfield units, the lower first, such as [-160, 240]"


def _image_problems(name: str, image: torch.Tensor, modality: Modality) -> list[str]:
    """The problems of an image's affine and values."""
    problem = affine_problem(_affine(image))
    problems = [f"{name} {problem}"] if problem else []
    if os.path.isdir(_file(image)) and torch.equal(torch.as_tensor(_affine(image)).double(), torch.eye(4).double()):
        problems.append(
            f"{name} is a DICOM series whose position in space could not be read (MONAI's reader then assumes 1 mm "
            "along its own axes); check its ImageOrientationPatient, or convert it to NIfTI"
        )
    low, high = (value.item() for value in torch.aminmax(image))  # NaN if any voxel is NaN
    value_range = f"values from {low:.6g} to {high:.6g}"
    if not (math.isfinite(low) and math.isfinite(high)):
        problems.append(f"{name} holds NaN or infinity; replace these voxels, for example by the value of air")
    elif modality == "CT" and (low < CT_RANGE[0] or high > CT_RANGE[1]):
        problems.append(
            f"{name} has {value_range}; Hounsfield units are in {list(CT_RANGE)}: convert it, or use --overlay mr if "
            "it is not a CT"
        )
    elif modality == "CT" and low >= 0:
        problems.append(
            f"{name} has {value_range}, so these are not Hounsfield units, in which air is -1000 and fat -100: apply "
            "the rescale intercept of its DICOM series, or use --overlay mr if it is not a CT"
        )
    return problems


def _label_problems(name: str, label: torch.Tensor, image: torch.Tensor, classes: Sequence[str]) -> list[str]:
    """The problems of a label's values and position."""
    problems = []
    low, high = (value.item() for value in torch.aminmax(label))
    if not (low >= 0 and high < len(classes) and bool((label == label.round()).all())):
        values = torch.unique(label.float()).tolist()
        shown = ", ".join(f"{value:g}" for value in values[:8]) + (", ..." if len(values) > 8 else "")
        named = f"name all classes with --set classes='[\"{classes[0]}\", ...]'"
        if all(value.is_integer() for value in values) and len({0, *values}) <= max(values):  # some are left out
            named += f", or number the values: mu-monai split {suggested_map(values)}"
        problems.append(
            f"{name} holds the values {shown}; with the classes {', '.join(map(repr, classes))} they must be whole "
            f"numbers from 0 to {len(classes) - 1}: {named}"
        )
    place = affine_problem(_affine(label))
    if not place and not affine_problem(_affine(image)):
        place = grid_problem(label.shape[1:], _affine(label), image.shape[1:], _affine(image))
    return problems + ([f"{name} {place}"] if place else [])


def _affine(volume: torch.Tensor) -> torch.Tensor:
    return volume.affine if isinstance(volume, MetaTensor) else torch.eye(4)


def _file(volume: torch.Tensor) -> str:
    return str(volume.meta.get("filename_or_obj", "")) if isinstance(volume, MetaTensor) else ""
