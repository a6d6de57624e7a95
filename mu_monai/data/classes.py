"""The names of a mask's classes; the first is the background."""

from __future__ import annotations

from collections.abc import Sequence

from mu_monai.errors import InputError, did_you_mean, raise_if_any


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


def _name_problem(name: str, classes: Sequence[str]) -> str:
    allowed = f"choose from {', '.join(map(repr, classes[1:]))}"
    if name == classes[0]:
        return f"class {name!r} to forget is the background, the class that forgotten voxels get; {allowed}"
    return f"class {name!r} to forget is not a class of the masks; {allowed}{did_you_mean(name, classes[1:])}"
