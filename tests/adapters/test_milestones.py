"""Milestones: which epochs are kept, how they are found, and what is refused."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mu_monai.adapters import read_weights
from mu_monai.adapters.milestones import find_milestones, memorized_at, milestone_epochs, write_milestone
from mu_monai.errors import InputError


@given(st.integers(0, 20), st.integers(1, 2000))
def test_they_lie_between_the_first_and_the_last_epoch(number, epochs):
    kept = milestone_epochs(number, epochs)
    assert kept == sorted(set(kept))
    assert len(kept) <= number
    assert all(0 < epoch < epochs for epoch in kept)


def test_their_distances_grow():
    assert milestone_epochs(6, 400) == [2, 6, 13, 31, 72, 170]


def test_a_short_training_has_fewer():
    assert milestone_epochs(6, 1) == []
    assert milestone_epochs(6, 2) == [1]


def test_weights_come_back_bit_for_bit(tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict()
    again = read_weights(write_milestone(tmp_path / "milestones", 5, state, 0.625))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())
    assert memorized_at(tmp_path / "milestones" / "epoch-0005.safetensors") == 0.625


def test_weights_that_share_memory_can_be_kept(tmp_path):
    weight = torch.ones(2)
    assert set(read_weights(write_milestone(tmp_path, 1, {"a": weight, "b": weight}))) == {"a", "b"}


def test_monais_checkpoints_are_found_and_other_files_are_not(tmp_path):
    for name in ("model_epoch=16.pt", "model_epoch=4.pt", "model_final_iteration=90.pt", "notes_epoch=3.txt"):
        torch.save({"network": {"weight": torch.ones(1)}, "optimizer": {}}, tmp_path / name)
    found = find_milestones(tmp_path)
    assert [(epoch, file.name) for epoch, file in found.items()] == [(4, "model_epoch=4.pt"), (16, "model_epoch=16.pt")]
    assert read_weights(found[4]) == {"weight": torch.ones(1)}
    assert memorized_at(found[4]) is None


def test_two_files_of_an_epoch_are_refused_with_their_names(tmp_path):
    torch.save({}, tmp_path / "a_epoch=3.pt")
    write_milestone(tmp_path, 3, {"weight": torch.ones(1)})
    with pytest.raises(InputError, match=r"epoch 3 \(a_epoch=3.pt, epoch-0003.safetensors\)"):
        find_milestones(tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_any_is_refused(tmp_path, there):
    with pytest.raises(InputError, match=r"holds no milestones.*milestones=12"):
        find_milestones(tmp_path if there else tmp_path / "nowhere")


@pytest.mark.parametrize("noted", ["nan", "1.5", "-0.1", "half"])
def test_a_number_that_no_auc_has_is_refused(tmp_path, noted):
    file = tmp_path / "epoch-0003.safetensors"
    save_file({"weight": torch.ones(1)}, file, metadata={"memorized": noted})
    with pytest.raises(InputError, match=r"epoch-0003.safetensors' cannot be read"):
        memorized_at(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "epoch-0099.safetensors")
    with pytest.raises(InputError, match=r"epoch-0099.safetensors"):
        find_milestones(tmp_path)


def test_a_damaged_one_is_an_input_error(tmp_path):
    file = write_milestone(tmp_path, 3, {"weight": torch.ones(100)})
    file.write_bytes(file.read_bytes()[:50])
    for read in (read_weights, memorized_at):
        with pytest.raises(InputError, match=r"epoch-0003.safetensors' cannot be read"):
            read(file)
