"""What a run takes of a case, and the numbers of classes."""

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, SelectItemsd

from mu_monai.data import indexed
from mu_monai.data.datasets import CaseDataset
from mu_monai.data.run_case import RunCased
from mu_monai.errors import InputError

IDS = {"case_id": "1", "patient_id": "a"}


def test_tensors_are_plain_and_masks_are_numbers():
    case = {"image": MetaTensor(torch.ones(1, 2, 2, dtype=torch.uint8)), "label": torch.ones(3, 2, 2, dtype=torch.bool)}
    made = RunCased()(case | IDS | {"secret": 1})
    assert type(made["image"]) is torch.Tensor
    assert (made["image"].dtype, made["label"].dtype, sorted(made)) == (
        torch.float32,
        torch.float32,
        ["case_id", "image", "label", "patient_id"],
    )


@pytest.mark.parametrize(
    ("label", "index"),
    [(3, 3), (torch.tensor(3), 3), (torch.tensor([3]), 3), (torch.tensor([0.0, 0.0, 0.0, 1.0]), 3)],
)
def test_a_class_in_any_form_becomes_its_index(label, index):
    made = RunCased(index=True)({"image": torch.zeros(1, 2, 2), "label": label} | IDS)
    assert made["label"].shape == ()
    assert made["label"] == index


def test_labels_that_are_not_one_hot_are_refused():
    with pytest.raises(InputError, match="not exactly one class at each place"):
        RunCased(index=True)({"image": torch.zeros(1, 2, 2), "label": torch.ones(2, 2, 2)} | IDS)


def test_a_case_that_lost_its_label_is_refused():
    with pytest.raises(InputError, match="remove label"):
        RunCased()({"image": torch.zeros(1)} | IDS)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_ids_that_a_transform_removes_come_back(rate):
    cases = [{"image": torch.zeros(1), "label": number, "case_id": str(number), "patient_id": "a"} for number in (0, 1)]
    keep = Compose([SelectItemsd(["image", "label"]), RunCased(index=True)])
    made = CaseDataset(cases, keep, cache_rate=rate, progress=False)
    assert [(item["case_id"], item["patient_id"], int(item["label"])) for item in made] == [
        ("0", "a", 0),
        ("1", "a", 1),
    ]


def test_numbers_stand_for_themselves_where_no_names_are_known():
    assert indexed({"test": [{"label": "2"}]}, None) == {"test": [{"label": 2}]}


@pytest.mark.parametrize(("classes", "told"), [(["a", "b"], "'a', 'b'"), (None, "has no names")])
def test_a_class_without_a_number_is_refused(classes, told):
    with pytest.raises(InputError) as refusal:
        indexed({"test": [{"label": "nevus"}]}, classes)
    assert told in str(refusal.value)
    assert "--set classes=" in str(refusal.value)
