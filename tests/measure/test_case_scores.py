"""Scores of one case whose mask has several classes, against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.errors import InputError
from mu_monai.measure.case_scores import case_scores, class_mask_scores
from mu_monai.measure.signals import mask_signals

NAMES = ["background", "organ", "lesion"]


def logits_of(answer: torch.Tensor, surety: float = 20.0) -> torch.Tensor:
    """Logits `(1, 3, ...)` that answer with the class of every voxel."""
    return surety * torch.nn.functional.one_hot(answer.long(), 3).movedim(-1, 0)[None].float()


def volume(**blocks: tuple[slice, slice, slice]) -> torch.Tensor:
    """A volume `(8, 8, 8)` of background with blocks of organ and lesion."""
    found = torch.zeros(8, 8, 8)
    for name, block in blocks.items():
        found[block] = NAMES.index(name)
    return found


LEFT, RIGHT = (slice(0, 8), slice(0, 8), slice(0, 2)), (slice(0, 8), slice(0, 8), slice(6, 8))


def test_every_class_is_scored_on_its_own_and_they_are_averaged_without_the_background():
    truth = volume(organ=LEFT, lesion=RIGHT)
    answer = volume(organ=LEFT)  # the lesion is missed
    scores = class_mask_scores(logits_of(answer), truth[None, None], NAMES)
    assert scores["dice[organ]"] == 1
    assert scores["dice[lesion]"] == 0
    assert scores["dice"] == scores["iou"] == 0.5
    assert scores["cross_entropy"] == pytest.approx(20 * 128 / 512)
    assert scores["confidence"] == pytest.approx(1.0)
    assert not any(name.startswith(("hd95", "volume")) for name in scores)


def test_distances_are_in_mm_along_each_axis_and_volumes_in_ml():
    truth = volume(organ=(slice(2, 6), slice(2, 6), slice(2, 6)))
    answer = volume(organ=(slice(2, 6), slice(2, 6), slice(2, 7)))  # one slice more, of 5 mm
    scores = class_mask_scores(logits_of(answer), truth[None, None], NAMES, spacing=(1, 2, 5))
    assert scores["hd95[organ]"] == pytest.approx(5.0)
    assert scores["true_volume[organ]"] == pytest.approx(64 * 10 / 1000)
    assert scores["volume[organ]"] == pytest.approx(80 * 10 / 1000)
    assert scores["dice[organ]"] == pytest.approx(2 * 64 / (64 + 80))


@pytest.mark.parametrize(
    ("truth", "answer", "dice", "distance"),
    [
        (volume(), volume(), 1.0, 0.0),
        (volume(lesion=LEFT), volume(), 0.0, 7 * math.sqrt(1 + 4 + 25)),
        (volume(), volume(lesion=RIGHT), 0.0, 7 * math.sqrt(1 + 4 + 25)),
    ],
    ids=["neither there nor predicted", "missed", "false alarm"],
)
def test_where_a_class_is_absent_its_scores_are_finite(truth, answer, dice, distance):
    scores = class_mask_scores(logits_of(answer), truth[None, None], NAMES, spacing=(1, 2, 5))
    assert scores["dice[lesion]"] == dice
    assert scores["hd95[lesion]"] == pytest.approx(distance)


@given(st.integers(0, 2**31 - 1))
def test_scores_lie_in_their_ranges(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 3, 4, 5, 6, generator=generator)
    label = torch.randint(0, 3, (1, 1, 4, 5, 6), generator=generator)
    scores = class_mask_scores(logits, label, NAMES, spacing=(1.0, 1.5, 2.0))
    for name, value in scores.items():
        assert math.isfinite(value), name
        assert value >= 0 or name == "logit_confidence", name
        if name.startswith(("dice", "iou", "confidence")):
            assert value <= 1, name
    assert scores["iou"] <= scores["dice"]


def test_the_shape_of_the_logits_says_what_is_scored():
    mask = torch.zeros(1, 1, 4, 4)
    assert {"bce", "dice", *mask_signals(mask, mask)} <= set(case_scores(mask, mask))
    assert "accuracy" in case_scores(torch.zeros(1, 2), torch.tensor([0]))
    assert "dice[1]" in case_scores(torch.zeros(1, 2, 4, 4), mask)


def test_as_many_names_as_channels_are_needed():
    with pytest.raises(InputError, match=r"has 2 outputs, but there are 3 classes \(background, organ, lesion\)"):
        case_scores(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4), NAMES)
