"""Weights in the containers of other programs."""

import pytest
import torch
from torch import nn

from mu_monai.adapters import load_weights, read_weights
from mu_monai.adapters.weights import Container, opened_weights
from mu_monai.errors import InputError

CONTAINERS = [
    Container(),
    Container(("model",)),
    Container(("state_dict",)),
    Container(("network",), "module."),
    Container(("state_dict", "model"), "module._orig_mod."),
    Container((), "module."),
]


@pytest.mark.parametrize("container", CONTAINERS, ids=str)
def test_weights_come_out_and_go_back_in(container, tmp_path):
    file, network = tmp_path / "w.pt", nn.Linear(2, 3)
    content = container.around(network.state_dict())
    torch.save(content | ({"epoch": 3} if container.keys else {}), file)
    state, found = opened_weights(file)
    assert found == container
    assert load_weights(nn.Linear(2, 3), file).weight.equal(network.weight)
    assert read_weights(file).keys() == network.state_dict().keys()
    torch.save(found.around(state), file)
    assert opened_weights(file)[1] == container


def test_a_network_whose_own_names_begin_so_is_left_alone(tmp_path):
    network = nn.Sequential()
    network.add_module("model", nn.Linear(1, 1))
    torch.save({"model": network.state_dict()}, tmp_path / "w.pt")
    assert list(read_weights(tmp_path / "w.pt")) == ["model.weight", "model.bias"]


def test_names_behind_another_module_are_told(tmp_path):
    torch.save({f"net.{name}": value for name, value in nn.Linear(1, 1).state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(InputError) as refusal:
        load_weights(nn.Linear(1, 1), tmp_path / "w.pt")
    assert len(refusal.value.problems) == 1
    assert "its names begin with 'net.'" in str(refusal.value)


def test_a_checkpoint_without_weights_names_its_keys(tmp_path):
    torch.save({"optimizer": {}, "epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="with the keys optimizer, epoch"):
        read_weights(tmp_path / "w.pt")
