"""Random labels: which may be drawn, when, and in which order the cases are seen."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from mu_monai.errors import InputError
from mu_monai.methods import RandomLabels


class Spy:
    """A loss that notes the labels it is given."""

    def __init__(self):
        self.seen = []

    def __call__(self, logits, label):
        self.seen.append(label.tolist())
        return cross_entropy(logits, label)


def draw(label, logits, **settings):
    method = RandomLabels(forget_loader=[], **settings)
    torch.manual_seed(0)
    return method._drawn(label, logits)


def test_each_epoch_passes_over_forget_cases_with_new_labels_and_then_over_retained_ones(small):
    spy = Spy()
    run = small(RandomLabels, options={"epochs": 6, "loss": spy})
    run.run()
    own, true = ([int(case["label"]) for case in cases] for cases in (run.retain, run.forget))
    assert spy.seen[1::2] == [own] * 6
    assert all(drawn != label for batch in spy.seen[::2] for drawn, label in zip(batch, true, strict=True))
    assert len({tuple(batch) for batch in spy.seen[::2]}) > 1


def test_the_other_classes_are_equally_probable():
    drawn = draw(torch.full((30000,), 1), torch.zeros(30000, 4), task="classification")
    assert (drawn.bincount(minlength=4) / 30000).tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.02)


def test_the_true_class_may_be_included():
    drawn = draw(torch.full((30000,), 1), torch.zeros(30000, 4), task="classification", include_true=True)
    assert (drawn.bincount(minlength=4) / 30000).tolist() == pytest.approx([1 / 4] * 4, abs=0.02)


def test_a_mask_of_one_channel_is_inverted_or_a_fair_coin():
    mask, logits = torch.tensor([1.0, 0.0]).repeat(1, 2, 50, 50), torch.zeros(1, 2, 50, 100)
    assert torch.equal(draw(mask, logits), 1 - mask)
    coin = draw(mask, logits, include_true=True)
    assert coin.mean().item() == pytest.approx(0.5, abs=0.02)
    assert coin[mask == 1].mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_mask_of_classes_is_drawn_voxel_by_voxel():
    mask, logits = torch.randint(3, (2, 1, 8, 8, 8)), torch.zeros(2, 3, 8, 8, 8)
    drawn = draw(mask, logits, softmax=True)
    assert drawn.shape == mask.shape
    assert (drawn != mask).all()
    assert set(((drawn - mask) % 3).unique().tolist()) == {1, 2}


def test_a_choice_that_is_none_is_refused():
    with pytest.raises(InputError, match="method#include_true='no' is not known; use one of true, false"):
        RandomLabels(forget_loader=[], include_true="no")


def test_class_indices_of_sigmoid_outputs_stay_class_indices():
    index, logits = torch.randint(3, (4, 1, 6, 6)), torch.zeros(4, 3, 6, 6)
    method = RandomLabels(forget_loader=[], softmax=False)
    drawn = method._drawn(index, logits)
    assert drawn.shape == index.shape
    assert sorted(drawn.unique().tolist()) == [0, 1, 2]
