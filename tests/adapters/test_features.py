"""Features: collected from the layer that is named, averaged over space, and no hook stays behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mu_monai.adapters import captured, pooled


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Sequential(nn.Conv2d(3, 2, 1)))


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def test_one_tensor_per_pass_is_collected(network):
    images = [torch.randn(2, 1, 4, 4), torch.randn(1, 1, 8, 8)]
    with captured(network, "0") as features:
        for image in images:
            network(image)
    assert [tuple(tensor.shape) for tensor in features] == [(2, 3, 4, 4), (1, 3, 8, 8)]
    for tensor, image in zip(features, images, strict=True):
        assert torch.equal(tensor, network[0](image))


def test_a_nested_layer_is_found_by_its_full_name(network):
    image = torch.randn(2, 1, 4, 4)
    with captured(network, "2.0") as features:
        output = network(image)
    assert features[0] is output


def test_nothing_is_collected_without_a_layer(network):
    with captured(network, None) as features:
        network(torch.randn(2, 1, 4, 4))
        assert hooks(network) == 0
    assert features == []


def test_nothing_is_collected_afterwards(network):
    with captured(network, "0") as features:
        assert hooks(network) == 1
        network(torch.randn(2, 1, 4, 4))
    network(torch.randn(2, 1, 4, 4))
    assert len(features) == 1
    assert hooks(network) == 0


def test_the_hook_is_removed_after_an_exception(network):
    with pytest.raises(RuntimeError, match="channels"), captured(network, "0"):
        network(torch.randn(2, 5, 4, 4))
    assert hooks(network) == 0


def test_features_keep_their_gradient(network):
    with captured(network, "0") as features:
        network(torch.randn(2, 1, 4, 4))
    pooled(features[0]).sum().backward()
    assert network[0].weight.grad is not None


@pytest.mark.parametrize(
    ("shape", "space"),
    [((2, 3), ()), ((2, 7, 3), (1,)), ((2, 3, 4, 5), (2, 3)), ((2, 3, 4, 5, 6), (2, 3, 4))],
    ids=["as it is", "tokens", "2d", "3d"],
)
def test_pooled_is_the_mean_over_space_or_tokens(shape, space):
    features = torch.randn(shape)
    expected = features.mean(space) if space else features
    assert pooled(features).shape == (2, 3)
    torch.testing.assert_close(pooled(features), expected)
