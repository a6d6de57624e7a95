"""LoRA layers: exact merge for every convolution and linear layer, and agreement with stock peft where peft works."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Conv1d as PeftConv1d
from peft.tuners.lora.layer import Conv2d as PeftConv2d
from peft.tuners.lora.layer import Conv3d as PeftConv3d
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import nn

from mu_monai.adapters import LoraConv
from mu_monai.adapters.lora import ADAPTABLE, LoraWeight

PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
PEFT = {1: PeftConv1d, 2: PeftConv2d, 3: PeftConv3d}

BROKEN_IN_PEFT = {
    "1x1x1": lambda: nn.Conv3d(3, 4, 1),
    "1x1x3": lambda: nn.Conv3d(3, 4, (1, 1, 3)),
    "dilation": lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2),
    "reflect": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "groups": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(5, 5, 3, groups=5, padding=1),
    "transposed 2d": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "transposed 3d": lambda: nn.ConvTranspose3d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "transposed groups": lambda: nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, bias=False),
}


ONE_OF_EACH = {
    "conv": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose3d(4, 6, 2, stride=2, groups=2),
    "linear": lambda: nn.Linear(7, 5),
}


def adapt(base: nn.Module, r: int = 2, *, moved: bool = True, **options) -> LoraWeight:
    """A LoRA layer on `base` in evaluation mode, with factors that a training may have left."""
    layer = ADAPTABLE[type(base)](base, "default", config=LoraConfig(**options), r=r, lora_alpha=4)
    if moved:
        move(layer)
    return layer.eval()


def move(layer: LoraWeight, adapter: str = "default") -> None:
    for parameter in layer.lora_B[adapter].parameters():
        nn.init.normal_(parameter, std=0.5)


def batch_for(base: nn.Module, size: int = 9) -> torch.Tensor:
    if isinstance(base, nn.Linear):
        return torch.randn(2, 3, base.in_features, dtype=base.weight.dtype)
    return torch.randn(2, base.in_channels, *(size,) * (base.weight.dim() - 2), dtype=base.weight.dtype)


def agree_to_rounding(a: torch.Tensor, b: torch.Tensor) -> bool:
    scale = max(b.abs().max().item(), 1.0)
    return a.shape == b.shape and (a - b).abs().max().item() <= 1e-5 * scale


@st.composite
def convolutions(draw) -> nn.Module:
    dims = draw(st.integers(1, 3))
    transposed = draw(st.booleans())
    groups = draw(st.integers(1, 3))
    options = {
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": tuple(draw(st.integers(1, 4 if dims < 3 else 3)) for _ in range(dims)),
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(dims)),
        "dilation": tuple(draw(st.integers(1, 2)) for _ in range(dims)),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if transposed:
        options["padding"] = tuple(draw(st.integers(0, 2)) for _ in range(dims))
        limits = [max(s, d) for s, d in zip(options["stride"], options["dilation"], strict=True)]
        options["output_padding"] = tuple(draw(st.integers(0, limit - 1)) for limit in limits)
        return TRANSPOSED[dims](**options)
    options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    if set(options["stride"]) == {1} and draw(st.booleans()):
        options["padding"] = "same"
    else:
        options["padding"] = tuple(draw(st.integers(0, 2)) for _ in range(dims))
    return PLAIN[dims](**options)


@st.composite
def linear_layers(draw) -> nn.Module:
    return nn.Linear(draw(st.integers(1, 8)), draw(st.integers(1, 8)), bias=draw(st.booleans()))


@settings(max_examples=150, deadline=None)
@given(base=convolutions() | linear_layers(), rank=st.integers(1, 5), seed=st.integers(0, 2**16))
def test_every_layer_keeps_the_promises_of_its_adapter(base, rank, seed):
    torch.manual_seed(seed)
    x = batch_for(base)
    before, weight = base(x), base.weight.detach().clone()
    assume(before.numel() > 0)

    layer = adapt(base, rank, moved=False)
    assert torch.equal(layer(x), before), "the update starts as zero"

    nn.init.normal_(layer.lora_B["default"].weight)
    unmerged = layer(x)
    trained = layer.train()(x)
    assert agree_to_rounding(trained, unmerged), "two branches added are one convolution"
    layer.eval()

    layer.enable_adapters(False)
    assert torch.equal(layer(x), before), "off is the base layer"
    layer.enable_adapters(True)

    layer.merge()
    assert layer.merged
    assert torch.equal(layer(x), unmerged), "merged equals unmerged"
    assert torch.equal(base(x), unmerged), "the merged base layer needs no wrapper"
    layer.unmerge()
    assert not layer.merged
    assert torch.equal(base.weight, weight), "unmerge restores the base weight"
    assert torch.equal(layer(x), unmerged)


@pytest.mark.parametrize("build", BROKEN_IN_PEFT.values(), ids=BROKEN_IN_PEFT)
def test_layers_that_stock_peft_breaks_on_merge_exactly(build):
    torch.manual_seed(0)
    layer = adapt(build())
    x = batch_for(layer.get_base_layer())
    unmerged = layer(x)
    assert agree_to_rounding(layer.train()(x), unmerged)
    layer.eval().merge(safe_merge=True)
    assert torch.equal(layer(x), unmerged)


@pytest.mark.parametrize("build", BROKEN_IN_PEFT.values(), ids=BROKEN_IN_PEFT)
def test_every_factor_receives_a_gradient_and_the_base_weight_none(build):
    layer = adapt(build()).train()
    layer(batch_for(layer.get_base_layer())).square().sum().backward()
    for factor in (layer.lora_A, layer.lora_B):
        assert factor["default"].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gradients_of_training_and_evaluation_mode_agree(mode):
    torch.manual_seed(0)
    layer = adapt(nn.ConvTranspose2d(2, 2, 3, stride=2).double()).double().train(mode == "train")
    x = torch.randn(1, 2, 3, 3, dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda a, b: torch.func.functional_call(layer, {"lora_A.default.weight": a, "lora_B.default.weight": b}, (x,)),
        (layer.lora_A["default"].weight, layer.lora_B["default"].weight),
    )


@pytest.mark.parametrize(
    ("dims", "kernel", "stride"), [*itertools.product((1, 2, 3), (1, 3), (1, 2)), (2, (1, 3), 1), (3, (3, 1, 3), 1)]
)
def test_plain_factors_are_those_of_peft_in_shape_and_function(dims, kernel, stride):
    torch.manual_seed(0)
    base = PLAIN[dims](3, 5, kernel, stride=stride, padding="valid")
    ours = adapt(base)
    theirs = PEFT[dims](base, "default", config=LoraConfig(), r=2, lora_alpha=4).eval()
    factors = {name: value for name, value in ours.state_dict().items() if name.startswith("lora_")}
    shapes = {name: value.shape for name, value in theirs.state_dict().items() if name.startswith("lora_")}
    assert {name: value.shape for name, value in factors.items()} == shapes
    theirs.load_state_dict(factors, strict=False)
    x = batch_for(base)
    assert agree_to_rounding(ours(x), theirs(x))


@pytest.mark.parametrize("bias", [False, True])
def test_linear_factors_are_those_of_peft_in_shape_and_function(bias):
    torch.manual_seed(0)
    base = nn.Linear(3, 5)
    ours = adapt(base, lora_bias=bias)
    theirs = PeftLinear(base, "default", config=LoraConfig(lora_bias=bias), r=2, lora_alpha=4).eval()
    factors = {name: value for name, value in ours.state_dict().items() if name.startswith("lora_")}
    shapes = {name: value.shape for name, value in theirs.state_dict().items() if name.startswith("lora_")}
    assert {name: value.shape for name, value in factors.items()} == shapes
    theirs.load_state_dict(factors, strict=False)
    x = batch_for(base)
    assert agree_to_rounding(ours(x), theirs(x))


@pytest.mark.parametrize("build", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_a_lora_bias_starts_at_zero_trains_and_is_merged_and_unmerged_exactly(build):
    torch.manual_seed(0)
    base = build()
    x = batch_for(base)
    before, weight, bias = base(x), base.weight.detach().clone(), base.bias.detach().clone()
    layer = adapt(base, moved=False, lora_bias=True)
    assert torch.equal(layer(x), before)

    move(layer)
    unmerged = layer(x)
    trained = layer.train()(x)
    assert agree_to_rounding(trained, unmerged)
    trained.sum().backward()
    assert layer.lora_B["default"].bias.grad.abs().min() > 0
    layer.eval().merge(safe_merge=True)
    assert torch.equal(base(x), unmerged)
    torch.testing.assert_close(base.bias, bias + 4 / 2 * layer.lora_B["default"].bias)
    layer.unmerge()
    assert torch.equal(base.weight, weight)
    assert torch.equal(base.bias, bias)
    assert torch.equal(layer(x), unmerged)


def test_a_lora_bias_on_a_layer_without_a_bias_is_refused():
    with pytest.raises(ValueError, match=r"lora_bias=True .* Conv2d\(.*\) .* lora_bias=False"):
        adapt(nn.Conv2d(2, 2, 3, bias=False), lora_bias=True)


@pytest.mark.parametrize("build", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_updates_of_several_active_adapters_add_up(build):
    torch.manual_seed(0)
    base = build()
    x = batch_for(base)
    before, weight = base(x), base.weight.detach().clone()
    layer = adapt(base)
    first = layer(x)
    layer.update_layer("second", 5, lora_alpha=5, config=LoraConfig(lora_bias=True))
    move(layer, "second")
    assert torch.equal(layer.eval()(x), first), "an adapter acts when it is active"

    layer.set_adapter(["default", "second"])
    both = layer(x)
    assert agree_to_rounding(layer.train()(x), both)
    deltas = layer.get_delta_weight("default") + layer.get_delta_weight("second")
    assert not agree_to_rounding(both, first)
    layer.eval().enable_adapters(False)
    assert torch.equal(layer(x), before)
    layer.enable_adapters(True)

    layer.merge()
    torch.testing.assert_close(base.weight, weight + deltas)
    assert torch.equal(layer(x), both)
    layer.unmerge()
    layer.merge(adapter_names=["default"])
    with pytest.warns(UserWarning, match="additionally merging second"):
        layer.merge(adapter_names=["second"])
    assert torch.equal(layer(x), both), "one after the other is both at once"
    layer.unmerge()
    assert torch.equal(base.weight, weight)


@pytest.mark.parametrize("build", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_merge_is_exact_under_autocast_too(build):
    torch.manual_seed(0)
    layer = adapt(build(), lora_bias=True)
    x = batch_for(layer.get_base_layer())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        unmerged = layer(x)
        layer.merge()
        assert torch.equal(layer(x), unmerged)


@pytest.mark.parametrize("build", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_a_copy_of_a_merged_layer_can_be_unmerged_alone(build):
    layer = adapt(build())
    weight = layer.get_base_layer().weight.detach().clone()
    layer.merge()
    copied = copy.deepcopy(layer)
    copied.unmerge()
    assert torch.equal(copied.get_base_layer().weight, weight)
    assert not torch.equal(layer.get_base_layer().weight, weight)


def test_rank_and_scale_may_differ_per_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 8))
    config = LoraConfig(r=8, lora_alpha=32, target_modules=["0", "2"], rank_pattern={"0": 3}, alpha_pattern={"0": 12.0})
    config._register_custom_module(ADAPTABLE)
    model = get_peft_model(network, config).base_model.model
    assert (model[0].r["default"], model[0].scaling["default"]) == (3, 4)
    assert (model[2].r["default"], model[2].scaling["default"]) == (8, 4)
    assert model[0].lora_A["default"].weight.shape == (3, 3, 3, 3)


def test_a_transposed_convolution_keeps_its_own_layout():
    layer = adapt(nn.ConvTranspose3d(6, 4, (3, 2, 1), groups=2), r=5)
    assert layer.lora_A["default"].weight.shape == (6, 5, 3, 2, 1)
    assert layer.lora_B["default"].weight.shape == (4, 5, 1, 1, 1)
    assert layer.get_delta_weight("default").shape == layer.get_base_layer().weight.shape


def test_the_update_is_alpha_over_r_times_the_product_of_the_factors():
    layer = adapt(nn.Conv2d(2, 3, 1), r=2)
    a, b = layer.lora_A["default"].weight.flatten(1), layer.lora_B["default"].weight.flatten(1)
    torch.testing.assert_close(layer.get_delta_weight("default").flatten(1), 4 / 2 * b @ a)


def test_rank_stabilized_lora_divides_by_the_root_of_the_rank():
    layer = adapt(nn.Conv2d(2, 3, 3), r=4, use_rslora=True)
    assert layer.scaling["default"] == 4 / 2


def test_a_transposed_convolution_takes_an_output_size():
    layer = adapt(nn.ConvTranspose2d(2, 2, 3, stride=2))
    x = torch.randn(1, 2, 4, 4)
    for mode in (True, False):
        assert layer.train(mode)(x, output_size=[10, 10]).shape[-2:] == (10, 10)


def test_dropout_acts_in_training_only_and_on_the_low_rank_branch_alone():
    torch.manual_seed(0)
    layer = adapt(nn.Conv2d(2, 2, 3), lora_dropout=0.5)
    x = batch_for(layer.get_base_layer())
    assert torch.equal(layer(x), layer(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))
    nn.init.zeros_(layer.lora_B["default"].weight)
    assert torch.equal(layer(x), layer.get_base_layer()(x))


def test_merging_twice_changes_nothing_more():
    layer = adapt(nn.Conv2d(2, 2, 3))
    weight = layer.get_base_layer().weight
    before = weight.detach().clone()
    layer.merge()
    once = weight.detach().clone()
    with pytest.warns(UserWarning, match="already merged"):
        layer.merge()
    assert torch.equal(weight, once)
    layer.unmerge()
    layer.unmerge()
    assert torch.equal(weight, before)


def test_switching_off_a_merged_layer_gives_the_base_back():
    layer = adapt(nn.Conv2d(2, 2, 3))
    x = batch_for(layer.get_base_layer())
    before = layer.get_base_layer()(x)
    layer.merge()
    layer.enable_adapters(False)
    assert torch.equal(layer(x), before)


def test_a_merged_layer_that_changed_its_type_can_be_unmerged():
    layer = adapt(nn.Conv2d(2, 2, 3))
    layer.merge()
    layer.double()
    layer.unmerge()
    assert layer.get_base_layer().weight.dtype == torch.double
    layer(torch.randn(1, 2, 5, 5, dtype=torch.double))


@pytest.mark.parametrize("dtype", [torch.double, torch.bfloat16])
def test_merge_is_exact_in_other_types_too(dtype):
    layer = adapt(nn.Conv2d(2, 2, 3).to(dtype)).to(dtype)
    x = batch_for(layer.get_base_layer())
    unmerged = layer(x)
    layer.merge()
    assert unmerged.dtype == dtype
    assert torch.equal(layer(x), unmerged)


def test_a_safe_merge_refuses_broken_factors_and_leaves_the_weight_alone():
    layer = adapt(nn.Conv2d(2, 2, 3))
    weight = layer.get_base_layer().weight.detach().clone()
    nn.init.constant_(layer.lora_B["default"].weight, float("nan"))
    with pytest.raises(ValueError, match=r"NaN or infinity; adapter\(s\) \['default'\] are broken"):
        layer.merge(safe_merge=True)
    assert torch.equal(layer.get_base_layer().weight, weight)


@pytest.mark.parametrize("rank", [0, -3])
def test_a_rank_below_one_is_refused(rank):
    with pytest.raises(ValueError, match=f"r={rank} is not allowed; use an integer of at least 1"):
        LoraConv(nn.Conv2d(1, 1, 1), "default", config=LoraConfig(), r=rank)


@pytest.mark.parametrize("option", [{"use_dora": True}, {"init_lora_weights": "olora"}])
def test_options_that_the_layer_lacks_are_refused(option):
    (name, value), *_ = option.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        LoraConv(nn.Conv2d(1, 1, 1), "default", config=LoraConfig(**option))


def test_the_layers_are_recognized_in_print():
    assert repr(adapt(nn.Conv2d(1, 1, 1))).startswith("lora.LoraConv(")
    assert repr(adapt(nn.Linear(1, 1))).startswith("lora.LoraLinear(")
