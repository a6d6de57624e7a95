"""A volume is cropped to what is seen or labeled in it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Invertd

from mu_monai.data.crop_volume import CropContentd
from mu_monai.errors import InputError


def case(**blocks: tuple[slice, ...]) -> dict:
    """Image and label of 8 voxels a side, 1 within a block each."""
    found = {}
    for key, block in blocks.items():
        volume = torch.zeros(1, 8, 8, 8)
        volume[(slice(None), *block)] = 1
        found[key] = MetaTensor(volume, meta={"filename_or_obj": f"{key}.nii"})
    return found


BODY = (slice(2, 5), slice(0, 8), slice(3, 4))


def test_the_box_holds_all_that_is_above_zero():
    cropped = CropContentd()(case(image=BODY, label=BODY))
    assert cropped["image"].shape == cropped["label"].shape == (1, 3, 8, 1)
    assert set(cropped) == {"image", "label"}


@given(st.tuples(*[st.integers(0, 7)] * 3))
def test_no_labeled_voxel_is_cut_away(place):
    data = case(image=BODY, label=tuple(slice(at, at + 1) for at in place))
    assert CropContentd()(data)["label"].sum() == 1


def test_an_image_alone_is_cropped_as_with_its_label_and_put_back():
    crop = CropContentd()
    data = crop(case(image=BODY))
    assert data["image"].shape == (1, 3, 8, 1)
    back = Invertd(keys="pred", transform=crop, orig_keys="image", nearest_interp=True)(data | {"pred": data["image"]})
    assert torch.equal(back["pred"].as_tensor(), case(image=BODY)["image"].as_tensor())


def test_an_image_with_nothing_in_it_is_refused():
    with pytest.raises(InputError, match=r"image 'image\.nii' has no voxel above 0"):
        CropContentd()(case(image=(slice(0), slice(0), slice(0)), label=BODY))
