from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged

from mu_monai.data.check_volume import CheckVolumed
from mu_monai.errors import InputError

CLASSES = ["background", "organ", "lesion"]


def volume(values, affine=None, name="a.nii.gz"):
    return MetaTensor(torch.as_tensor(values, dtype=torch.float32), affine=affine, meta={"filename_or_obj": name})


def ct(**changes):
    values = torch.full((1, 6, 5, 4), -1000.0)
    values[0, 2, 2, 2] = changes.get("value", 50)
    return volume(values, changes.get("affine"))


def mask(*values, **place):
    label = torch.zeros(place.get("shape", (1, 6, 5, 4)))
    label.view(-1)[: len(values)] = torch.tensor(values, dtype=torch.float32)
    return volume(label, place.get("affine"), "a_seg.nii.gz")


def test_what_is_in_order_goes_through_unchanged():
    data = {"image": ct(), "label": mask(0, 1, 2), "case_id": "a"}
    out = CheckVolumed(classes=CLASSES)(data)
    assert all(out[key] is data[key] for key in data)


def test_a_label_may_be_absent():
    CheckVolumed(classes=CLASSES)({"image": ct()})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"image": ct(value=float("nan"))}, "'a.nii.gz' holds NaN or infinity"),
        ({"image": ct(value=float("inf"))}, "'a.nii.gz' holds NaN or infinity"),
        (
            {"image": ct(value=1e6)},
            r"values from -1000 to 1e\+06; .*\[-32768, 32767\].*overlay mr",
        ),
        ({"image": ct() + 1000}, "values from 0 to 1050, .*not Hounsfield units.*rescale intercept"),
        ({"image": ct(affine=torch.zeros(4, 4))}, "has the spacing 0 x 0 x 0 mm"),
        (
            {"image": ct(), "label": mask(0, 3)},
            "'a_seg.nii.gz' holds the values 0, 3; .*'organ', 'lesion'.*from 0 to 2",
        ),
        ({"image": ct(), "label": mask(-1)}, "holds the values -1, 0"),
        ({"image": ct(), "label": mask(0.5)}, "holds the values 0, 0.5"),
        ({"image": ct(), "label": mask(float("nan"))}, "holds the values 0, nan"),
        ({"image": ct(), "label": mask(shape=(1, 6, 5, 5))}, "is 6x5x5 voxels but its image is 6x5x4"),
        ({"image": ct(), "label": mask(affine=torch.diag(torch.tensor([1.0, 1, 1.5, 1])))}, "up to 1.5 mm away"),
    ],
)
def test_what_is_wrong_names_file_value_and_remedy(data, message):
    with pytest.raises(InputError, match=message):
        CheckVolumed(classes=CLASSES)(data)


def test_all_problems_come_at_once():
    with pytest.raises(InputError, match="3 problems") as caught:
        CheckVolumed(classes=CLASSES)({"image": ct(value=1e6), "label": mask(7, shape=(1, 6, 5, 3))})
    assert len(caught.value.problems) == 3


def test_mr_may_hold_any_finite_values():
    CheckVolumed(classes=CLASSES, modality="MR")({"image": ct(value=1e6) + 1000})


def test_the_modality_must_be_known():
    with pytest.raises(InputError, match="modality='PET' is unknown; choose 'CT' or 'MR'"):
        CheckVolumed(classes=CLASSES, modality="PET")


def test_a_label_that_starts_at_another_corner_is_on_the_same_voxels(tmp_path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    flipped = affine @ np.array([[-1, 0, 0, 5], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    nibabel.Nifti1Image(np.full((6, 5, 4), -10, dtype=np.int16), affine).to_filename(tmp_path / "a.nii.gz")
    nibabel.Nifti1Image(np.ones((6, 4, 5), dtype=np.uint8), flipped).to_filename(tmp_path / "b.nii.gz")
    files = {"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "b.nii.gz")}
    CheckVolumed(classes=CLASSES)(LoadImaged(["image", "label"], ensure_channel_first=True)(files))


def test_a_series_whose_place_was_not_understood_is_refused(tmp_path):
    series = MetaTensor(torch.full((1, 4, 4, 4), -500.0), affine=torch.eye(4), meta={"filename_or_obj": str(tmp_path)})
    with pytest.raises(InputError, match=r"position in space.*ImageOrientationPatient"):
        CheckVolumed(classes=CLASSES)({"image": series})
