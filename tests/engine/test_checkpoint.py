"""Checkpoints: whole, small, readable without unpickling, and enough to go on from."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from ignite.engine import Events

from mu_monai.adapters import weights_sha256
from mu_monai.engine import OneCycle
from mu_monai.engine.checkpoint import has_checkpoint, restore_checkpoint, save_checkpoint
from mu_monai.errors import InputError


def bits(network) -> str:
    return weights_sha256(network.state_dict())


def trained(run, network, epochs: int = 2):
    trainer = run.trainer(network, epochs=epochs)
    trainer.run()
    return trainer


@pytest.fixture(params=["student", "plain"])
def make_network(request, make_student, make_unet):
    return make_student if request.param == "student" else make_unet


def test_there_is_none_before_one_is_made(run, make_student, tmp_path):
    assert not has_checkpoint(tmp_path)
    assert not has_checkpoint(tmp_path / "nowhere")
    save_checkpoint(trained(run, make_student()), tmp_path / "checkpoints")
    assert has_checkpoint(tmp_path / "checkpoints")


def test_network_optimizer_and_position_come_back(run, make_network, tmp_path):
    trainer = trained(run, make_network())
    save_checkpoint(trainer, tmp_path)
    other = run.trainer(make_network(), epochs=5)
    assert bits(other.network) != bits(trainer.network)

    other.add_event_handler(Events.STARTED, lambda: (restore_checkpoint(other, tmp_path), other.terminate()))
    other.run()
    assert bits(other.network) == bits(trainer.network)
    assert (other.state.epoch, other.state.iteration) == (2, trainer.state.iteration)
    assert other.state.max_epochs == 5, "the new run may ask for more epochs"
    for name, value in trainer.optimizer.state_dict()["state"].items():
        for key, tensor in value.items():
            assert torch.equal(other.optimizer.state_dict()["state"][name][key], tensor)


def test_a_course_over_all_epochs_is_not_stretched(run, make_student, tmp_path):
    save_checkpoint(trained(run, make_student()), tmp_path)
    for epochs, said in ((2, None), (5, r"max_epochs=5 differs from the 2 epochs .* rises and falls; .* max_epochs=2")):
        other = run.trainer(make_student(), epochs=epochs)
        OneCycle().attach(other)
        other.add_event_handler(Events.STARTED, lambda it=other: (restore_checkpoint(it, tmp_path), it.terminate()))
        with nullcontext() if said is None else pytest.raises(InputError, match=said):
            other.run()


def test_going_on_equals_never_having_stopped(run, make_network, tmp_path):
    whole = trained(run, make_network(), epochs=4)
    save_checkpoint(trained(run, make_network(), epochs=2), tmp_path)
    rest = run.trainer(make_network(), epochs=4)
    rest.add_event_handler(Events.STARTED, lambda: restore_checkpoint(rest, tmp_path))
    rest.run()
    assert bits(rest.network) == bits(whole.network)


def test_the_scale_of_mixed_precision_comes_back(run, make_student, tmp_path):
    trainer, other = trained(run, make_student()), run.trainer(make_student(), epochs=3)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    save_checkpoint(trainer, tmp_path)

    def restore():
        other.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        restore_checkpoint(other, tmp_path)
        other.terminate()

    other.add_event_handler(Events.STARTED, restore)
    other.run()
    assert other.scaler.get_scale() == 512.0


def test_a_students_checkpoint_holds_what_trains_and_nothing_of_the_teacher(run, make_student, tmp_path):
    folder, trainer = tmp_path / "checkpoints", trained(run, make_student())
    save_checkpoint(trainer, folder)
    (file,) = folder.iterdir()
    content = torch.load(file, weights_only=True)
    assert sorted(content["network"]) == sorted(trainer.network.trainable())


def test_the_file_is_replaced_whole_or_not_at_all(run, make_student, tmp_path, monkeypatch):
    folder, trainer = tmp_path / "checkpoints", trained(run, make_student())
    save_checkpoint(trainer, folder)
    (file,) = folder.iterdir()
    before = file.read_bytes()

    def full_disk(content, stream):
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(trainer, folder)
    assert [item.name for item in folder.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_a_damaged_checkpoint_is_told_or_was_not_needed(run, make_student, tmp_path):
    trainer = trained(run, make_student())
    save_checkpoint(trainer, tmp_path)
    file = tmp_path / "last.pt"
    whole, expected = file.read_bytes(), trainer.network.own_state()
    for place in range(0, len(whole), len(whole) // 40):
        for changed in (whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :], whole[:place]):
            file.write_bytes(changed)
            try:
                restore_checkpoint(trainer, tmp_path)
            except InputError as error:
                assert file.name in str(error)  # noqa: PT017
            else:
                assert all(torch.equal(value, expected[name]) for name, value in trainer.network.own_state().items())


@pytest.mark.parametrize("content", [None, [], {}, {"trainer": 3}, {"trainer": {}, "network": None}, {"trainer": []}])
def test_a_checkpoint_of_something_else_is_told(run, make_student, tmp_path, content):
    trainer = trained(run, make_student())
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"last\.pt' is damaged.* start a new run"):
        restore_checkpoint(trainer, tmp_path)


@pytest.mark.parametrize("part", ["trainer", "network", "optimizer"])
@pytest.mark.parametrize("value", [None, 3, "x", [1], {"a": 1}])
def test_a_checkpoint_with_an_odd_part_is_told(run, make_student, tmp_path, part, value):
    trainer = trained(run, make_student())
    save_checkpoint(trainer, tmp_path)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save(content | {part: value}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="checkpoint"):
        restore_checkpoint(trainer, tmp_path)


@pytest.mark.parametrize(
    "position", [{"iteration": -(10**9)}, {"epoch_length": -1}, {"iteration": 0.5}, {"epoch": True}]
)
def test_a_position_that_is_none_is_refused_and_not_counted_up_to(run, make_student, tmp_path, position):
    save_checkpoint(trained(run, make_student()), tmp_path)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save(content | {"trainer": content["trainer"] | position}, tmp_path / "last.pt")
    other = run.trainer(make_student(), epochs=3)
    other.add_event_handler(Events.STARTED, lambda: restore_checkpoint(other, tmp_path))
    with pytest.raises(InputError, match=r"damaged.* its position is .* start a new run"):
        other.run()
