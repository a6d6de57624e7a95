"""Layers that adapters and copies cannot stand for stay the teacher's, so that every promise holds for the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.networks import nets
from torch import nn
from torch.nn.utils import parametrizations

from mu_monai.adapters import Student, place
from mu_monai.adapters.placement import tied_weights
from mu_monai.errors import InputError


class Padding(nn.Conv2d):
    """Pads the image itself, as the convolutions of many EfficientNets do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(nn.functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class Standardized(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


class Network(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.last = first, second, nn.Conv2d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x).tanh()).tanh())


def plain() -> nn.Conv2d:
    return nn.Conv2d(1, 1, 3, padding=1)


def twice() -> Network:
    layer = plain()
    return Network(layer, layer)


def tied() -> Network:
    network = Network(plain(), plain())
    network.second.weight = network.first.weight
    return network


ODD: dict[str, Callable[[], Network]] = {
    "padding": lambda: Network(Padding(1, 1, 3), plain()),
    "standardized": lambda: Network(Standardized(1, 1, 3, padding=1), plain()),
    "weight_norm": lambda: Network(parametrizations.weight_norm(plain()), plain()),
    "spectral_norm": lambda: Network(parametrizations.spectral_norm(plain()), plain()),
    "twice": twice,
    "tied": tied,
}


@pytest.mark.parametrize("trainable", ["adapters", "all"])
@pytest.mark.parametrize("name", ODD)
def test_promises_hold_with_odd_layers(name, trainable, train_steps):
    torch.manual_seed(0)
    network, fresh = ODD[name]().eval(), ODD[name]().eval()
    image = torch.randn(2, 1, 6, 6)
    with torch.no_grad():
        teacher = network(image)
        student = Student(network, "all", trainable=trainable)
        assert torch.equal(student(image), teacher)
    answer = train_steps(student, image)(image)
    assert not torch.equal(answer, teacher)
    merged = student.merged()
    fresh.load_state_dict(merged.state_dict())
    for same, wanted in ((merged(image), answer), (fresh.eval()(image), answer), (student.teacher(image), teacher)):
        assert torch.equal(same, wanted)
    assert torch.equal(student.reverted()(image), teacher)


@pytest.mark.parametrize(
    ("name", "targets", "skipped"),
    [
        ("padding", ("second", "last"), "Padding (10 weights)"),
        ("standardized", ("second", "last"), "Standardized (10 weights)"),
        ("twice", ("last",), "Conv2d (10 weights)"),
        ("tied", ("last",), "Conv2d (20 weights)"),
    ],
)
def test_odd_layers_are_said_to_be_skipped(name, targets, skipped):
    placement = place(ODD[name](), "all")
    assert placement.targets == targets
    assert placement.coverage.endswith(f"skipped: {skipped}")


def test_shared_and_computed_weights_have_no_copy_which_is_said():
    network = tied()
    assert Student(network, trainable="all").placement.skipped == (("shared or computed weights", 11),)


def test_a_network_of_which_nothing_can_be_copied_is_refused():
    with pytest.raises(InputError, match="no layer of Sequential holds weights that can be copied"):
        Student(nn.Sequential(parametrizations.weight_norm(plain())), trainable="all")


def test_statistics_that_are_used_at_several_places_do_not_move():
    norm = nn.BatchNorm2d(1)
    with pytest.raises(InputError, match=r"'first\.bias' is used at several places, so that it cannot be copied"):
        Student(Network(norm, norm), "all", bn_mode="train")


def test_a_part_with_several_names_is_not_tied():
    assert tied_weights(nets.DynUNet(2, 1, 1, [3] * 3, [1, 2, 2], [2] * 2, filters=[2] * 3)) == set()
