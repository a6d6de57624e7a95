"""Preprocessed images: a MONAI `CacheDataset` for every subset of a split, or for any cases with their ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai.data import CacheDataset

from mu_monai.keys import CASE_ID, PATIENT_ID, SUBSETS

Case = Mapping[str, Any]


def image_datasets(
    cases: Mapping[str, Sequence[Case]],
    transform: Callable[[Case], Case],
    *,
    cache_rate: float = 1.0,
    num_workers: int = 1,
    kind: type[CacheDataset] = CacheDataset,
) -> dict[str, CacheDataset]:
    """Make a data set of preprocessed images per subset; `cache_rate` says how many stay in memory.

    For volumes, which fill the memory sooner, there is `volumes.cache.volume_datasets`.

    Args:
        cases: the cases of each subset, as `load_split` gives them.
        transform: a deterministic MONAI transform, from a case to its preprocessed image; all subsets share it.
        cache_rate: the share of each subset's cases that stay in memory, in [0, 1]; the others are preprocessed each
            time they are used.
        num_workers: threads that fill the cache, at least 1.
        kind: the class of the data sets.

    Example:
        >>> cases = {"retain": [{"image": 1}, {"image": 2}], "test": [{"image": 3}]}
        >>> datasets = image_datasets(cases, lambda case: {"image": case["image"] * 10})
        >>> [item["image"] for item in datasets["retain"]], list(datasets)
        ([10, 20], ['retain', 'test'])
    """
    options = {"cache_rate": cache_rate, "num_workers": num_workers, "progress": False}
    return {subset: kind(cases[subset], transform, **options) for subset in SUBSETS if subset in cases}


class CaseDataset(CacheDataset):
    """A `CacheDataset` of cases whose items have the ids of their case, even if a transform removes them.

    Args are those of `CacheDataset`; `data` are cases with `case_id` and `patient_id`.

    Example:
        >>> cases = [{"image": 1, "case_id": "1", "patient_id": "a"}]
        >>> CaseDataset(cases, lambda case: [{"image": case["image"] + patch} for patch in range(2)], progress=False)[0]
        [{'image': 1, 'case_id': '1', 'patient_id': 'a'}, {'image': 2, 'case_id': '1', 'patient_id': 'a'}]
    """

    def _transform(self, index: int) -> Any:
        made = super()._transform(index)
        ids = {key: self.data[index][key] for key in (CASE_ID, PATIENT_ID)}
        return [{**part, **ids} for part in made] if isinstance(made, list) else {**made, **ids}
