"""Weights of earlier epochs of the original's training: they know the forgotten cases, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from mu_monai.adapters import read_weights
from mu_monai.adapters.milestones import find_milestones
from mu_monai.keys import MILESTONES_DIR
from mu_monai.runs import RunRecord


def milestones_of(record: RunRecord) -> Iterator[dict[str, torch.Tensor]]:
    """The milestones that the teacher's run kept, and those that the run was given.

    Args:
        record: the record of a student, with the place where its teacher is.

    Raises:
        InputError: if some cannot be read, or are not those of the teacher's training; see `find_milestones`.
    """
    teacher = Path(record.teacher or "")
    kept = (teacher if teacher.is_dir() else teacher.parent) / MILESTONES_DIR
    given = {} if record.method is None else record.method.settings
    places = {kept.resolve(), *(Path(str(place)).resolve() for place in [given.get("milestones")] if place)}
    for place in sorted(place for place in places if place.is_dir()):
        yield from (read_weights(file) for file in find_milestones(place).values())
