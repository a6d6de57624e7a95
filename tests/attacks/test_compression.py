"""Quantization against numbers worked out by hand, and the exact share of weights that pruning cuts."""

import pytest
import torch
from torch import nn

from mu_monai.attacks import Pruning, Quantization


def test_quantization_rounds_to_the_steps_of_each_output_channel():
    layer = nn.Conv2d(1, 2, (1, 3), bias=True)
    bias = layer.bias.detach().clone()
    layer.weight.data = torch.tensor([[[[0.7, -0.24, 0.06]]], [[[7.0, -0.4, 3.6]]]])
    rounded = Quantization(bits=4)(nn.Sequential(layer), None)[0]  # steps of 0.7 / 7 and of 7 / 7
    torch.testing.assert_close(rounded.weight, torch.tensor([[[[0.7, -0.2, 0.1]]], [[[7.0, 0.0, 4.0]]]]))
    assert torch.equal(rounded.bias, bias)


def test_a_transposed_convolutions_output_channels_are_its_second_axis():
    layer = nn.ConvTranspose2d(2, 2, 1, bias=False)
    layer.weight.data = torch.tensor([[[[0.7]], [[7.0]]], [[[-0.24]], [[3.6]]]])
    rounded = Quantization(bits=4)(nn.Sequential(layer), None)[0]
    torch.testing.assert_close(rounded.weight.flatten(), torch.tensor([0.7, 7.0, -0.2, 4.0]))


@pytest.mark.parametrize("bits", [4, 8])
def test_there_are_no_more_values_than_bits_can_hold_and_no_weight_moves_more_than_half_a_step(bits):
    torch.manual_seed(0)
    layer = nn.Conv3d(4, 3, 3)
    rounded = Quantization(bits=bits)(nn.Sequential(layer), None)[0].weight
    step = layer.weight.abs().amax((1, 2, 3, 4), keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((rounded - layer.weight).abs() <= step / 2 * 1.001).all()
    assert all(len(channel.unique()) <= 2**bits - 1 for channel in rounded)
    assert len(rounded.unique()) < len(layer.weight.unique())


def test_a_channel_of_zeros_stays_zero():
    layer = nn.Linear(3, 1)
    layer.weight.data.zero_()
    assert Quantization(bits=8)(nn.Sequential(layer), None)[0].weight.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_pruning_cuts_exactly_its_share_of_the_smallest_weights_of_all_layers_together(share):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 3), nn.Linear(10, 5))
    before = torch.cat([network[place].weight.detach().flatten() for place in (0, 2, 3)])
    pruned = Pruning(share=share)(network, None)
    after = torch.cat([pruned[place].weight.detach().flatten() for place in (0, 2, 3)])
    assert int((after == 0).sum()) == round(share * len(before))
    assert before[after == 0].abs().max() <= before[after != 0].abs().min()
    assert torch.equal(after[after != 0], before[after != 0])
    assert torch.equal(pruned[1].weight, network[1].weight)
    assert pruned.state_dict().keys() == network.state_dict().keys()
