"""Pixels as they are meant: images upright and in colors, masks upright and as values; what is unclear is refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mu_monai.data.pictures.opening import ORIENTATION, TURNED, TURNS, opened
from mu_monai.errors import InputError, raise_if_any

Range = tuple[float, float]

WHITE = 255  # images of any depth are scaled to the values of 8 bits
_COLORS = ("1", "L", "P", "RGB", "RGBX", "RGBA", "LA", "PA", "CMYK", "YCbCr")
_TRANSPARENT = ("RGBA", "LA", "PA")
_USUAL_PROFILE = "sRGB"
_DESCRIBED = ("ascii", "utf-16-be")  # how a profile's description may be written


@dataclass(frozen=True)
class Look:
    """What was seen of a picture.

    Args:
        size: height and width, upright.
        traits: keys of `checking.REMARKS`: how it differs from an ordinary picture.
        extremes: the lowest and the highest value of an image of more than 8 bits; None for others.
        whole: whether these values are whole numbers.
        mode: how pixels are stored, in the words of Pillow.
    """

    size: tuple[int, int]
    traits: tuple[str, ...] = ()
    extremes: Range | None = None
    whole: bool = True
    mode: str = ""


def look_at_image(path: str) -> Look:
    """Decode an image to know its size, what is special about it and, above 8 bits, its values.

    Raises:
        InputError: for what would not be read as it is meant: partly transparent, several pages, unknown colors.
        OSError, SyntaxError, ValueError: if it cannot be decoded.
    """
    with _usable_image(path) as (picture, traits):
        look = Look((picture.height, picture.width), traits, mode=picture.mode)
        if not _is_deep(picture):
            return look
        values = np.asarray(picture)
        return replace(look, extremes=(float(values.min()), float(values.max())), whole=_whole(values))


def read_image(path: str, value_range: Sequence[float] | None = None) -> NDArray[Any]:
    """The colors of an image, `(H, W, 3)`: bytes, or decimal numbers in [0, 255] if it has more than 8 bits.

    Args:
        path: the file.
        value_range: the values of images of more than 8 bits that become 0 and 255; 8-bit images stay as they are.

    Raises:
        InputError: as `look_at_image`; for more than 8 bits without a range, and for values outside of it.
        OSError, SyntaxError, ValueError: if it cannot be decoded.
    """
    with _usable_image(path) as (picture, _):
        if not _is_deep(picture):
            return np.asarray(picture.convert("RGB"))
        values = np.asarray(picture)
    raise_if_any(f"{path!r} {problem}" for problem in range_problems(values.min(), values.max(), value_range))
    low, high = value_range or (0, WHITE)
    scaled = (values.astype(np.float64) - low) / (high - low) * WHITE
    return np.repeat(scaled.astype(np.float32)[..., None], 3, axis=-1)


def range_problems(low: float, high: float, value_range: Sequence[float] | None) -> Iterator[str]:
    """Why values of an image of more than 8 bits cannot be scaled from a range."""
    values = f"has more than 8 bits per pixel (values from {low:g} to {high:g})"
    if value_range is None:
        yield (
            f"{values}, and which values are black and white is not known; a split records it: set 'picture_range' to "
            "the one in its provenance, or make the split again with 'mu-monai split'"
        )
    elif low < value_range[0] or high > value_range[1]:
        yield (
            f"{values}, beyond the range [{value_range[0]:g}, {value_range[1]:g}] that the others are scaled "
            "from; use images of the same kind, or declare the range of all with split --picture-range LOW HIGH"
        )


def read_mask(path: str) -> NDArray[Any]:
    """The values of a mask, `(H, W)`: the indexes of a palette, never its colors.

    Raises:
        InputError: if it has colors or transparency, or a palette of grays that contradicts its indexes.
        OSError, SyntaxError, ValueError: if it cannot be decoded.
    """
    return seen_mask(path)[0]


def seen_mask(path: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The values of a mask as `read_mask` gives them, and what is special about it (keys of `checking.REMARKS`)."""
    with naming(path), opened(path) as stored:
        picture, traits = _upright(stored)
        if len(picture.getbands()) > 1:
            raise InputError(f"has {len(picture.getbands())} channels; save it with a single channel")
        if picture.mode == "P":
            traits.append("indexed")
            raise_if_any(_palette_problems(picture))
        values = np.asarray(picture)
        return values.astype(np.uint8) if values.dtype == bool else values, tuple(traits)


