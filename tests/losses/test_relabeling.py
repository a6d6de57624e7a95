"""How a case stands to its truth, and labels that are read off an answer: classes, masks of either kind, volumes."""

from __future__ import annotations

import pytest
import torch

from mu_monai.losses.relabeling import relabeled, relabeling_losses, standing, without_truth


def mask(*foreground):
    """A sigmoid mask of one row of six pixels, and of another image that is all background."""
    label = torch.zeros(2, 1, 1, 6)
    label[0, 0, 0, list(foreground)] = 1
    return label


class TestStanding:
    def test_background_does_not_hide_a_structure(self):
        logits = torch.full((2, 1, 1, 6), -9.0)
        loss, confidence, flipped = standing(logits, mask(0, 1), softmax=False)
        assert flipped.tolist() == [True, False], "both pixels of the structure are answered as background"
        assert confidence.tolist() == pytest.approx(torch.tensor([-9.0, 9.0]).sigmoid().tolist())
        assert loss[0] == pytest.approx(9.0, abs=1e-3)
        assert loss[1] == pytest.approx(0.0, abs=1e-3)

    @pytest.mark.parametrize(("lost", "flipped"), [(0, False), (1, False), (2, True), (4, True)])
    def test_half_of_the_structure_is_a_change_of_answer(self, lost, flipped):
        logits = torch.full((2, 1, 1, 6), 3.0)
        logits[0, 0, 0, :lost] = -3.0
        assert standing(logits, mask(0, 1, 2, 3), softmax=False)[2][0].item() is flipped

    def test_an_image_without_a_structure_is_judged_as_a_whole(self):
        logits = torch.full((2, 1, 1, 6), -3.0)
        logits[1, 0, 0, :3] = 3.0
        assert standing(logits, mask(0), softmax=False)[2].tolist() == [True, True]

    def test_softmax_masks_and_classes_are_the_same_formula(self):
        logits, truth = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2, 3, 1, 2])
        classes = standing(logits, truth, softmax=True)
        volumes = standing(logits[..., None, None, None], truth[:, None, None, None, None], softmax=True)
        for a, b in zip(classes, volumes, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(classes[2], logits.argmax(1) != truth)

    def test_class_zero_is_a_class(self):
        assert standing(torch.tensor([[0.0, 5.0]]), torch.tensor([0]), softmax=True)[2].tolist() == [True]


class TestLabels:
    def test_hard_labels_of_a_mask_are_its_answer_at_every_pixel(self):
        logits = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
        target = relabeled(logits, softmax=False)
        assert torch.equal(target[:, 1], (logits > 0).float())
        assert torch.equal(target.sum(1), torch.ones(2, 1, 3, 3))

    def test_as_many_as_there_are_is_soft(self):
        logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
        assert torch.equal(relabeled(logits, True, "top-k", top_k=9), relabeled(logits, True, "soft"))
        assert torch.equal(relabeled(logits, True, "top-k", top_k=1), relabeled(logits, True, "hard"))

    def test_the_loss_is_cross_entropy_with_its_gradient(self):
        logits = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
        answer = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1))
        losses = relabeling_losses(logits, relabeled(answer, True), softmax=True)
        expected = torch.nn.functional.cross_entropy(logits, answer.argmax(1), reduction="none").flatten(1).mean(1)
        assert torch.allclose(losses, expected)

    def test_the_runner_up_leaves_background_alone_and_other_cases_too(self):
        logits = torch.full((2, 1, 1, 6), 4.0)
        label = mask(0, 1).repeat(1, 1, 1, 1)
        found = without_truth(logits, label, False, torch.tensor([True, False]))
        assert relabeled(found, False)[0, 1, 0, 0].tolist() == [0, 0, 1, 1, 1, 1]
        assert torch.equal(found[1], logits[1])
        empty = without_truth(logits, label, False, torch.tensor([False, True]))
        assert torch.equal(empty, logits), "an image without a structure has no runner-up"

    def test_the_runner_up_of_a_softmax_mask_is_the_second_class(self):
        logits = torch.tensor([3.0, 1.0, 2.0]).view(1, 3, 1).repeat(1, 1, 2)
        found = without_truth(logits, torch.tensor([[0, 2]]), True, torch.tensor([True]))
        assert relabeled(found, True).argmax(1).tolist() == [[0, 0]], "pixel 0 is background and keeps its answer"
        logits = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1).repeat(1, 1, 2)
        found = without_truth(logits, torch.tensor([[0, 2]]), True, torch.tensor([True]))
        assert relabeled(found, True).argmax(1).tolist() == [[2, 1]]


def test_the_background_among_class_indices_of_sigmoid_outputs_is_no_structure():
    index = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2)
    logits = torch.stack([torch.full((2, 2), -9.0), torch.full((2, 2), 9.0)])[None]  # all lesion
    _, confidence, flipped = standing(logits, index, False)
    assert confidence.item() == pytest.approx(1, abs=1e-3)  # of the lesion's only place
    assert not flipped.item()
    left = without_truth(logits, index, False, torch.tensor([True]))
    assert left.isinf().nonzero().tolist() == [[0, 1, 1, 1]]
