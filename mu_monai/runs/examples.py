"""Archives of example images of runs: read, checked, and joined into one."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import ARCHIVE_ERRORS, MOST_UNPACKED, special_problem
from mu_monai.keys import CASE_ID, IMAGE, LABEL, ROLES, SUBSET, SUBSETS
from mu_monai.planes import NORMALS, PLANE, POSITION, SPACING, VOLUME, cut, framed

CLASSES = "classes"  # the array with the class names of a classifier, or of the masks of volumes

Examples = dict[str, NDArray[Any]]


def is_volumes(examples: Examples) -> bool:
    """Whether the examples are views of segmented volumes."""
    return PLANE in examples


def read_examples(path: Path) -> Examples:
    """The arrays of an archive; empty if the file does not exist.

    Raises:
        InputError: with every problem, if it is damaged or its arrays do not fit together.
    """
    if not path.is_file():
        return {}
    raise_if_any(filter(None, [special_problem(path)]))
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_UNPACKED:
            raise ValueError(f"it unpacks to {size:,} bytes, and {MOST_UNPACKED:,} are allowed")
        with np.load(path, allow_pickle=False) as arrays:
            examples = dict(arrays)
    except ARCHIVE_ERRORS as error:
        raise InputError(f"'{path}' is not a readable archive of arrays ({error}); run it again") from error
    raise_if_any(f"'{path}' {problem}; run it again, or remove the file" for problem in _problems(examples))
    return examples


def joined_examples(main: Examples, others: Iterable[Examples]) -> Examples:
    """The main run's examples, with the predictions of other runs for the same cases, classes and spacing of volumes.

    The views of volumes are those of the main run: the predictions of other runs are cut to these views.
    """
    joined = dict(main)
    for other in others:
        shared = (CASE_ID, CLASSES, SPACING)
        if joined and all(np.array_equal(other.get(name, []), joined.get(name, [])) for name in shared):
            arrays = _cut_again(joined, other) if is_volumes(joined) else other
            joined |= {name: array for name, array in arrays.items() if name not in joined}
    return joined


def _cut_again(main: Examples, other: Examples) -> Examples:
    """The predictions of another run's model in the views of the main run; empty if its volumes have other sizes."""
    cases = list(dict.fromkeys(main[CASE_ID]))
    volumes = [other.get(f"{VOLUME}{cases.index(case)}", np.empty((0, 0, 0), np.uint8)) for case in main[CASE_ID]]
    where = [(str(plane), int(position)) for plane, position in zip(main[PLANE], main[POSITION], strict=True)]
    if any(position >= volume.shape[NORMALS[plane]] for volume, (plane, position) in zip(volumes, where, strict=True)):
        return {}
    views = [cut(volume, *place, main[SPACING].tolist()) for volume, place in zip(volumes, where, strict=True)]
    size = main[LABEL].shape[1:]
    if any(side > whole for view in views for side, whole in zip(view.shape, size, strict=True)):
        return {}
    return {role: np.stack([framed(view, size) for view in views]) for role in ROLES if role in other}


def _problems(examples: Examples) -> Iterator[str]:
    needed = [CASE_ID, SUBSET, IMAGE, LABEL]
    names = LABEL in examples and examples[LABEL].ndim == 1  # of classes, not masks
    needed += [CLASSES] if names else [CLASSES, POSITION, SPACING] if is_volumes(examples) else []
    absent = [name for name in needed if name not in examples]
    if absent:
        yield f"has no array {', '.join(map(repr, absent))}"
        return
    of_cases = [name for name in examples if name not in (CLASSES, SPACING) and not name.startswith(VOLUME)]
    single = [name for name in of_cases if not examples[name].ndim]
    if single:
        yield f"holds a single value for all cases in {', '.join(map(repr, single))}"
        return
    lengths = {name: len(examples[name]) for name in of_cases}
    if len(set(lengths.values())) > 1:
        yield f"has arrays of different lengths {lengths}"
        return
    yield from _picture_problems(examples, names)
    strange = sorted(set(map(str, examples[SUBSET])) - set(SUBSETS))
    if strange:
        yield f"has cases of the subset {', '.join(map(repr, strange[:3]))}; known are {', '.join(SUBSETS)}"


def _picture_problems(examples: Examples, names: bool) -> Iterator[str]:
    """Arrays that cannot be drawn: text, images with the wrong axes, predictions with the wrong shape."""
    answers = [role for role in ROLES if role in examples]
    pictures = [IMAGE, *answers] if names else [IMAGE, LABEL, *answers]
    text = [name for name in pictures if examples[name].dtype.kind not in "biuf"]
    if text:
        yield f"should hold numbers in {', '.join(map(repr, text))}"
    if examples[IMAGE].ndim not in (3, 4):
        yield f"should hold pictures with or without channels, and holds images with the shape {examples[IMAGE].shape}"
    expected = (len(examples[CASE_ID]), len(examples[CLASSES])) if names else examples[LABEL].shape
    odd = [f"{role} {examples[role].shape}" for role in answers if examples[role].shape != expected]
    if odd:
        what = "a probability per case and class" if names else "predictions with the shape of the labels"
        yield f"should hold {what}, {expected}, and holds {', '.join(odd)}"