def bit_range(looks: Sequence[Look]) -> Range | None:
    """The range that images of more than 8 bits use: that of the bits which their values need, so not of one of them.

    Returns:
        the values that become black and white; None if all images have 8 bits.

    Example:
        >>> bit_range([Look((8, 8), extremes=(300, 4000)), Look((8, 8))])
        (0.0, 4095.0)
    """
    found = [look for look in looks if look.extremes is not None]
    if not found:
        return None
    low = min(look.extremes[0] for look in found if look.extremes)
    high = max(look.extremes[1] for look in found if look.extremes)
    white = max(float(WHITE), 2.0 ** int(high).bit_length() - 1) if all(look.whole for look in found) else _power(high)
    return (-_power(-low) if low < 0 else 0.0, white)


def _whole(values: NDArray[Any]) -> bool:
    """Whether values are counts: decimal numbers up to 1 are shares of white, even where all are 0 or 1."""
    is_share = values.dtype.kind == "f" and 0 < values.max() <= 1
    return not is_share and bool((values == np.round(values)).all())


def _power(value: float) -> float:
    """The smallest power of 2 that is not below a value; 1 for what is not above 0."""
    return 2.0 ** math.ceil(math.log2(value)) if value > 0 else 1.0


@contextmanager
def _usable_image(path: str) -> Iterator[tuple[Image.Image, tuple[str, ...]]]:
    """An image, upright, and what is special about it."""
    with naming(path), opened(path) as stored:
        picture, traits = _upright(stored)
        raise_if_any(_image_problems(picture))
        traits += ["converted"] * (picture.mode in ("CMYK", "YCbCr")) + ["profile"] * _has_profile(stored)
        yield picture, tuple(traits)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the path in front of problems that do not name it yet."""
    try:
        yield
    except InputError as error:
        named = repr(path)
        raise InputError([text if named in text else f"{named} {text}" for text in error.problems]) from None


def _upright(picture: Image.Image) -> tuple[Image.Image, list[str]]:
    if picture.info[TURNED]:
        return picture, ["rotated"]
    try:
        turned = picture.getexif().get(ORIENTATION) in TURNS
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):  # damaged EXIF says nothing
        turned = False
    return (ImageOps.exif_transpose(picture), ["rotated"]) if turned else (picture, [])


def _is_deep(picture: Image.Image) -> bool:
    """Whether pixels are numbers of 16 or 32 bits."""
    return picture.mode.startswith(("I", "F"))


def _image_problems(picture: Image.Image) -> Iterator[str]:
    if _is_deep(picture):
        if "transparency" in picture.info:
            yield "names a transparent value; save it without transparency"
        if not np.isfinite(np.asarray(picture)).all():
            yield "has pixels that are NaN or infinite; replace them"
    elif picture.mode not in _COLORS:
        yield f"has the colors {picture.mode!r}; save it as gray or RGB"
    elif _is_transparent(picture):
        yield "is partly transparent, so its colors depend on what is behind it; flatten it onto a background"


def _is_transparent(picture: Image.Image) -> bool:
    may_be = picture.mode in _TRANSPARENT or "transparency" in picture.info
    return may_be and bool(np.asarray(picture.convert("RGBA").getchannel("A")).min() < WHITE)


def _has_profile(picture: Image.Image) -> bool:
    """Whether it has a color profile other than the usual one."""
    profile = picture.info.get("icc_profile") or b""
    return bool(profile) and not any(_USUAL_PROFILE.encode(code) in profile for code in _DESCRIBED)


def _palette_problems(picture: Image.Image) -> Iterator[str]:
    """A palette of grays whose order is not that of its indexes: which of both is meant cannot be known."""
    colors = np.array(picture.getpalette("RGB") or [], dtype=int).reshape(-1, 3)
    used = np.unique(np.asarray(picture))
    shades = colors[used[used < len(colors)]]
    gray = bool((shades == shades[:, :1]).all())
    if gray and (np.diff(shades[:, 0]) < 0).any():
        yield (
            f"has a palette in which index {used[0]} is lighter than index {used[-1]}, so its indexes and its grays "
            "contradict each other; save it as a gray picture without a palette"
        )
