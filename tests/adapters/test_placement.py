"""Placement: which layers take an adapter, and how much of the scope that covers."""

from __future__ import annotations

import pytest
import torch
from monai.networks import nets
from peft import LoraConfig
from torch import nn

from mu_monai.adapters import place
from mu_monai.adapters.lora import ADAPTABLE
from mu_monai.adapters.placement import SCOPES, capacity, feature_layer, head
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
    network = nets.UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(2, 3, 4, 5, 6), strides=(2, 2, 2, 2))
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
    with pytest.raises(InputError, match="scope='deocder' matches no convolution or linear layer of UNet") as error:
        place(network, "deocder")
    for name in (*SCOPES, *convolution_names(network)):
        assert name in str(error.value)


@pytest.mark.parametrize("network", [nn.Sequential(nn.ReLU()), nn.Linear(2, 2)], ids=["no layer", "no parent"])
def test_a_network_without_layers_to_adapt_is_refused(network):
    with pytest.raises(InputError, match=r"over these layers: \(no layer can take an adapter\)"):
        place(network, "all")


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


def test_the_first_entry_that_a_network_is_an_instance_of_counts():
    class OwnUNet(nets.UNet):
        pass

    network = OwnUNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(2, 4), strides=(2,))
    assert place(network).targets == ("model.2.conv",)
    alike = nets.BasicUNetPlusPlus(spatial_dims=2, features=(4, 4, 4, 4, 4, 4))  # shares a name with BasicUNet alone
    with pytest.raises(InputError, match="decoder of BasicUNetPlusPlus is not known"):
        place(alike)


def test_a_checkpointed_unet_has_the_same_decoder_behind_its_wrappers():
    settings = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (2, 4, 8), "strides": (2, 2)}
    plain, wrapped = nets.UNet(**settings), nets.unet.CheckpointUNet(**settings)
    assert [name.replace(".module", "") for name in place(wrapped).targets] == list(place(plain).targets)
    assert head(wrapped).replace(".module", "") == head(plain)
    assert feature_layer(wrapped).replace(".module", "") == feature_layer(plain)


def test_heads_of_deep_supervision_take_no_adapter():
    network = nets.DynUNet(2, 1, 1, [3] * 4, [1, 2, 2, 2], [2] * 3, filters=[2, 2, 2, 2], deep_supervision=True)
    assert head(network) == "output_block.conv.conv"
    for scope in ("decoder", "all", r".*"):
        assert not any("deep_supervision" in name or "super_head" in name for name in place(network, scope).targets)
    with pytest.raises(InputError, match="matches no convolution or linear layer of DynUNet"):
        place(network, r"deep_supervision_heads\..*")


def test_layers_that_are_built_and_not_used_take_no_adapter():
    flexible = nets.FlexibleUNet(1, 1, "efficientnet-b0", decoder_channels=(8, 4, 4, 4, 4))
    assert not {"encoder._fc", "encoder._conv_head"} & set(place(flexible, "all").targets)
    headless = nets.SegResNet(spatial_dims=2, init_filters=8, use_conv_final=False)
    assert not any(name.startswith("conv_final") for name in place(headless).targets)
    with pytest.raises(InputError, match="scope='head' matches no convolution or linear layer of SegResNet"):
        place(headless, "head")


def test_attention_of_torch_is_adapted_where_its_layers_really_run():
    """`nn.MultiheadAttention` reads the weight of `out_proj` and never calls it."""
    network = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8))
    assert place(network, "all").targets == ("0.linear1", "0.linear2")


def test_a_network_built_without_a_head_is_refused_where_the_head_is_asked_for():
    network = nets.ResNet("basic", [1] * 4, [2] * 4, spatial_dims=2, feed_forward=False)
    with pytest.raises(InputError, match="this ResNet was built without its head, 'fc'; build it with one, or give"):
        head(network)
    assert feature_layer(network) == "layer4"


@pytest.mark.parametrize("find", [head, feature_layer])
def test_head_and_features_of_an_unknown_network_are_refused(find):
    with pytest.raises(InputError, match=r"decoder of Sequential is not known .*\(--lora-targets REGEX\) over .*: 0$"):
        find(nn.Sequential(nn.Conv2d(1, 2, 3)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 1, 3),
        nn.Conv2d(1, 16, 3),
        nn.Conv3d(4, 8, (1, 1, 3), groups=4),
        nn.ConvTranspose2d(2, 9, 2),
        nn.ConvTranspose2d(9, 2, 2),
        nn.ConvTranspose3d(4, 12, 1, groups=4),
        nn.Linear(7, 3),
    ],
    ids=str,
)
def test_the_capacity_of_a_layer_is_the_largest_rank_of_its_update(layer):
    """By a way of its own: the rank of an update with more than enough rank to fill every group's matrix."""
    torch.manual_seed(0)
    adapted = ADAPTABLE[type(layer)](layer.double(), "default", config=LoraConfig(), r=64).double()
    nn.init.normal_(adapted.lora_B["default"].weight)
    delta = adapted.get_delta_weight("default").detach()
    if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
        delta = delta.chunk(layer.groups)[0].transpose(0, 1)
    assert capacity(layer) == torch.linalg.matrix_rank(delta.flatten(1))


@pytest.mark.parametrize("scope", ["(", "*up", "[a-"])
def test_an_invalid_regular_expression_is_refused(make_unet, scope):
    with pytest.raises(InputError, match="neither one of decoder, head, all nor a valid regular expression: "):
        place(make_unet(), scope)
