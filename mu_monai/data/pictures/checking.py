"""Checks of pictures and their masks before anything is trained: what they see is what trains."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mu_monai.data.label_map import mapped, suggested_map
from mu_monai.data.pictures.decoding import WHITE, Look, bit_range, look_at_image, range_problems, seen_mask
from mu_monai.data.reading import Reading
from mu_monai.errors import InputError
from mu_monai.files import absence, special_problem

_log = logging.getLogger(__name__)

REMARKS = {
    "rotated": "%d of %d pictures are stored rotated or mirrored, by their EXIF orientation, such as %s: they are "
    "read upright, and so must their masks be",
    "indexed": "%d of %d pictures are masks with a palette, such as %s: its indexes count, not its colors",
    "converted": "%d of %d pictures are not stored in RGB, such as %s: they are converted without a color profile",
    "profile": "%d of %d pictures have a color profile other than sRGB, such as %s: it is not applied, neither in "
    "training nor in prediction",
}
_READ_ELSEWISE = ("rotated", "indexed")  # what MONAI's own reader would read as something else
_BINARY = ({0, 1}, {0, 255})
_STRUCTURES = 8  # more values than these are shades
_JPEG_REACH = 40  # how far JPEG compression at usual qualities was seen to move a mask's pixels from 0 and 255


@dataclass
class _Pair:
    """What was seen of the files of an image, and of its mask."""

    problems: list[str] = field(default_factory=list)
    images: dict[str, Look] = field(default_factory=dict)
    traits: Counter[str] = field(default_factory=Counter)


def check_pictures(
    images: Sequence[Sequence[str]], labels: Sequence[str], names: Sequence[str], reading: Reading
) -> tuple[list[list[str]], Reading]:
    """Check pictures and their masks, each decoded once; what is special about usable ones is logged, once per kind.

    Args:
        images: the files of each image.
        labels: its mask, or empty text if the label is not a file.
        names: the name of each case in the log.
        reading: the declared range and label map.

    Returns:
        the problems of each case, and the reading with the range of images of more than 8 bits.
    """
    with ThreadPoolExecutor() as pool:
        pairs = list(pool.map(lambda files, label: _check(files, label, reading.label_map), images, labels))
    found = [look for pair in pairs for look in pair.images.values()]
    value_range = reading.picture_range or bit_range(found)
    for pair in pairs:
        for image, look in pair.images.items():
            if look.extremes is not None:
                pair.problems += (f"image {image!r} {text}" for text in range_problems(*look.extremes, value_range))
    traits = {kind: sum(bool(pair.traits[kind]) for pair in pairs) for kind in REMARKS}
    for kind, sentence in REMARKS.items():
        if traits[kind]:
            first = next(name for name, pair in zip(names, pairs, strict=True) if pair.traits[kind])
            _log.warning(sentence, traits[kind], len(pairs), first)
    deep = [look for look in found if look.extremes is not None]
    if deep and value_range is not None:
        _say_range(deep, len(found), value_range)
    unusual = {kind: traits[kind] for kind in _READ_ELSEWISE if traits[kind]}
    return [pair.problems for pair in pairs], replace(
        reading, picture_range=value_range if deep else None, unusual=unusual
    )


def _say_range(deep: Sequence[Look], number: int, value_range: Sequence[float]) -> None:
    lows, highs = zip(*(look.extremes for look in deep if look.extremes is not None), strict=True)
    _log.warning(
        "%d of %d images have more than 8 bits per pixel (values from %g to %g): %g becomes black and %g white, in "
        "training and prediction alike (declare another range with --picture-range)%s",
        *(len(deep), number, min(lows), max(highs), *value_range),
        f"; the others are scaled from 0 to {WHITE}" if len(deep) < number else "",
    )


def _check(images: Sequence[str], label: str, label_map: Mapping[int, int] | None) -> _Pair:
    pair = _Pair()
    for image in images:
        look = _seen("image", image, pair, look_at_image)
        if look is not None:
            pair.images[image] = look
            pair.traits.update(look.traits)
    mask = _seen("mask", label, pair, seen_mask) if label else None
    if mask is None:
        return pair
    values, traits = mask
    pair.traits.update(traits)
    for image, look in pair.images.items():
        if look.size != values.shape:
            size = _extent(look.size)
            size += " upright, as its EXIF orientation says" if "rotated" in look.traits else ""
            pair.problems.append(
                f"mask {label!r} is {_extent(values.shape)} but its image {image!r} is {size}; give both the same size"
            )
    pair.problems += _mask_problems(label, values, label_map)
    return pair


def _seen(kind: str, path: str, pair: _Pair, look: Callable[[str], Any]) -> Any:
    """What `look` gives for a file, or None if it has a problem, which is then noted."""
    if not os.path.isfile(path) and not special_problem(path):
        other = "; folders are separated by / here, and not by \\" if "\\" in path and os.sep == "/" else ""
        pair.problems.append(f"{kind} {path!r} {absence(path)}; paths are absolute or relative to the manifest{other}")
        return None
    try:
        return look(path)
    except InputError as error:
        pair.problems += [f"{kind} {problem}" for problem in error.problems]
    except (OSError, SyntaxError, ValueError) as error:
        pair.problems.append(f"{kind} {path!r} cannot be read ({error}); it may be truncated: replace the file")
    return None


def _extent(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]}"


def _mask_problems(path: str, mask: NDArray[Any], label_map: Mapping[int, int] | None) -> list[str]:
    values = np.unique(mask)
    if label_map is not None:
        try:
            values = np.unique(mapped(values, label_map))
        except InputError as error:
            return [f"mask {path!r} {problem}" for problem in error.problems]
    if any(set(values.tolist()) <= allowed for allowed in _BINARY):
        return []
    shown = ", ".join(map(str, values[:8].tolist())) + (", ..." if len(values) > 8 else "")
    near = (values <= _JPEG_REACH) | (values >= WHITE - _JPEG_REACH)
    lossy = (near.all() and values.max() > WHITE - _JPEG_REACH) or path.lower().endswith((".jpg", ".jpeg"))
    advice = "this looks like JPEG noise around 0 and 255: threshold it at 128 and save it as PNG"
    if not lossy and len(values) > _STRUCTURES:
        advice = "threshold it at the edge of the structure, and save it without smoothing"
    elif not lossy:  # several structures, or another value for the one
        advice = f"say which value is the structure and which is not: {suggested_map(values, binary=True)}"
    after = " after the label map" if label_map is not None else ""
    return [
        f"mask {path!r} has {len(values)} values ({shown}){after}; a binary mask holds {{0, 1}} or {{0, 255}}; {advice}"
    ]
