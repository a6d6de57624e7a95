"""What several processes have together, and that one process is all of it."""

import os

import pytest
import torch
from torch.utils.data import DataLoader

from mu_monai import processes
from mu_monai.engine import DividedLoader
from mu_monai.errors import InputError
from tests.together import in_processes


def _facts() -> dict:
    """What one process of a run finds."""
    rank = processes.number()
    batches = DataLoader([0, 1, 2, 3, 4], batch_size=2)
    own = [batch.tolist() for batch in processes.own_batches(batches)]
    divided = DividedLoader([0, 1, 2, 3, 4], batch_size=2)
    made = []

    def make() -> str:
        made.append(rank)
        return f"made by {rank}"

    def refuse() -> str:
        raise InputError("it exists")

    def refused(do) -> str:
        with pytest.raises(InputError) as error:
            do()
        return str(error.value)

    return {
        "several": processes.several(),
        "processes": processes.processes(),
        "number": rank,
        "first": processes.is_first(),
        "gathered": processes.gathered([rank, "row"]),
        "once": processes.once([("b", rank), (f"a{rank}", rank), ("b", rank)], key=lambda row: row[0]),
        "own": own,
        "all": processes.all_batches([sum(batch) for batch in own], batches),
        "divided is left": processes.own_batches(divided) is divided,
        "divided": [batch.tolist() for batch in divided],
        "total": (processes.total(rank + 1), processes.total(0.5)),
        "from the first": processes.made_by_first(make),
        "made": made,
        "refused": refused(lambda: processes.made_by_first(refuse)),
        "same": processes.differing({"the split": "ab", "torch": "2"}),
        "differing": processes.differing({"the split": "ab", "torch": str(rank)}),
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    return in_processes(2, _facts, folder=tmp_path_factory.mktemp("two"))


def test_one_process_is_all_of_it():
    found = {
        "several": False,
        "processes": 1,
        "number": 0,
        "first": True,
        "gathered": [[0, "row"]],
        "once": [("b", 0), ("a0", 0), ("b", 0)],
        "own": [[0, 1], [2, 3], [4]],
        "all": [1, 5, 4],
        "divided is left": True,
        "divided": [[0, 1], [2, 3], [4]],
        "total": (1, 0.5),
        "from the first": "made by 0",
        "made": [0],
        "refused": "it exists",
        "same": [],
        "differing": [],
    }
    assert _facts() == found


def test_two_processes_know_each_other(two):
    for rank, facts in enumerate(two):
        assert (facts["several"], facts["processes"], facts["number"]) == (True, 2, rank)
        assert facts["first"] is (rank == 0)
        assert facts["gathered"] == [[0, "row"], [1, "row"]]
        assert facts["total"] == (3, 1.0)


def test_of_a_case_that_two_processes_have_the_rows_of_the_first_count(two):
    expected = [("a0", 0), ("a1", 1), ("b", 0), ("b", 0)]
    assert [facts["once"] for facts in two] == [expected, expected]


def test_they_divide_whole_batches_and_all_get_every_result_in_order(two):
    assert [facts["own"] for facts in two] == [[[0, 1], [4]], [[2, 3]]]
    assert [facts["all"] for facts in two] == [[1, 5, 4], [1, 5, 4]]


def test_a_loader_that_is_divided_by_case_is_not_divided_again(two):
    assert [facts["divided is left"] for facts in two] == [True, True]
    assert [facts["divided"] for facts in two] == [[[0, 2], [4]], [[1, 3], [0]]]


def test_only_the_first_makes_and_all_learn_what_or_why_not(two):
    assert [facts["from the first"] for facts in two] == ["made by 0", "made by 0"]
    assert [facts["made"] for facts in two] == [[0], []]
    assert [facts["refused"] for facts in two] == ["it exists", "it exists"]


def test_they_say_in_what_they_differ(two):
    for facts in two:
        assert facts["same"] == []
        assert facts["differing"] == [
            "torch differs between the processes of this run: 0, 1; start all of them with the same files and packages"
        ]


def test_a_process_has_the_gpu_with_its_local_number(monkeypatch):
    assert processes.own_device() == torch.device("cpu" if not torch.cuda.is_available() else "cuda:0")
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setitem(os.environ, "LOCAL_RANK", "1")
    monkeypatch.setitem(os.environ, "LOCAL_WORLD_SIZE", "2")
    assert processes.own_device() == torch.device("cuda", 1) == chosen[0]
    monkeypatch.setitem(os.environ, "LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match="3 processes need as many GPUs, and this machine has 2; use at most 2"):
        processes.own_device()
    assert processes.too_many(2) == []


def test_a_config_for_several_processes_needs_torchrun(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(InputError, match="torchrun --standalone --nproc_per_node=2"):
        processes.require_torchrun()
    monkeypatch.setenv("LOCAL_RANK", "0")
    processes.require_torchrun()
