"""The probe finds what the encoder remembers, and nothing where it remembers nothing."""

import copy

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from torch import nn

from mu_monai.attacks import probe_scores
from mu_monai.errors import InputError
from mu_monai.metrics import auc


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(2, 1, 1, channels=(4, 8, 8), strides=(2, 2), norm="batch").eval()


def loaders(members_differ_by):
    generator = torch.Generator().manual_seed(0)
    sizes = {"retain": 30, "forget": 20, "validation": 30, "test": 20}
    return {
        subset: DataLoader(
            Dataset(
                [
                    {
                        "image": torch.randn(1, 16, 16, generator=generator)
                        + members_differ_by * (subset in ("retain", "forget"))
                    }
                    | {"case_id": f"{subset}-{number}", "patient_id": f"{subset}-{number // 2}"}
                    for number in range(size)
                ]
            ),
            batch_size=8,
        )
        for subset, size in sizes.items()
    }


def probed(network, loaders, inferer=None):
    table = probe_scores(network, loaders, inferer, torch.device("cpu"))
    assert list(table.columns) == ["patient_id", "case_id", "probe", "subset"]
    assert table.groupby("subset").size().to_dict() == {"forget": 20, "test": 20}
    by_patient = table.groupby(["subset", "patient_id"])["probe"].mean()
    return auc(by_patient["forget"], by_patient["test"])


def test_what_sets_members_apart_is_found(network):
    assert probed(network, loaders(1.0)) > 0.9
    assert probed(network, loaders(1.0), SlidingWindowInferer(roi_size=(8, 8))) > 0.9


def test_where_nothing_does_nothing_is(network):
    assert 0.2 < probed(network, loaders(0.0)) < 0.8


def test_a_change_of_the_decoder_alone_changes_nothing(network):
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.model[2][0].weight.add_(1.0)
    assert not torch.equal(changed(torch.ones(1, 1, 16, 16)), network(torch.ones(1, 1, 16, 16)))
    assert probed(changed, loaders(0.3)) == probed(network, loaders(0.3))


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match="is not known"):
        probe_scores(nn.Sequential(nn.Linear(2, 2)), loaders(0.0), None, torch.device("cpu"))
