"""How the files of a split are read, alike in its checks, in training and in prediction."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mu_monai.files import shape_problems

READING = "reading"  # its key in the provenance of a split
PICTURE_RANGE, LABEL_MAP, UNUSUAL = "picture_range", "label_map", "unusual"
_MOST = 10_000  # classes
_SHAPES = {PICTURE_RANGE: [float], LABEL_MAP: dict, UNUSUAL: dict}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What must be known to read the files of a split as its checks did.

    Args:
        picture_range: the values of images of more than 8 bits that become black and white; None if there are none.
        label_map: the class of each value of masks and volumes; None if the values are classes already.
        unusual: the number of pictures that other readers would misread, by kind: `rotated` (EXIF), `indexed`.
    """

    picture_range: tuple[float, float] | None = None
    label_map: Mapping[int, int] | None = None
    unusual: Mapping[str, int] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """What a split file records; empty for ordinary files.

        Example:
            >>> Reading(label_map={0: 0, 205: 1}).content()
            {'label_map': {'0': 0, '205': 1}}
        """
        label_map = None if self.label_map is None else {str(key): value for key, value in self.label_map.items()}
        value_range = None if self.picture_range is None else list(self.picture_range)
        content = {PICTURE_RANGE: value_range, LABEL_MAP: label_map, UNUSUAL: dict(self.unusual)}
        return {key: value for key, value in content.items() if value}

    def options(self) -> dict[str, Any]:
        """The ids of a bundle's config that say so, for those that are not as usual."""
        return {key: value for key, value in self.content().items() if key != UNUSUAL}


def reading_of(content: Mapping[str, Any]) -> Reading:
    """The reading that a split file records.

    Example:
        >>> reading_of({"picture_range": [0, 4095], "label_map": {"205": 1}}).label_map
        {205: 1}
    """
    value_range, label_map = content.get(PICTURE_RANGE), content.get(LABEL_MAP)
    return Reading(
        picture_range=(float(value_range[0]), float(value_range[1])) if value_range else None,
        label_map={int(key): value for key, value in label_map.items()} if label_map else None,
        unusual=content.get(UNUSUAL, {}),
    )


def reading_problems(content: Mapping[str, Any]) -> Iterator[str]:
    """Which entries of a recorded reading have the wrong type.

    Example:
        >>> list(reading_problems({"label_map": {"left": 1}}))
        ["reading, label_map holds 'left': 1; it maps whole numbers to whole numbers"]
    """
    problems = shape_problems(content, {key: shape for key, shape in _SHAPES.items() if key in content}, READING)
    yield from problems
    if problems:
        return
    value_range, label_map = content.get(PICTURE_RANGE), content.get(LABEL_MAP)
    if value_range is not None and not (
        len(value_range) == 2 and -math.inf < value_range[0] < value_range[1] < math.inf
    ):
        yield f"reading, {PICTURE_RANGE} is {value_range}; it is two numbers, the lower first"
    for value, index in (label_map or {}).items():
        if not (re.fullmatch("-?[0-9]{1,18}", value) and type(index) is int and 0 <= index < _MOST):
            yield f"reading, {LABEL_MAP} holds {value!r}: {index!r}; it maps whole numbers to whole numbers"
