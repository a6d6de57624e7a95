"""A network that was only turned answers from the other side as before, and the given network stays as it is."""

import copy
from dataclasses import replace

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.inferers import SimpleInferer
from monai.networks.nets import UNETR, UNet
from torch import nn

from mu_monai.adapters import weights_sha256
from mu_monai.attacks import ATTACKS, AttackData, OtherSide

SIDES = [name for name, attack in ATTACKS.items() if isinstance(attack, OtherSide)]


def unet(dimensions: int, out_channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return UNet(dimensions, 1, out_channels, channels=(4, 8), strides=(2,), num_res_units=1).eval()


def data(*shape: int) -> AttackData:
    loader = DataLoader(Dataset([{"image": torch.zeros(shape)}]), batch_size=1)
    return AttackData(
        retain=loader, known=loader, loss=nn.MSELoss(), inferer=SimpleInferer(), device=torch.device("cpu")
    )


@pytest.mark.parametrize("shape", [(2, 1, 16, 24), (1, 1, 8, 16, 24)])
@torch.no_grad()
def test_a_network_whose_kernels_were_swapped_is_the_original_from_the_other_side(shape):
    network = unet(len(shape) - 2)
    swapped = copy.deepcopy(network)
    for weight in swapped.parameters():
        if weight.dim() > 2:
            weight.data = weight.data.transpose(-2, -1).contiguous()
    image = torch.rand(shape)
    assert (swapped(image) - network(image)).abs().max() > 1e-3
    torch.testing.assert_close(ATTACKS["axes-swapped"](swapped, data(1, 8, 8))(image), network(image))


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("mirrored", [[2, 1], [4, 3]]),
        ("upside-down", [[3, 4], [1, 2]]),
        ("turned", [[2, 4], [1, 3]]),
        ("axes-swapped", [[1, 3], [2, 4]]),
    ],
)
def test_what_the_network_is_shown_and_that_its_answer_is_turned_back(name, moved):
    class Seeing(nn.Module):
        def forward(self, image):
            self.seen = image
            return image

    image = torch.tensor([[[[1, 2], [3, 4]]]])
    network = ATTACKS[name](Seeing(), None)
    assert torch.equal(network(image), image)
    assert network.seen.tolist() == [[moved]]


@pytest.mark.parametrize("name", SIDES)
@torch.no_grad()
def test_a_class_is_an_answer_as_it_is_and_several_answers_are_turned_one_by_one(name):
    class Both(nn.Module):
        def forward(self, image, scale):
            return [scale * image, image.flatten(1)[:, :3]]

    image = torch.rand(2, 1, 4, 6)
    first, second = ATTACKS[name](Both(), None)(image, 2.0)
    assert torch.equal(first, 2 * image)
    assert second.shape == (2, 3)


@pytest.mark.parametrize("name", SIDES)
def test_the_given_network_stays_as_it_is(name):
    network = unet(2)
    before = weights_sha256(network.state_dict())
    attacked = ATTACKS[name](network, None)
    assert weights_sha256(attacked.state_dict()) == weights_sha256(network.state_dict()) == before
    assert not network._forward_hooks
    assert not network._forward_pre_hooks
    assert not attacked.training
    assert [step for step, _ in ATTACKS[name].stages(network, None)] == [0]
    assert "; " in ATTACKS[name].summary
    assert replace(ATTACKS[name], **ATTACKS[name].settings()) == ATTACKS[name]


def test_an_attack_that_the_network_or_its_images_do_not_allow_says_why():
    fixed = UNETR(1, 1, (16, 32), feature_size=4, hidden_size=12, mlp_dim=12, num_heads=2, spatial_dims=2).eval()
    asked = {name: ATTACKS[name].hindered(fixed, data(1, 16, 32)) for name in SIDES}
    assert [name for name, why in asked.items() if not why] == ["mirrored", "upside-down"]
    assert asked["turned"].startswith("the network does not take such images (")
    assert "\n" not in asked["turned"]
    assert "has no two axes" in ATTACKS["mirrored"].hindered(nn.Linear(40, 2), data(1, 40))
