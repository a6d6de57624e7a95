"""Placement: which layers take an adapter, and how much of the scope that covers."""

from __future__ import annotations

import pytest
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from mu_monai.adapters import place
from mu_monai.adapters.placement import SCOPES, head
from mu_monai.errors import InputError

DECODER = {
    0: ("model.1.submodule.2.conv", "model.2.conv"),
    2: (
        "model.1.submodule.2.0.conv",
        "model.1.submodule.2.1.conv.unit0.conv",
        "model.2.0.conv",
        "model.2.1.conv.unit0.conv",
    ),
}


def convolution_names(network: nn.Module) -> list[str]:
    """By a way of its own: 4-D and 5-D weights belong to convolutions alone."""
    return [name.removesuffix(".weight") for name, value in network.named_parameters() if value.dim() >= 4]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("res_units", [0, 2])
def test_the_decoder_of_a_unet_is_its_up_path_and_head(make_unet, dims, res_units):
    network = make_unet(dims, res_units)
    assert place(network).targets == DECODER[res_units]
    assert place(network).targets == place(network, "decoder").targets
    assert head(network) == DECODER[res_units][-1]


def test_the_decoder_of_a_deeper_unet_holds_every_level():
    network = UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(2, 3, 4, 5, 6), strides=(2, 2, 2, 2))
    assert len(place(network).targets) == 4
    assert not any("submodule.1.submodule.1.submodule.1.submodule" in name for name in place(network).targets)


@pytest.mark.parametrize("res_units", [0, 2])
def test_the_head_is_the_layer_that_makes_the_logits(make_unet, res_units):
    network = make_unet(2, res_units)
    (name,) = place(network, "head").targets
    assert name == DECODER[res_units][-1]
    assert network.get_submodule(name).out_channels == 1


@pytest.mark.parametrize("res_units", [0, 2])
def test_all_is_every_convolution(make_unet, res_units):
    network = make_unet(2, res_units)
    targets = place(network, "all").targets
    assert list(targets) == convolution_names(network)
    assert set(DECODER[res_units]) < set(targets)


def test_a_regular_expression_matches_whole_names(make_unet):
    network = make_unet()
    assert place(network, r"model\.2\..*").targets == ("model.2.0.conv", "model.2.1.conv.unit0.conv")
    assert place(network, r"model\.2\.0\.conv").targets == ("model.2.0.conv",)
    with pytest.raises(InputError, match="matches no convolution"):
        place(network, r"model\.2\.0\.con")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("scope", "inside"),
    [
        ("decoder", lambda name: name.startswith(("model.2.", "model.1.submodule.2."))),
        ("head", lambda name: name.startswith("model.2.1.conv.unit0.conv.")),
        ("all", lambda name: True),
        (r"model\.0\..*", lambda name: name.startswith("model.0.")),
    ],
    ids=["decoder", "head", "all", "regex"],
)
def test_coverage_agrees_with_a_count_over_the_parameters(make_unet, dims, scope, inside):
    network = make_unet(dims)
    adapted = {f"{name}.{kind}" for name in place(network, scope).targets for kind in ("weight", "bias")}
    sizes = {name: value.numel() for name, value in network.named_parameters() if inside(name)}
    placement = place(network, scope)
    assert placement.scope_weights == sum(sizes.values())
    assert placement.covered_weights == sum(size for name, size in sizes.items() if name in adapted)
    assert sum(count for _, count in placement.skipped) == placement.scope_weights - placement.covered_weights


def test_the_coverage_line_says_share_and_what_was_skipped(make_unet):
    line = place(make_unet()).coverage
    assert line.startswith("adapters in 4 layers hold 98.1% of the 1,120 weights of 'decoder'")
    assert line.endswith("skipped: BatchNorm2d (18 weights), PReLU (3 weights)")
    assert "adapters in 1 layer hold 100.0%" in place(make_unet(), "head").coverage
    assert place(make_unet(), "head").coverage.endswith("skipped: nothing")


def test_no_match_lists_the_candidates(make_unet):
    network = make_unet()
    with pytest.raises(InputError, match="scope='deocder' matches no convolution of UNet") as error:
        place(network, "deocder")
    for name in (*SCOPES, *convolution_names(network)):
        assert name in str(error.value)


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(InputError, match="none, the network has no convolution"):
        place(nn.Linear(2, 2), "all")


@pytest.mark.parametrize("scope", ["decoder", "head"])
def test_an_unknown_decoder_lists_the_known_ones_and_the_layers(scope):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    with pytest.raises(InputError, match=r"decoder of Sequential is not known \(known: .*UNet") as error:
        place(network, scope)
    if scope == "decoder":
        assert str(error.value).endswith("these layers: 0, 2")


def test_an_unknown_network_takes_all_and_regular_expressions():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    assert place(network, "all").targets == ("0", "2")
    assert place(network, "2").targets == ("2",)


def test_another_network_is_covered_by_a_regular_expression():
    network = BasicUNet(spatial_dims=2, features=(4, 4, 4, 4, 4, 4))
    targets = place(network, r"upcat_\d\..*|final_conv").targets
    assert "final_conv" in targets
    assert any(isinstance(network.get_submodule(name), nn.ConvTranspose2d) for name in targets)


@pytest.mark.parametrize("scope", ["(", "*up", "[a-"])
def test_an_invalid_regular_expression_is_refused(make_unet, scope):
    with pytest.raises(InputError, match="neither one of decoder, head, all nor a valid regular expression: "):
        place(make_unet(), scope)
