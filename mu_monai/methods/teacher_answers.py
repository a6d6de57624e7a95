"""The teacher's answers to retained cases, computed once if the cases always look the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, Lambda, Lambdad
from monai.transforms.traits import MultiSampleTrait, RandomizableTrait
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from mu_monai.engine import uncounted
from mu_monai.keys import CASE_ID, IMAGE
from mu_monai.processes import several

_STATE = "answered"
_LIMIT = 2 * 2**30  # bytes of answers that are kept


class TeacherAnswers:
    """The teacher's logits for the trainer's batches; kept by case if the transforms are deterministic.

    Args:
        teacher: a network to ask instead of the student's own teacher.
    """

    def __init__(self, teacher: nn.Module | None = None) -> None:
        self._teacher = teacher
        self._keeps: bool | None = None  # known from the first step on
        self._kept: dict[str, torch.Tensor] = {}
        self._size = 0
        self._counted: frozenset[str] = frozenset()  # cases whose answers an interrupted part of the run kept

    def __call__(self, engine: SupervisedTrainer) -> torch.Tensor:
        """The logits for the images of the current step; the trainer's network is a `Student`."""
        if self._keeps is None:
            self._keeps = always_the_same(engine.data_loader.dataset)
        image, cases = engine.state.output[IMAGE], list(engine.state.batch.get(CASE_ID, ()))
        if not self._keeps or len(cases) != len(image):
            return self._answered(engine, image)
        new = [place for place, case in enumerate(cases) if case not in self._kept]
        again = [place for place in new if cases[place] in self._counted]
        first = [place for place in new if cases[place] not in self._counted]
        fresh = dict(zip(first, self._answered(engine, image[first]), strict=True)) if first else {}
        with uncounted(engine):  # a resumed run takes as much of a budget as one that was not interrupted
            fresh |= dict(zip(again, self._answered(engine, image[again]), strict=True)) if again else {}
        logits = [fresh[place] if place in fresh else self._kept[case] for place, case in enumerate(cases)]
        for place, answer in fresh.items():
            self._keep(cases[place], answer)
        return torch.stack([answer.to(image.device) for answer in logits])

    def _answered(self, engine: SupervisedTrainer, image: torch.Tensor) -> torch.Tensor:
        teacher = engine.network.teacher if self._teacher is None else self._teacher
        with torch.no_grad():
            answers: torch.Tensor = engine.inferer(image, teacher)
        return answers

    def _keep(self, case: str, answer: torch.Tensor) -> None:
        self._size += answer.numel() * answer.element_size()
        if self._size <= _LIMIT:
            self._kept[case] = answer.detach().cpu()


def answered(method: object) -> dict[str, dict[str, list[str]]]:
    """What a method's state says of its teacher's answers: the cases of those that were kept, by name of each part.

    Of several processes each keeps answers of its own, and only the first saves a state: they count them again.
    """
    parts = {} if several() else _parts(method)
    return {_STATE: {name: sorted({*part._kept, *part._counted}) for name, part in parts.items()}}


def go_on(method: object, state: Mapping[str, Any]) -> None:
    """Let a resumed method not count those answers again; a checkpoint of an earlier version does not tell them."""
    for name, part in _parts(method).items():
        part._counted = frozenset(state.get(_STATE, {}).get(name, ()))


def _parts(method: object) -> dict[str, TeacherAnswers]:
    return {name: value for name, value in vars(method).items() if isinstance(value, TeacherAnswers)}


def always_the_same(dataset: Any) -> bool:
    """Whether a data set returns the same item for the same case each time: its transforms draw nothing at random.

    Nor do they make several items of a case. Transforms that are not MONAI's or wrap a function, and data sets without
    transforms, are taken to be random.

    Example:
        >>> from monai.data import Dataset
        >>> from monai.transforms import RandFlipd, ScaleIntensityd
        >>> always_the_same(Dataset([], Compose([ScaleIntensityd("image")])))
        True
        >>> always_the_same(Dataset([], Compose([ScaleIntensityd("image"), RandFlipd("image")])))
        False
    """
    if isinstance(dataset, ConcatDataset):
        return all(always_the_same(part) for part in dataset.datasets)
    if isinstance(dataset, Subset):
        return always_the_same(dataset.dataset)
    transform = getattr(dataset, "transform", None)
    if type(transform) is not Compose:  # OneOf, SomeOf and RandomOrder draw, and are Compose, too
        return False
    inner = getattr(dataset, "data", None)
    if isinstance(inner, Dataset) and not always_the_same(inner):
        return False
    return _is_fixed(transform)


def _is_fixed(transform: Any) -> bool:
    if type(transform) is Compose:
        return all(map(_is_fixed, transform.transforms))
    if isinstance(transform, RandomizableTrait | MultiSampleTrait | Lambda | Lambdad):  # several patches of a case
        return False
    return type(transform).__module__.startswith("monai.")
