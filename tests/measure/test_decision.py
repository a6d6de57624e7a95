"""Penultimate features are what the head is given, for the wanted cases alone."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DenseNet121, ResNet

from mu_monai.adapters.placement import head
from mu_monai.measure import penultimate_features


def batches(*cases):
    generator = torch.Generator().manual_seed(0)
    return [{"image": torch.randn(len(ids), 3, 32, 32, generator=generator), "case_id": list(ids)} for ids in cases]


@pytest.mark.parametrize("kind", ["resnet", "densenet"])
def test_the_head_makes_the_logits_of_them(kind):
    torch.manual_seed(0)
    network = (
        ResNet("basic", [1, 1, 1, 1], [4, 8, 16, 32], spatial_dims=2, n_input_channels=3, num_classes=5)
        if kind == "resnet"
        else DenseNet121(2, 3, 5, init_features=8, growth_rate=4, block_config=(1, 1))
    ).eval()
    loader = batches(("a", "b", "c"), ("d",), ("e", "f"))
    layer = head(network)
    features, cases = penultimate_features({"x": network, "y": network}, layer, [loader[:2], loader[2:]], {"b", "e"})
    assert cases == ["b", "e"]
    images = torch.stack([loader[0]["image"][1], loader[2]["image"][0]])
    logits = network.get_submodule(layer)(torch.from_numpy(features["x"]))
    torch.testing.assert_close(logits, network(images))
    assert (features["x"] == features["y"]).all()
    assert not network.get_submodule(layer)._forward_hooks


def test_cases_that_are_not_wanted_do_not_go_through_the_network():
    sizes = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(3, 2)

        def forward(self, image):
            sizes.append(len(image))
            return self.fc(image.mean((2, 3)))

    features, _ = penultimate_features({"x": Net()}, "fc", [batches(("a", "b"), ("c", "d"))], {"d"})
    assert sizes == [1]
    assert features["x"].shape == (1, 3)
