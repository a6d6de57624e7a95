"""What is known of a loader's batches before the first step."""

from __future__ import annotations

import pytest
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandGaussianNoised
from torch.utils.data import ConcatDataset

from mu_monai.methods.batches import samples_of, samples_of_pass
from tests.methods.conftest import small_cases


def _noisy(number):
    return Dataset(small_cases("forget", number), Compose([RandGaussianNoised("image", prob=1.0)]))


@pytest.mark.parametrize("seeded", [True, False])
def test_what_transforms_draw_does_not_depend_on_a_look_at_a_batch(seeded):
    """Each part with a generator of its own has it back: the transforms in a list, and those that they wrap."""
    dataset = ConcatDataset([_noisy(3), _noisy(2)])
    loader = DataLoader(dataset, batch_size=4)  # MONAI's seeds the transforms, torch's does not
    parts = [part for each in dataset.datasets for part in (each.transform, *each.transform.transforms)]
    parts += [each.transform.transforms[0].rand_gaussian_noise for each in dataset.datasets]
    for part in () if seeded else parts:
        del part.R
    before = [part.R for part in parts]
    states = [part.R.get_state()[1].tolist() for part in parts]
    assert samples_of(loader) == 4
    assert all(part.R is generator for part, generator in zip(parts, before, strict=True))
    assert [part.R.get_state()[1].tolist() for part in parts] == states
    assert all(("R" in vars(part)) == seeded for part in parts)


@pytest.mark.parametrize(("cases", "samples", "whole"), [(4, 4, 4), (5, 4, 5), (5, 8, 10), (3, 6, 6), (9, 4, 9)])
def test_a_pass_holds_every_case_once_with_all_its_patches(cases, samples, whole):
    assert samples_of_pass(DataLoader(small_cases("forget", cases), batch_size=4), samples) == whole
