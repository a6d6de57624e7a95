"""Cropping a volume to its content."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import CropForegroundd

from mu_monai.errors import InputError
from mu_monai.keys import IMAGE, LABEL

_CONTENT = "content"


class CropContentd(CropForegroundd):
    """Crop image and label to the smallest box that contains every voxel above 0 and every labeled one.

    `CropForegroundd` looks only at the image. It would cut off labels outside of the image's box, and models would be
    scored against a truncated truth. It also turns an image without any such voxel into a volume of size 0.

    Args:
        keys: the image, scaled so that nothing of interest is 0, and its label, which may be absent (inference).

    Raises:
        InputError: with the name of the file, if no voxel of the image is above 0.

    Example:
        >>> image, label = torch.zeros(2, 1, 6, 6, 6)
        >>> image[:, 1:3], label[:, 4] = 1.0, 1.0
        >>> CropContentd()({"image": image, "label": label})["image"].shape
        torch.Size([1, 4, 6, 6])
    """

    def __init__(self, keys: tuple[str, ...] | list[str] | str = (IMAGE, LABEL)) -> None:
        super().__init__(
            keys,
            source_key=_CONTENT,
            allow_smaller=True,
            allow_missing_keys=True,
            start_coord_key=None,
            end_coord_key=None,
        )

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """The data with image and label cropped."""
        content = torch.as_tensor(data[IMAGE]) > 0
        if not content.any():
            raise InputError(
                f"image {_file(data[IMAGE])!r} has no voxel above 0 after scaling: it is constant, or all of it is "
                "below the window; check the file, or set a window that fits, such as --set window='[-160, 240]'"
            )
        if LABEL in data:
            content |= torch.as_tensor(data[LABEL]) > 0
        cropped: dict[Hashable, Any] = super().__call__({**data, _CONTENT: content}, lazy)
        del cropped[_CONTENT]
        return cropped


def _file(image: torch.Tensor) -> str:
    return str(image.meta.get("filename_or_obj", "")) if isinstance(image, MetaTensor) else ""
