"""Two processes that share a method's steps end with the weights that one process has: each method that says so."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.utils.data import DataLoader

from mu_monai.adapters.milestones import write_milestone
from mu_monai.engine import DividedLoader, Replicas
from mu_monai.errors import InputError
from mu_monai.methods import METHODS
from tests.methods.conftest import Small, small_cases, small_network, still_network
from tests.together import in_processes

REPLICABLE = [name for name, method in METHODS.items() if method.replicable]
_OFTEN = {
    "erase-to-retain": {"forget_terms": {"uniform": 1.0, "repulsion": 0.5}, "feature_layer": "5"},
    "shrink-and-restore": {"damage": 0.2},
}


def shared_loader(data: list[dict[str, Any]], batch_size: int) -> DataLoader[Any]:
    """The loader of one process; `batch_size` is that of all of them together."""
    return DividedLoader(data, batch_size=batch_size // distributed.get_world_size(), shuffle=True)


def make(name: str, folder: Path, **options: Any) -> Small:
    settings = {"stop_at": None, **_OFTEN.get(name, {})}
    if name == "rewind":
        settings["milestones"] = str(folder)
    if name == "calibrated-erase-to-retain":
        settings["stop_at"] = "reference"
    settings["unseen_loader"] = shared_loader(small_cases("validation", 5), batch_size=4)
    plain = {"loader": shared_loader, "first": [Replicas()], "plain": still_network, "epochs": 2, "rate": 0.05}
    # of the last batches, one process has fewer cases than the other, or none
    odd = {"cases": (7, 3), "retain_batch": 4, "forget_batch": 2}
    return Small(METHODS[name], settings, plain | odd | options)


def results(names: list[str], folder: Path) -> dict[str, Any]:
    found = {}
    for name in names:
        job = make(name, folder)
        found[name] = {"weights": job.run(), "passes": job.trainer.state.cost.passes}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("milestones")
    torch.manual_seed(3)
    write_milestone(folder, 1, still_network().state_dict(), memorized=0.5)
    return folder


@pytest.fixture(scope="module")
def one_and_two(folder, tmp_path_factory):
    return [
        in_processes(number, results, REPLICABLE, folder, folder=tmp_path_factory.mktemp(f"in-{number}"))
        for number in (1, 2)
    ]


@pytest.mark.parametrize("name", REPLICABLE)
def test_two_processes_end_with_the_weights_of_one_with_the_same_batches(one_and_two, name):
    (one,), (first, second) = one_and_two
    before = still_network().state_dict()
    moved = max((one[name]["weights"][key] - before[key]).abs().max() for key in before)
    assert moved > 1e-3
    for key, value in one[name]["weights"].items():
        assert torch.equal(first[name]["weights"][key], second[name]["weights"][key])
        torch.testing.assert_close(first[name]["weights"][key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", REPLICABLE)
def test_they_share_the_work(one_and_two, name):
    (one,), (first, second) = one_and_two
    assert first[name]["passes"] + second[name]["passes"] == pytest.approx(
        one[name]["passes"], rel=0.34
    )  # one case more of three


def test_a_mean_over_steps_has_the_statistics_of_all_processes(tmp_path):
    write_milestone(tmp_path, 1, small_network().state_dict(), memorized=0.5)

    even = {"cases": (8, 4), "retain_batch": 8}  # BatchNorm needs more than one case

    def rewound() -> dict[str, torch.Tensor]:
        return make("rewind", tmp_path, plain=small_network, network={"bn_mode": "train"}, **even).run()

    first, second = in_processes(2, rewound, folder=tmp_path)
    assert not torch.equal(first["norm.running_mean"], small_network().state_dict()["norm.running_mean"])
    for key, value in first.items():
        assert torch.equal(value, second[key])


@pytest.mark.parametrize("name", [name for name in METHODS if name not in REPLICABLE])
def test_a_method_that_needs_all_cases_in_one_process_is_refused(name, folder, tmp_path):
    def refused() -> str:
        with pytest.raises(InputError, match="needs all cases in one process") as error:
            make(name, folder)
        return str(error.value)

    texts = in_processes(2, refused, folder=tmp_path)
    assert METHODS[name].__name__ in texts[1]
