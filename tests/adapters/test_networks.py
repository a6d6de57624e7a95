"""What adapters promise, on every network whose decoder is known."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from monai.networks import nets
from monai.networks.nets import resnet
from torch import nn

from mu_monai.adapters import Student, place, weights_sha256
from mu_monai.adapters.placement import NETWORKS, anatomy, capacity, feature_layer, head
from mu_monai.adapters.rewriting import own_weights_problems, take_all_weights, take_weights
from mu_monai.errors import InputError
from mu_monai.measure.distances import randomized
from mu_monai.workflow.listing_networks import networks

pytestmark = pytest.mark.no_cover  # every line that runs here is measured where it has tests of its own

IMAGE, CLASSES = 32, 3
TRANSFORMER = {"hidden_size": 16, "mlp_dim": 32, "num_heads": 2}
SPLEEN = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2, "norm": "batch"}

BUILD: dict[str, Callable[[int], nn.Module]] = {
    "UNet": lambda dims: nets.UNet(dims, 1, 2, (4, 8, 16), (2, 2), num_res_units=2, norm="batch"),
    "UNet plain": lambda dims: nets.UNet(dims, 1, 2, (4, 8, 16), (2, 2), num_res_units=0),
    "UNet checkpointed": lambda dims: nets.unet.CheckpointUNet(dims, 1, 2, (4, 8, 16), (2, 2), num_res_units=1),
    "BasicUNet": lambda dims: nets.BasicUNet(dims, 1, 2, features=(4, 4, 4, 8, 8, 4)),
    "DynUNet": lambda dims: nets.DynUNet(dims, 1, 2, [3] * 3, [1, 2, 2], [2] * 2, filters=[4, 8, 8], res_block=True),
    "DynUNet deep": lambda dims: nets.DynUNet(
        dims, 1, 2, [3] * 4, [1, 2, 2, 2], [2] * 3, filters=[4, 4, 8, 8], deep_supervision=True, deep_supr_num=2
    ),
    "AttentionUnet": lambda dims: nets.AttentionUnet(dims, 1, 2, (4, 8, 16), (2, 2)),
    "SegResNet": lambda dims: nets.SegResNet(dims, 8, 1, 2, blocks_down=(1, 1, 1), blocks_up=(1, 1)),
    "SegResNet deconv": lambda dims: nets.SegResNet(
        dims, 8, 1, 2, blocks_down=(1, 1), blocks_up=(1,), upsample_mode="deconv"
    ),
    "UNETR": lambda dims: nets.UNETR(1, 2, (IMAGE,) * dims, feature_size=4, spatial_dims=dims, **TRANSFORMER),
    "SwinUNETR": lambda dims: nets.SwinUNETR(
        1, 2, depths=(1,) * 4, num_heads=(1,) * 4, feature_size=12, window_size=4, spatial_dims=dims, norm_name="batch"
    ),
    "VNet": lambda dims: nets.VNet(dims, 1, 2),
    "FlexibleUNet": lambda dims: nets.FlexibleUNet(
        1, 2, "resnet10", decoder_channels=(8, 8, 8, 4, 4), spatial_dims=dims
    ),
    "FlexibleUNet efficient": lambda dims: nets.FlexibleUNet(
        1, 2, "efficientnet-b0", decoder_channels=(8, 8, 8, 4, 4), spatial_dims=dims
    ),
    "DenseNet": lambda dims: nets.DenseNet(dims, 1, CLASSES, 8, growth_rate=4, block_config=(2, 2, 2)),
    "ResNet": lambda dims: nets.ResNet(
        "basic", [1] * 4, [4, 8, 8, 16], spatial_dims=dims, n_input_channels=1, num_classes=CLASSES
    ),
    "EfficientNetBN": lambda dims: nets.EfficientNetBN(
        "efficientnet-b0", pretrained=False, spatial_dims=dims, in_channels=1, num_classes=CLASSES
    ),
    "ViT": lambda dims: nets.ViT(
        1, (IMAGE,) * dims, (16,) * dims, num_layers=2, classification=True, num_classes=CLASSES,
        spatial_dims=dims, **TRANSFORMER,
    ),
}  # fmt: skip
NEEDS_EINOPS = ("UNETR", "SwinUNETR", "ViT")
LARGE = ("VNet", "FlexibleUNet efficient")  # in 2D their scope `all` is tested as well, and 3D differs in the kernels
CASES = [(name, dims) for name in BUILD for dims in (2, 3)]
PROMISES = [
    *((name, dims, "decoder") for name, dims in CASES),
    *((name, dims, "all") for name, dims in CASES if dims == 2 or name not in LARGE),
    *((name, 2, "head") for name in BUILD),
]


def build(name: str, dims: int) -> nn.Module:
    """A network as a training may have left it: statistics of BatchNorm that are not those of a fresh one."""
    if name in NEEDS_EINOPS and find_spec("einops") is None:
        pytest.skip(f"MONAI's {name} needs einops, which is not installed")
    torch.manual_seed(0)
    network = BUILD[name](dims)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def batch(name: str, dims: int) -> torch.Tensor:
    size = IMAGE // 2 if name == "VNet" else IMAGE  # it cannot be made small: 46 million weights in 3D
    return torch.rand(4 - dims, 1, *(size,) * dims, generator=torch.Generator().manual_seed(1))


def logits(answer: Any) -> torch.Tensor:
    """Of a network that returns more than them: ViT adds its hidden states."""
    return answer[0] if isinstance(answer, tuple) else answer


def same(a: Any, b: Any) -> bool:
    return torch.equal(logits(a), logits(b))


def moved(student: Student) -> Student:
    """With adapters that a training may have left."""
    torch.manual_seed(2)
    for parameter in student.trainable().values():
        nn.init.normal_(parameter, std=0.02)
    return student


def promised(network: nn.Module, x: torch.Tensor, **settings: Any) -> Student:
    """A student of a network that was moved, after the checks of what holds for every student."""
    teacher = copy.deepcopy(network)
    with torch.no_grad():
        expected = teacher(x)
        student = Student(network, lora_dropout=0, **settings)
        assert same(student(x), expected), "the student starts as the teacher"
        answer = moved(student)(x)
        assert not same(answer, expected)
        assert same(student.teacher(x), expected), "switched off, it is the teacher"
        assert same(copy.deepcopy(student)(x), answer), "a copy is a student like it"
        merged = student.merged()
        assert same(merged(x), answer), "merged equals unmerged, bit for bit"
        assert list(merged.state_dict()) == list(teacher.state_dict())
        assert weights_sha256(student.reverted().state_dict()) == weights_sha256(teacher.state_dict())
        teacher.load_state_dict(merged.state_dict())
        assert same(teacher(x), answer), "the merged weights fit the plain network"
    return student


@pytest.mark.parametrize(("name", "dims", "scope"), PROMISES, ids=str)
def test_adapters_keep_their_promises_on_every_network(name, dims, scope):
    network, x = build(name, dims), batch(name, dims)
    with torch.no_grad():
        expected = copy.deepcopy(network)(x)
    student = promised(network, x, scope=scope, r=2)
    answer = logits(student.train()(x))
    (answer * torch.randn_like(answer)).sum().backward()
    gradients = {key: parameter.grad for key, parameter in student.trainable().items()}
    assert [key for key, value in gradients.items() if value is None or not value.any()] == []
    assert same(student.teacher(x), expected), "after a training pass as well"


@pytest.mark.parametrize("name", BUILD)
def test_copies_of_all_weights_keep_their_promises_on_every_network(name):
    promised(build(name, 2), batch(name, 2), trainable="all")


@pytest.mark.parametrize("name", BUILD)
def test_copies_of_all_weights_take_all_of_another_model(name):
    plain, x = build(name, 2), batch(name, 2)
    other = randomized(plain, seed=3)
    with torch.no_grad():
        expected = plain(x), other(x)
        student = Student(plain, trainable="all")
        if name == "ViT":  # the network itself holds its class token
            assert take_weights(student, other.state_dict()) == ["cls_token"]
            with pytest.raises(InputError, match="cls_token: weights that are not those of one layer alone are"):
                take_all_weights(student, other.state_dict())
            return
        take_all_weights(student, other.state_dict())
        assert same(student.teacher(x), expected[0])
        assert same(student(x), expected[1])
    assert weights_sha256(student.merged().state_dict()) == weights_sha256(other.state_dict())
    assert own_weights_problems(other.state_dict()) == []


def test_dropout_of_a_block_that_is_copied_whole_stays_off():
    student = Student(build("UNETR", 2), trainable="all").train()
    copied = [module for name, module in student.named_modules() if ".modules_to_save." in name]
    assert any(isinstance(module, nn.Dropout) for module in copied)
    assert not any(module.training for module in copied if isinstance(module, nn.Dropout))


@pytest.mark.parametrize("name", BUILD)
def test_a_merged_network_is_exported_as_the_plain_one(name):
    plain, x = build(name, 2), batch(name, 2)
    try:
        torch.jit.script(plain)
    except Exception:  # whatever the compiler says of MONAI's code
        pytest.skip(f"TorchScript does not take MONAI's own {name}")
    merged = moved(Student(plain, r=2)).merged()
    with torch.no_grad():
        assert torch.allclose(logits(torch.jit.script(merged)(x)), logits(merged(x)), atol=1e-5)


@pytest.mark.parametrize(("name", "dims"), CASES, ids=str)
def test_head_and_features_are_where_the_network_says(name, dims):
    network, x = build(name, dims), batch(name, dims)
    ran: list[str] = []
    seen: dict[str, torch.Tensor] = {}

    def note(layer: str) -> None:
        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            ran.append(layer)
            seen[layer] = output

        network.get_submodule(layer).register_forward_hook(hook)

    last, features = head(network), feature_layer(network)
    for layer in {features, *place(network, "all").targets}:
        note(layer)
    with torch.no_grad():
        answer = logits(network(x))
    assert set(ran) == {features, *place(network, "all").targets}, "every layer that takes an adapter runs"
    assert ran[-1] == last, "the head runs last"
    assert seen[last].shape == answer.shape
    assert seen[features].dim() in (dims + 2, 3), "a map, or tokens"
    assert seen[features][0, 0].numel() < x[0, 0].numel(), "the last stage is coarser than the image"
    later = ran[ran.index(features) + 1 :]
    if answer.dim() > 2:
        assert set(place(network).targets) <= set(later), "the decoder comes after the encoder"
    else:
        assert later == [last], "a classifier's features are what the head pools"


def test_every_known_network_is_tested():
    built = [build(name, 2) for name in BUILD if find_spec("einops") or name not in NEEDS_EINOPS]
    missing = [kind.__name__ for kind in NETWORKS if not any(isinstance(network, kind) for network in built)]
    assert missing == [] if find_spec("einops") else set(missing) <= set(NEEDS_EINOPS)
    assert all(anatomy(network).head in dict(network.named_modules()) for network in built)


def test_the_model_zoos_spleen_segmentation_is_covered():
    """The network of the bundle `spleen_ct_segmentation`."""
    torch.manual_seed(0)
    network, x = nets.UNet(3, 1, 2, **SPLEEN).eval(), batch("UNet", 3)
    targets = place(network).targets
    assert len(targets) == 8, "a transposed and a plain convolution on each of four levels"
    assert sum(isinstance(network.get_submodule(name), nn.ConvTranspose3d) for name in targets) == 4
    assert place(network).covered_weights / place(network).scope_weights > 0.99
    teacher = copy.deepcopy(network)
    student = moved(Student(network))
    assert student.budget()["share"] == pytest.approx(0.031, abs=0.001)
    with torch.no_grad():
        assert torch.equal(student.merged()(x), student(x))
        assert torch.equal(student.teacher(x), teacher(x))


@pytest.mark.parametrize(
    ("scope", "layers", "trainable"), [("all", 47, 737_440), ("decoder", 11, 153_096)], ids=["all", "decoder"]
)
def test_the_papers_parameter_counts_are_those_of_a_unet_on_resnet34(monkeypatch, scope, layers, trainable):
    """*Erase to Retain* (arXiv 2511.16574), table 1: 24.44 million weights, of which adapters add 2.93 %.

    That is a ResNet-34 with projecting shortcuts (type B; MONAI's default for it is A, which has three layers less) and
    a decoder that up-samples without a convolution.
    """
    block, depths, _, _, published = resnet.resnet_params["resnet34"]
    monkeypatch.setitem(resnet.resnet_params, "resnet34", (block, depths, "B", False, published))
    with torch.device("meta"):
        network = nets.FlexibleUNet(3, 1, "resnet34", decoder_channels=(256, 128, 64, 32, 16), pre_conv=None)
    targets = [network.get_submodule(name) for name in place(network, scope).targets]
    assert len(targets) == layers
    assert sum(parameter.numel() for parameter in network.parameters()) == 24_436_369
    assert sum(8 * (layer.weight[0].numel() + layer.weight.shape[0]) for layer in targets) == trainable
    assert [capacity(layer) for layer in targets if capacity(layer) < 8] == [1], "the head alone would be clamped"

    budget = Student(network.to_empty(device="cpu"), scope, r=8, clamp_rank=False).budget()
    assert (budget["base"], budget["trainable"]) == (24_436_369, trainable)
    if scope == "all":
        assert round(100 * budget["share"], 3) == 2.929


def test_the_table_of_networks_is_complete_and_agrees_with_students():
    table = networks().set_index(["network", "dims"])
    assert list(table.index) == [(kind.__name__, dims) for kind in NETWORKS for dims in (2, 3)]
    empty = table[table.isna().any(axis=1)].index.get_level_values("network")
    assert set(empty) <= (set() if find_spec("einops") else set(NEEDS_EINOPS))

    budgets = {
        ("UNet", 3): Student(nets.UNet(3, 1, 2, **SPLEEN)).budget(),
        ("BasicUNet", 2): Student(nets.BasicUNet(2, 1, 2)).budget(),
    }
    for row, budget in budgets.items():
        assert table.loc[row, "weights"] == budget["base"]
        assert table.loc[row, "decoder_share"] == round(100 * budget["share"], 2)
