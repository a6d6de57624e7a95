"""The values of label volumes: which there are, and whether they can be the numbers of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mu_monai.data.label_map import suggested_map

_COUNTED = 1 << 16  # values below are counted, which is faster than sorting them
_SHOWN = 16
_MOST = 256  # classes that a map is suggested for


def label_values(values: NDArray[Any]) -> list[float]:
    """The different values of a label volume, in order.

    Example:
        >>> label_values(np.array([[[0, 205], [420, 0]]]))
        [0, 205, 420]
    """
    found: set[float] = set()
    counted = values.dtype.kind in "iu" and values.min() >= 0 and values.max() < _COUNTED
    for index in range(values.shape[2]):  # slice by slice: copies of a whole volume would not fit
        part = values[:, :, index].ravel()
        found.update((np.flatnonzero(np.bincount(part.astype(np.intp))) if counted else np.unique(part)).tolist())
    return sorted(found)


def value_problems(
    found: Iterable[Sequence[float]], classes: Sequence[str], label_map: Mapping[int, int] | None
) -> list[str]:
    """Why the values of all label volumes are not the numbers of classes: they leave numbers out.

    Args:
        found: the values of each label; they are whole numbers from 0.
        classes: the names of the values 0, 1, 2 ..., if the source gives them: then a number may be absent.
        label_map: the declared classes; then there is nothing to say.

    Example:
        >>> value_problems([[0, 1], [0, 4]], ["background", "edema", "core", "scar", "tumor"], None)
        []
    """
    values = sorted({0, *(value for each in found for value in each)})
    if label_map is not None or len(values) == values[-1] + 1 or len(classes) > values[-1]:
        return []
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
    if len(values) > _MOST:
        return [f"the labels hold {len(values)} different values ({shown}), too many for classes; are these images?"]
    option = suggested_map(values)
    return [
        f"the labels hold the values {shown}, which are not numbered without gaps; give their classes by {option}, or "
        f"by name, as '{{{values[1]:g}: \"name\", ...}}', or keep a number that no label has by naming it as well"
    ]
