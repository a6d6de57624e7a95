"""The barrier between two networks, by hand; and what BatchNorm's statistics would do to it."""

import copy
import math

import pytest
import torch
from torch import nn

from mu_monai.measure import linear_barrier


def line(weight):
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, weight)
    return network


BATCHES = [{"image": torch.ones(size, 1), "label": torch.ones(size, 1)} for size in (3, 1)]
SQUARED = {"loss": nn.MSELoss(), "inferer": lambda images, network: network(images).square()}
PLAIN = {"loss": nn.MSELoss(), "inferer": lambda images, network: network(images)}


@pytest.mark.parametrize(
    ("first", "second", "barrier"),
    [
        (1.0, -1.0, 1.0),  # at half way the answer is 0, where both ends have a loss of 0
        (1.0, 1.0, 0.0),
        (2.0, -1.0, (0.5**2 - 1) ** 2 - 0.5 * (2**2 - 1) ** 2),  # the ends count with their own loss
    ],
)
def test_it_is_the_largest_loss_above_the_line_between_the_ends(first, second, barrier):
    found = linear_barrier(line(first), line(second), BATCHES, points=(0.5,), **SQUARED)
    assert found == pytest.approx(barrier)


def test_the_largest_of_the_points_counts_and_a_convex_loss_has_none():
    first, second = line(1.0), line(-1.0)
    each = [linear_barrier(first, second, BATCHES, points=(point,), **SQUARED) for point in (0.25, 0.5, 0.75)]
    assert linear_barrier(first, second, BATCHES, **SQUARED) == max(each) == each[1]
    assert linear_barrier(line(3.0), line(1.0), BATCHES, **PLAIN) < 0


def test_cases_count_alike_whatever_batch_they_are_in():
    cases = [{"image": torch.tensor([[value]]), "label": torch.zeros(1, 1)} for value in (0.5, 1.0, 2.0)]
    together = {key: torch.cat([case[key] for case in cases[:2]]) for key in cases[0]}
    one, other = (
        linear_barrier(line(2.0), line(-1.0), batches, **SQUARED) for batches in (cases, [together, cases[2]])
    )
    assert one == pytest.approx(other)


def normalized(sign):
    """Two networks that answer alike and whose features have opposite signs: between them, features vanish."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4, affine=False), nn.Dropout(0.5), nn.Linear(4, 1)).eval()
    with torch.no_grad():
        network[0].weight *= sign
        network[0].bias *= sign
        network[3].weight *= sign
    return network


@pytest.fixture
def batches():
    torch.manual_seed(1)
    return [{"image": torch.randn(16, 2), "label": torch.randn(16, 1)} for _ in range(2)]


def test_statistics_are_those_of_each_network_on_the_line(batches):
    first, second = normalized(1), normalized(1)
    with torch.no_grad():
        second[1].running_mean += 5  # what is left of other data in the statistics is no barrier of the weights
        second[1].running_var *= 9
    assert linear_barrier(first, second, batches, **PLAIN) == pytest.approx(0, abs=1e-6)
    assert linear_barrier(first, normalized(-1), batches, **PLAIN) != pytest.approx(0, abs=1e-3)


def test_a_last_batch_of_one_case_has_no_variance_and_does_not_count_for_the_statistics(batches):
    first, second = normalized(1), normalized(-1)
    last = {key: value[:1] for key, value in batches[0].items()}
    found = linear_barrier(first, second, [*batches, last], **PLAIN)
    assert found == pytest.approx(linear_barrier(first, second, batches, **PLAIN), abs=0.2)
    networks = [nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 1)) for _ in "ab"]
    sizes = [{"image": torch.randn(size, 1, 1, 1), "label": torch.randn(size, 1)} for size in (8, 1)]
    assert math.isfinite(linear_barrier(*networks, sizes, **PLAIN))


def test_the_given_networks_stay_as_they_are(batches):
    first, second = normalized(1), normalized(-1)
    states = [copy.deepcopy(network.state_dict()) for network in (first, second)]
    linear_barrier(first, second, batches, **PLAIN)
    for network, state in zip((first, second), states, strict=True):
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
        assert not any(module.training for module in network.modules())
        assert network[1].momentum == 0.1
