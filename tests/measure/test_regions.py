"""Overlapping regions are masks of their own: scores, signals and examples."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset

from mu_monai.errors import InputError
from mu_monai.measure.case_scores import case_scores, mask_scores
from mu_monai.measure.examples import write_examples
from mu_monai.measure.signals import mask_signals

NAMES = ["tumor core", "whole tumor", "enhancing tumor"]


def nested():
    """Three regions, one within the other, as those of brain tumors."""
    label = torch.zeros(1, 3, 6, 6, 6)
    label[:, 0, 1:4, 1:4, 1:4], label[:, 1, 1:5, 1:5, 1:5], label[:, 2, 1:3, 1:3, 1:3] = 1, 1, 1
    return label


@pytest.mark.parametrize("softmax", [None, False])
def test_a_perfect_answer_is_perfect_in_every_region(softmax):
    scores = case_scores(nested() * 20 - 10, nested(), NAMES, softmax=softmax)
    assert [scores[f"dice[{name}]"] for name in NAMES] == [1.0, 1.0, 1.0]
    assert scores["dice"] == 1.0


@given(shift=st.floats(-3, 3), seed=st.integers(0, 20))
def test_one_region_is_scored_as_a_mask(shift, seed):
    generator = torch.Generator().manual_seed(seed)
    logits, label = torch.randn(1, 1, 5, 5, generator=generator) + shift, torch.zeros(1, 1, 5, 5)
    label[..., :2, :3] = 1
    both = case_scores(logits.repeat(1, 2, 1, 1), label.repeat(1, 2, 1, 1), ["a", "b"], softmax=False)
    alone = mask_scores(logits, label)
    assert both["dice[a]"] == both["dice"] == pytest.approx(alone["dice"])
    assert both["cross_entropy"] == pytest.approx(alone["bce"], rel=1e-4)
    signals = mask_signals(logits, label)
    for name in ("boundary_loss", "logit_confidence"):
        assert both[name] == pytest.approx(signals[name], rel=1e-4)


def test_indices_under_a_sigmoid_are_a_mask_each():
    index = torch.tensor([[[[0, 1], [2, 1]]]])
    logits = torch.stack([index[0, 0] == k for k in range(3)])[None].float() * 20 - 10
    assert case_scores(logits, index, ["a", "b", "c"], softmax=False)["dice"] == 1.0


@pytest.mark.parametrize(
    ("label", "softmax", "reason"),
    [
        (torch.eye(2)[:, :, None][None], None, "as classes that exclude each other have in one-hot coding"),
        (torch.zeros(1, 2, 2, 1), True, "as classes that exclude each other have in one-hot coding"),
        (torch.zeros(1, 3, 2, 1), False, "has 3 channels and the network 2 outputs"),
    ],
)
def test_a_label_of_another_form_than_the_activation_is_refused(label, softmax, reason):
    with pytest.raises(InputError) as refusal:
        case_scores(torch.zeros(1, 2, 2, 1), label, softmax=softmax)
    assert reason in str(refusal.value)


def test_smaller_regions_lie_on_larger_ones_in_pictures(tmp_path):
    case = {"image": torch.rand(4, 6, 6, 6), "label": nested()[0], "case_id": "a", "patient_id": "a"}
    loaders = {"retain": DataLoader(Dataset([case]))}
    write_examples({"teacher": lambda image: nested() * 20 - 10}, loaders, tmp_path / "e.npz", classes=NAMES)
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["classes"].tolist() == ["background", *NAMES]
        assert set(np.unique(arrays["volume_0"])) == {0, 1, 2, 3}
        assert (arrays["volume_0"] == 3).sum() == nested()[0, 2].sum()
        assert (arrays["teacher"] == arrays["label"]).all()


def test_a_picture_shows_where_any_region_is(tmp_path):
    label = nested()[0, :, 2]
    case = {"image": torch.rand(3, 6, 6), "label": label, "case_id": "a", "patient_id": "a"}
    loaders = {"retain": DataLoader(Dataset([case]))}
    write_examples({"teacher": lambda image: label[None] * 20 - 10}, loaders, tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as arrays:
        assert (arrays["label"][0] == label.amax(0).numpy()).all()
        assert ((arrays["teacher"][0] > 0.5) == (label.amax(0).numpy() > 0)).all()


def test_the_background_of_class_indices_does_not_count():
    index = torch.zeros(1, 1, 8, 8)
    index[..., 0, 0] = 1
    logits = torch.stack([torch.full((8, 8), 9.0), torch.full((8, 8), -9.0)])[None]  # the tumor is missed
    scores = case_scores(logits, index, ["background", "tumor"], spacing=(1, 1), softmax=False)
    assert scores["dice"] == scores["dice[tumor]"] == scores["iou"] == 0
    assert not any("background" in column for column in scores)
