"""Scores of noisy copies: the noise, what counts as right, and that all networks see the same copies."""

import pytest
import torch
from torch import nn

from mu_monai.errors import InputError
from mu_monai.measure import perturbed_scores


class Seen(nn.Module):
    """Keeps what it sees, and answers with it."""

    def __init__(self):
        super().__init__()
        self.images = []

    def forward(self, image):
        self.images.append(image)
        return image.flatten(1) if image.shape[1:3] == (1, 2) else image


def batch(images, labels):
    numbers = range(len(images))
    return {
        "image": images,
        "label": labels,
        "patient_id": [f"p{n}" for n in numbers],
        "case_id": [f"c{n}" for n in numbers],
    }


def test_the_noise_is_within_the_share_of_each_images_own_range_and_the_same_for_all():
    images = torch.stack([torch.linspace(0, 1, 400), torch.linspace(-50, 50, 400)]).reshape(2, 1, 20, 20)
    models = {"student": Seen(), "retrained": Seen()}
    found = perturbed_scores(models, [batch(images, (images > 0.5).float())], radius=0.1, draws=3)
    assert list(found.columns) == ["model", "patient_id", "case_id", "right"]
    assert found["model"].tolist() == ["student", "retrained"] * 2
    for one, other in zip(models["student"].images, models["retrained"].images, strict=True):
        assert torch.equal(one, other)
    for number, size in ((0, 0.1), (3, 10.0)):  # after three copies of the first case come those of the second
        change = models["student"].images[number][0] - images[number // 3]
        assert 0.9 * size < change.abs().max() <= size * 1.0001
        assert change.min() < 0 < change.max()
    assert not torch.equal(models["student"].images[0], models["student"].images[1])


def test_a_class_is_right_or_wrong_copy_by_copy():
    sure, close, wrong = [0.0, 9.0], [0.0, 0.0], [9.0, 0.0]
    images = torch.tensor([sure, close, wrong]).reshape(3, 1, 2)
    images[1, 0, 1] = 0.01
    found = perturbed_scores({"student": nn.Flatten()}, [batch(images, torch.tensor([1, 1, 1]))], draws=40)
    assert found["right"].iloc[[0, 2]].tolist() == [1.0, 0.0]
    many = perturbed_scores({"student": nn.Flatten()}, [batch(images[1:2], torch.tensor([1]))], radius=2.0, draws=400)
    assert 0.5 < many["right"].item() < 1  # the noise is larger than the difference


def test_of_a_mask_it_is_the_mean_dice():
    image = torch.tensor([[-9.0, 9.0], [9.0, -9.0]]).reshape(1, 1, 2, 2)
    label = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    (right,) = perturbed_scores({"student": nn.Identity()}, [batch(image, label)])["right"]
    assert right == pytest.approx(2 * 1 / 3)


def test_masks_of_independent_outputs_that_look_like_classes_are_scored_as_what_they_are():
    label = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    cases = [batch(9 * (2 * label - 1), label)]
    (right,) = perturbed_scores({"student": nn.Identity()}, cases, softmax=False, classes=["a", "b"])["right"]
    assert right == 1
    with pytest.raises(InputError, match="softmax=false"):
        perturbed_scores({"student": nn.Identity()}, cases)


def test_the_seed_decides_and_no_other_generator_is_touched():
    images, labels = torch.rand(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    state = torch.get_rng_state()
    one, same, other = (
        perturbed_scores({"a": nn.Identity()}, [batch(images - 0.5, labels)], radius=0.5, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert one.equals(same)
    assert not one.equals(other)
