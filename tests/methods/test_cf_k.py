"""CF-k: which layers train, and that the others stand still."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from monai.inferers import SimpleInferer
from monai.networks import nets

from mu_monai.adapters import Student
from mu_monai.errors import InputError
from mu_monai.methods import CFk, RetainFineTuning
from mu_monai.methods.cf_k import running_order


def moved(run):
    before, after = run.teacher.state_dict(), run.run()
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("k", "layers"), [(1, {"last"}), (2, {"middle", "last"}), (3, {"first", "norm", "act", "middle", "last"})]
)
def test_the_last_layers_train_with_the_norms_and_activations_behind_them(small, k, layers):
    run = small(CFk, k=k, options={"optimizer": torch.optim.AdamW, "epochs": 2})  # which decays what it may
    assert moved(run) == layers
    assert set(run.method.measurements(run.trainer)["trained_layers"]) == layers


def test_all_layers_are_retain_fine_tuning(small):
    every, plain = small(CFk, k=3).run(), small(RetainFineTuning).run()
    assert all(torch.equal(every[name], plain[name]) for name in plain)


def test_of_adapters_the_last_train(small):
    run = small(CFk, k=1, options={"network": {"trainable": "adapters", "r": 2}})
    assert moved(run) == {"last"}


def test_adapters_beside_moving_statistics_are_refused(small):
    """They would move in layers that are held; where all weights train, held layers hold them."""
    with pytest.raises(InputError, match=r"network#bn_mode=train .* network#trainable=all"):
        small(CFk, k=1, options={"network": {"trainable": "adapters", "r": 2, "bn_mode": "train"}}).run()
    assert moved(small(CFk, k=1, options={"network": {"bn_mode": "train"}})) == {"last"}


def test_the_forget_set_is_not_looked_at(small):
    run = small(CFk, k=1)
    run.method.forget_batch = None
    assert moved(run) == {"last"}


def test_layers_count_in_the_order_in_which_they_run(small):
    class Backwards(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.second, self.first = torch.nn.Linear(4, 3), torch.nn.Linear(4, 4)

        def forward(self, image):
            return self.second(self.first(image))

    assert moved(small(CFk, k=1, options={"plain": Backwards})) == {"second"}


@pytest.mark.parametrize(
    "network",
    [
        nets.UNet(2, 1, 2, channels=(4, 8), strides=(2,), num_res_units=2),
        nets.AttentionUnet(2, 1, 2, channels=(4, 8), strides=(2,)),
        nets.ViT(1, 16, 8, hidden_size=8, mlp_dim=8, num_layers=1, num_heads=2, classification=True, spatial_dims=2),
    ],
    ids=lambda network: type(network).__name__,
)
def test_the_last_layer_is_the_head(network):
    student = Student(network.eval(), trainable="all")
    order, _ = running_order(SimpleNamespace(network=student, inferer=SimpleInferer()), torch.zeros(1, 1, 16, 16))
    assert list(order)[-1] == student.head


def test_more_layers_than_there_are_are_refused(small):
    with pytest.raises(InputError, match=r"method#k=4 is not allowed for a network with 3 .* use 1 to"):
        small(CFk, k=4).run()


@pytest.mark.parametrize("k", [0, 1.5, True])
def test_what_is_no_number_of_layers_is_refused(k):
    with pytest.raises(InputError, match=f"method#k={k} is not allowed; use a whole number of 1 or more"):
        CFk(forget_loader=[], k=k)


def test_layers_in_blocks_that_are_copied_whole_count(small):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.ones(4))
            self.inner, self.outer = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, image):
            return self.outer(self.inner(image + self.shift))

    def network():
        torch.manual_seed(0)
        return torch.nn.Sequential(OrderedDict(block=Block(), last=torch.nn.Linear(4, 3)))

    run = small(CFk, k=2, options={"plain": network})
    before, after = run.teacher.state_dict(), run.run()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{layer}.{part}" for layer in ("block.outer", "last") for part in ("weight", "bias")}
    with pytest.raises(InputError, match=r"a network with 3 trainable layers"):
        small(CFk, k=4, options={"plain": network}).run()


def test_weights_that_attention_of_torch_uses_itself_count_where_it_begins():
    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.last = torch.nn.MultiheadAttention(4, 2, batch_first=True), torch.nn.Linear(4, 3)

        def forward(self, image):
            return self.last(self.attention(image, image, image)[0])

    student = Student(Attention().eval(), trainable="all")
    order, _ = running_order(SimpleNamespace(network=student, inferer=SimpleInferer()), torch.zeros(1, 5, 4))
    assert list(order) == ["attention", "attention.out_proj", "last"]
