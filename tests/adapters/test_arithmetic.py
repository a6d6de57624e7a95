"""Sums of saved adapters are exact for every kind of layer, transposed convolutions among them."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import UNet

from mu_monai.adapters import Student, summed
from mu_monai.errors import InputError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), norm="batch").eval()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    """Saves a student with random adapters, and gives its folder and merged weights."""

    def save(name, **settings):
        torch.manual_seed(len(name))
        student = Student(copy.deepcopy(network), **settings)
        for parameter in student.trainable().values():
            parameter.data.normal_(std=0.1)
        folder = tmp_path_factory.mktemp("adapters") / name
        student.save(folder)
        return folder, student.merged().state_dict()

    return save


@pytest.mark.parametrize("second", [{"r": 4}, {"r": 2, "lora_alpha": 8, "scope": "all"}, {"scope": "head"}])
def test_the_sum_is_that_of_the_merged_changes(network, saved, second):
    (first, a), (other, b) = saved("first"), saved("another", **second)
    before = network.state_dict()
    assert any(isinstance(module, torch.nn.ConvTranspose2d) for module in network.modules())
    found = summed(copy.deepcopy(network), [first, other], [1.0, 0.3]).state_dict()
    assert found.keys() == before.keys()
    for name, value in before.items():
        expected = value + (a[name] - value) + 0.3 * (b[name] - value)
        torch.testing.assert_close(found[name].double(), expected.double(), rtol=0, atol=1e-6)


def test_a_single_adapter_is_merged_bit_for_bit_and_a_weight_of_0_adds_nothing(network, saved):
    (first, a), (other, _) = saved("first"), saved("another", r=4)
    for folders, weights in (([first], [1.0]), ([first, other], [1.0, 0.0])):
        found = summed(copy.deepcopy(network), folders, weights).state_dict()
        assert all(torch.equal(found[name], value) for name, value in a.items())


def test_what_cannot_be_added_up_is_refused_all_at_once(network, saved):
    (first, _), (whole, _) = saved("first"), saved("copies", trainable="all")
    moved, _ = saved("moved", bn_mode="train")
    restored = Student(copy.deepcopy(network))
    restored.add_restoration()
    restored.save(first.parent / "restored")
    with pytest.raises(InputError) as caught:
        summed(copy.deepcopy(network), [first, whole, moved, first.parent / "restored"], [1.0] * 4)
    told = caught.value.problems
    assert "holds copies of all weights" in told[0]
    assert "holds copies of moved statistics" in told[1]
    assert "holds a second adapter, a restored head" in told[2]


def test_adapters_of_another_network_are_refused(network, saved):
    first, _ = saved("first")
    other = copy.deepcopy(network)
    torch.nn.init.zeros_(next(other.parameters()))
    student = Student(other)
    student.save(first.parent / "foreign")
    with pytest.raises(InputError, match=r"SHA-256 .* add adapters of the same network"):
        summed(copy.deepcopy(network), [first, first.parent / "foreign"], [1.0, 1.0])
