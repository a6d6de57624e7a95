"""A label map: which class each value of masks and volumes means, where they are not 0, 1, 2 ... themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mu_monai.errors import InputError, raise_if_any

BACKGROUND = "background"
_MOST_SHOWN = 16


def parse_label_map(text: str) -> tuple[dict[int, int], tuple[str, ...]]:
    """The class of each value, and the names of the classes if the map gives names.

    The value 0 is the class 0 (the background), unless the map says otherwise. Values with the same number or name are
    one class.

    Args:
        text: as `{205: 1, 420: 2}`, or with the names of the classes, which are then numbered from 1 in their order.

    Raises:
        InputError: with the allowed form, if it is another; for numbers of classes with gaps.

    Example:
        >>> parse_label_map("{205: 1, 420: 2}")
        ({0: 0, 205: 1, 420: 2}, ())
        >>> parse_label_map('{205: "left ventricle", 420: "myocardium"}')
        ({0: 0, 205: 1, 420: 2}, ('background', 'left ventricle', 'myocardium'))
    """
    form = (
        f"--label-map {text!r} is not a map from values to classes; use numbers, '{{205: 1, 420: 2}}', or names, "
        "'{205: \"left ventricle\"}'"
    )
    try:
        content = ast.literal_eval(text)
        given = {int(key): value for key, value in content.items() if int(key) == float(key)}
    except (ValueError, TypeError, SyntaxError, AttributeError, OverflowError, MemoryError, RecursionError):
        raise InputError(form) from None
    names = [value for value in given.values() if isinstance(value, str) and value.strip()]
    numbers = [value for value in given.values() if isinstance(value, int) and not isinstance(value, bool)]
    if not given or len(given) < len(content) or len(given) not in (len(names), len(numbers)):
        raise InputError(form)
    if not names:
        label_map = {0: 0, **given}
        raise_if_any(_gap_problems(text, set(label_map.values())))
        return label_map, ()
    ordered = tuple(dict.fromkeys([given.get(0, BACKGROUND), *names]))
    return {0: 0, **{value: ordered.index(name) for value, name in given.items()}}, ordered


def _gap_problems(text: str, classes: set[int]) -> list[str]:
    if classes == set(range(len(classes))):
        return []
    return [
        f"--label-map {text!r} has the classes {', '.join(map(str, sorted(classes)))}; number them 0, 1, 2 ... without "
        "gaps"
    ]


def mapped(values: NDArray[Any], label_map: Mapping[Any, int]) -> NDArray[np.int32]:
    """The class of each value.

    Args:
        values: of any shape.
        label_map: class by value; the values may be text, as in JSON.

    Raises:
        InputError: for values that the map does not name.

    Example:
        >>> mapped(np.array([0, 420, 205]), {"205": 1, "420": 2, "0": 0}).tolist()
        [0, 2, 1]
    """
    numbers = {int(value): index for value, index in label_map.items()}
    classes = np.zeros(values.shape, dtype=np.int32)
    known = np.zeros(values.shape, dtype=bool)
    for value, index in numbers.items():
        same = values == value
        classes[same] = index
        known |= same
    if not known.all():
        others = [f"{value:g}" for value in np.unique(values[~known])[:_MOST_SHOWN].tolist()]
        raise InputError(
            f"holds the values {', '.join(others)}, which the label map does not name (it names "
            f"{', '.join(map(str, numbers))}); add them to --label-map"
        )
    return classes


def suggested_map(values: Iterable[Any], *, binary: bool = False) -> str:
    """The option with which values that were found can be numbered, to be corrected by who knows what they mean.

    Args:
        values: what was found; 0 stays the background.
        binary: all other values become 1.

    Example:
        >>> suggested_map([0, 205, 420])
        "--label-map '{205: 1, 420: 2}'"
    """
    others = sorted(int(value) for value in set(values) if value != 0 and float(value).is_integer())
    pairs = ", ".join(f"{value}: {1 if binary else number}" for number, value in enumerate(others, start=1))
    return f"--label-map '{{{pairs}}}'"
