"""Other weights for a student, and damage: what moves, by how much, and what adapters express of it."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from mu_monai.adapters import Student
from mu_monai.adapters.rewriting import shrink_and_perturb, take_weights
from mu_monai.errors import InputError


def unet(norm="batch", seed=0):
    torch.manual_seed(seed)
    return UNet(
        spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,), num_res_units=1, norm=norm
    ).eval()


class Outside(nn.Module):
    """A network with a weight that no layer holds."""

    def __init__(self, value=1.0):
        super().__init__()
        self.layer, self.scale = nn.Linear(2, 2), nn.Parameter(torch.full((2,), value))

    def forward(self, image):
        return self.layer(image) * self.scale


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_student_takes_every_weight_and_statistic_and_its_teacher_stays(norm):
    first, other = unet(norm), unet(norm, seed=1)
    other.train()(torch.randn(4, 1, 8, 8))  # statistics of its own
    before = copy.deepcopy(first.state_dict())
    student = Student(first, trainable="all", scope="all")
    assert take_weights(student, other.state_dict()) == []
    merged, teacher = student.merged().state_dict(), student.reverted().state_dict()
    assert all(torch.equal(merged[name], value) for name, value in other.state_dict().items())
    assert all(torch.equal(teacher[name], value) for name, value in before.items())


def test_weights_outside_of_layers_stay_and_are_named():
    student = Student(Outside(), trainable="all", scope="all")
    assert take_weights(student, Outside().state_dict()) == []
    assert take_weights(student, Outside(2.0).state_dict()) == ["scale"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "layer.bias": torch.zeros(3)}, r"no layer.bias of shape \(2,\)"),
        (lambda state: {key: value for key, value in state.items() if key != "layer.bias"}, r"no layer.bias"),
        (lambda state: {**state, "other": torch.zeros(1)}, r"have other, which the network has not"),
    ],
)
def test_weights_of_another_network_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        take_weights(Student(Outside(), trainable="all", scope="all"), change(Outside().state_dict()))


def test_adapters_cannot_take_other_weights():
    with pytest.raises(InputError, match=r"network#trainable=all"):
        take_weights(Student(unet()), unet().state_dict())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_damage_lies_on_the_line_to_a_fresh_initialization(share):
    student = Student(unet(), trainable="all", scope="all", bn_mode="train")
    before = student.reverted().state_dict()
    assert shrink_and_perturb(student, share, seed=1) == 1.0
    after = student.merged().state_dict()
    whole = Student(unet(), trainable="all", scope="all", bn_mode="train")
    shrink_and_perturb(whole, 1.0, seed=1)
    for name, fresh in whole.merged().state_dict().items():
        if fresh.is_floating_point():
            torch.testing.assert_close(after[name], (1 - share) * before[name] + share * fresh)


def test_damage_comes_from_its_seed_and_leaves_torchs_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    states = []
    for seed in (0, 0, 1):
        student = Student(unet(), trainable="all", scope="all")
        torch.manual_seed(5)
        shrink_and_perturb(student, 0.5, seed)
        assert torch.equal(torch.rand(1), expected)
        states.append(torch.cat([value.flatten().float() for value in student.merged().state_dict().values()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


class TestBatchNorm:
    @staticmethod
    def damaged(**settings):
        network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        network[1].running_mean.fill_(4.0)
        network[1].weight.data.fill_(3.0)
        student = Student(network.eval(), scope="all", **settings)
        shrink_and_perturb(student, 0.25, seed=0)
        state = student.merged().state_dict()
        return state["1.running_mean"].tolist(), state["1.weight"].tolist()

    def test_what_trains_and_moves_is_damaged(self):
        assert self.damaged(trainable="all", bn_mode="train") == ([3.0, 3.0], [2.5, 2.5])

    def test_statistics_that_are_frozen_stay(self):
        assert self.damaged(trainable="all", bn_mode="eval") == ([4.0, 4.0], [2.5, 2.5])

    def test_weights_that_do_not_train_stay(self):
        assert self.damaged(bn_mode="train") == ([3.0, 3.0], [3.0, 3.0])
        assert self.damaged(bn_mode="eval") == ([4.0, 4.0], [3.0, 3.0])


class TestAdapters:
    def test_a_rank_that_holds_everything_expresses_everything(self):
        layers = [nn.Linear(3, 4, bias=False), nn.Conv2d(2, 3, 3, bias=False), nn.ConvTranspose2d(3, 2, 3, bias=False)]
        for layer in layers:
            network = nn.Sequential(copy.deepcopy(layer))
            full = Student(copy.deepcopy(network), trainable="all", scope="all")
            low = Student(copy.deepcopy(network), scope="all", r=64)
            shrink_and_perturb(full, 0.4, seed=2)
            assert shrink_and_perturb(low, 0.4, seed=2) == pytest.approx(1, abs=1e-5)
            torch.testing.assert_close(
                low.merged().state_dict()["0.weight"], full.merged().state_dict()["0.weight"], rtol=1e-4, atol=1e-5
            )

    def test_a_low_rank_expresses_a_part_that_grows_with_it(self):
        def reach(rank):
            return shrink_and_perturb(Student(nn.Sequential(nn.Linear(32, 32)), scope="all", r=rank), 0.4, seed=2)

        shares = [reach(rank) for rank in (1, 8, 32)]
        assert 0 < shares[0] < shares[1] < shares[2] == pytest.approx(1, abs=1e-5)

    def test_more_rank_than_a_layer_can_use_is_no_obstacle(self):
        network = nn.Sequential(nn.Linear(6, 1, bias=False))
        student = Student(copy.deepcopy(network), scope="all", r=8, clamp_rank=False)
        assert shrink_and_perturb(student, 0.4, seed=2) == pytest.approx(1, abs=1e-5)

    def test_it_can_be_damaged_again(self):
        student = Student(nn.Sequential(nn.Linear(4, 4, bias=False)), scope="all", r=4)
        before = student.merged().state_dict()["0.weight"].clone()
        shrink_and_perturb(student, 0.5, seed=1)
        once = student.merged().state_dict()["0.weight"].clone()
        shrink_and_perturb(student, 0.5, seed=1)
        fresh = 2 * once - before
        torch.testing.assert_close(student.merged().state_dict()["0.weight"], (once + fresh) / 2, rtol=1e-4, atol=1e-5)
