"""The reader of pictures for MONAI's `LoadImaged`: what the checks of a split saw is what trains and is predicted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from mu_monai.data.label_map import mapped
from mu_monai.data.pictures.decoding import naming, read_image, read_mask
from mu_monai.data.pictures.opening import PICTURE_SUFFIXES
from mu_monai.errors import InputError

Kind = Literal["image", "mask"]


class PictureReader(ImageReader):
    """Read images in colors `(W, H, 3)`, and masks as values `(W, H)`, upright; the axes are in MONAI's order.

    Args:
        kind: `image` for colors in [0, 255], `mask` for the values of a mask.
        value_range: of images of more than 8 bits, the values that become 0 and 255; from the split's provenance.
        label_map: the class of each value of a mask; None to leave the values as they are.

    Raises:
        InputError: for another kind. When it reads, with the file: as `read_image` and `read_mask`, for what cannot be
            decoded, and for values of a mask that the map does not name.

    Example:
        A bundle has `{"_target_": "LoadImaged", "keys": "image", "reader": {"_target_":
        "mu_monai.data.pictures.reader.PictureReader", "kind": "image", "value_range": "@picture_range"}}`.
    """

    def __init__(
        self,
        kind: Kind = "image",
        *,
        value_range: Sequence[float] | None = None,
        label_map: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise InputError(f"kind {kind!r} is unknown; choose {' or '.join(map(repr, get_args(Kind)))}")
        self.kind, self.value_range, self.label_map = kind, value_range, label_map

    def verify_suffix(self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> bool:
        """Whether all are files of pictures, by their suffixes."""
        return all(str(name).lower().endswith(PICTURE_SUFFIXES) for name in ensure_tuple(filename))

    def read(self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **_: Any) -> tuple[str, ...]:
        """The paths: nothing is read yet, since MONAI would try its other readers on a file that is refused here."""
        return tuple(str(name) for name in ensure_tuple(data))

    def get_data(self, img: Sequence[str]) -> tuple[NDArray[Any], dict[str, Any]]:
        """The pixels of one file and their size, or those of several, which become channels one after the other."""
        pixels = [np.moveaxis(self._named_pixels(path), 0, 1) for path in img]
        channels = float("nan") if pixels[0].ndim == 2 else -1
        meta = {MetaKeys.SPATIAL_SHAPE: np.asarray(pixels[0].shape[:2]), MetaKeys.ORIGINAL_CHANNEL_DIM: channels}
        return pixels[0] if len(pixels) == 1 else np.concatenate(pixels, axis=-1), meta

    def _named_pixels(self, path: str) -> NDArray[Any]:
        try:
            return self._pixels(path)
        except InputError as error:
            raise InputError([f"{self.kind} {text}" for text in error.problems]) from None
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(
                f"{self.kind} {path!r} cannot be read ({error}); it may be truncated: replace it"
            ) from None

    def _pixels(self, path: str) -> NDArray[Any]:
        if self.kind == "image":
            return read_image(path, self.value_range)
        values = read_mask(path)
        with naming(path):
            return values if self.label_map is None else mapped(values, self.label_map)
