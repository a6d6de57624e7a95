"""Images stay in memory as far as they are asked to."""

import pytest
from monai.transforms import Compose, Lambdad

from mu_monai.data.datasets import image_datasets

CASES = {"test": [{"image": 5}], "retain": [{"image": 1}, {"image": 2}], "forget": [], "validation": [{"image": 4}]}


@pytest.fixture
def seen() -> list[int]:
    return []


@pytest.fixture
def transform(seen):
    return Compose([Lambdad(keys="image", func=lambda value: seen.append(value) or value * 10)])


def test_every_subset_has_its_cases_in_their_order(transform):
    made = image_datasets(CASES, transform)
    assert {subset: [made[subset][i]["image"] for i in range(len(made[subset]))] for subset in made} == {
        "retain": [10, 20],
        "forget": [],
        "validation": [40],
        "test": [50],
    }


@pytest.mark.parametrize(("rate", "made_again"), [(1.0, 0), (0.5, 2), (0.0, 4)])
def test_what_is_not_kept_is_made_again_at_every_use(transform, seen, rate, made_again):
    made = image_datasets(CASES, transform, cache_rate=rate, num_workers=2)
    kept = len(seen)
    for _ in range(2):
        assert [case["image"] for case in made["retain"]] == [10, 20]
    assert len(seen) - kept == made_again
