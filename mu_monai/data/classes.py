"""The names of classes: of a mask, whose first is the background, and of whole images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mu_monai.errors import InputError, did_you_mean, raise_if_any
from mu_monai.keys import LABEL

Cases = Mapping[str, Sequence[Mapping[str, Any]]]


def class_indices(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The channels of the classes to forget, in the order of `classes`.

    Args:
        names: classes to forget; empty if patients are forgotten, not structures.
        classes: the classes of the masks; the first is the background.

    Raises:
        InputError: for unknown classes, for the background, and if no other structure would be left.

    Example:
        >>> class_indices(["lesion"], ["background", "organ", "lesion"])
        [2]
    """
    foreground = list(classes[1:])
    raise_if_any(_name_problem(name, classes) for name in dict.fromkeys(names) if name not in foreground)
    if names and set(names) == set(foreground):
        raise InputError(
            f"the classes to forget, {', '.join(map(repr, foreground))}, are all the classes that exist; keep at least "
            "one besides the background, or forget patients instead"
        )
    return [index for index, name in enumerate(classes) if name in names]


def class_name_problems(classes: object) -> list[str]:
    """Why a value cannot be the names of a mask's classes; empty if it can.

    Example:
        >>> class_name_problems(["background", "liver", "lesion"])
        []
        >>> len(class_name_problems(["background", "liver", "liver"]))
        1
    """
    names = [name for name in classes if isinstance(name, str) and name] if isinstance(classes, list | tuple) else []
    if isinstance(classes, list | tuple) and len(names) == len(classes) == len(set(names)) >= 2:
        return []
    return [
        f"classes={classes!r} is not allowed; give at least two different names, the background first: --set "
        'classes=\'["background", "liver"]\''
    ]


def indexed(cases: Cases, classes: Sequence[str] | None) -> dict[str, list[dict[str, Any]]]:
    """Cases of classification with the number of their class as label.

    Args:
        cases: the cases of each subset, as `load_split` gives them, with names as labels.
        classes: the names in the order of the outputs; None where the labels are numbers already.

    Raises:
        InputError: for a name that is not among the classes.

    Example:
        >>> indexed({"test": [{"label": "nevus"}]}, ["melanoma", "nevus"])
        {'test': [{'label': 1}]}
    """
    names = {str(case[LABEL]) for part in cases.values() for case in part}
    numbers = {name: index for index, name in enumerate(classes or ())}
    if classes is None and all(name.isdecimal() for name in names):
        numbers = {name: int(name) for name in names}
    unknown = sorted(names - numbers.keys())
    if unknown:
        known = ", ".join(map(repr, classes)) if classes else "its metadata.json has no names"
        raise InputError(
            f"the labels {', '.join(map(repr, unknown[:8]))} are not classes of the bundle ({known}); give names in "
            'the order of the outputs: --set classes=\'["first", "second"]\''
        )
    return {name: [{**case, LABEL: numbers[str(case[LABEL])]} for case in part] for name, part in cases.items()}


def _name_problem(name: str, classes: Sequence[str]) -> str:
    allowed = f"choose from {', '.join(map(repr, classes[1:]))}"
    if name == classes[0]:
        return f"class {name!r} to forget is the background, the class that forgotten voxels get; {allowed}"
    return f"class {name!r} to forget is not a class of the masks; {allowed}{did_you_mean(name, classes[1:])}"
