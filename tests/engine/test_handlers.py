"""Seeds per epoch, the stop at NaN, and the bar."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.transforms import Compose, RandGaussianNoised, RandRotate90d
from torch import nn

from mu_monai.adapters import weights_sha256
from mu_monai.engine import Progress, Reseed, StopOnNonFinite, seeded
from mu_monai.keys import LOSS


def augmented_epochs(dataset_kind, make_cases, *, seed: int, epochs: int, start: int = 0) -> list[torch.Tensor]:
    """The batches that an engine sees, epoch by epoch, beginning after epoch `start`."""
    transform = Compose([RandRotate90d("image", prob=0.5), RandGaussianNoised("image", prob=1.0)])
    loader = DataLoader(dataset_kind(make_cases("retain", 6), transform), batch_size=2, shuffle=True)
    seen: list[list[torch.Tensor]] = []
    engine = Engine(lambda engine, batch: seen[-1].append(torch.as_tensor(batch["image"])))
    Reseed(seed).attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append([]))
    engine.add_event_handler(Events.STARTED, lambda: setattr(engine.state, "epoch", start))
    torch.manual_seed(torch.seed())  # whatever happened before
    engine.run(loader, max_epochs=epochs)
    return [torch.cat(batches) for batches in seen]


def quiet_cache(data, transform) -> CacheDataset:
    return CacheDataset(data, transform, progress=False)


@pytest.mark.parametrize("kind", [Dataset, quiet_cache], ids=["plain", "cached"])
def test_random_transforms_and_order_repeat_with_the_seed(kind, make_cases):
    one = augmented_epochs(kind, make_cases, seed=5, epochs=3)
    same = augmented_epochs(kind, make_cases, seed=5, epochs=3)
    other = augmented_epochs(kind, make_cases, seed=50, epochs=3)
    for a, b, c in zip(one, same, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert not torch.equal(one[0], one[1]), "epochs differ among themselves"


def test_a_run_that_goes_on_after_an_epoch_sees_what_an_uninterrupted_one_sees(make_cases):
    whole = augmented_epochs(Dataset, make_cases, seed=5, epochs=3)
    rest = augmented_epochs(Dataset, make_cases, seed=5, epochs=3, start=2)
    assert len(rest) == 1
    assert torch.equal(rest[0], whole[2])


@pytest.mark.parametrize("draw", [lambda: torch.rand(3).tolist(), lambda: np.random.rand(3).tolist(), random.random])
def test_every_generator_is_seeded(draw):
    values = []
    engine = Engine(lambda engine, batch: values.append(draw()))
    Reseed(1).attach(engine)
    engine.run([0], max_epochs=2)
    engine.run([0], max_epochs=2)
    assert values[0] == values[2]
    assert values[1] == values[3]
    assert values[0] != values[1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_step(run, make_student, at, bad, epoch):
    digests = []

    def spoil(engine):
        digests.append(weights_sha256(engine.network.state_dict()))
        engine.state.output[LOSS] = engine.state.output[LOSS] * bad

    student = make_student()
    handlers = [at(IterationEvents.LOSS_COMPLETED, spoil, epoch), StopOnNonFinite()]
    trainer = run.trainer(student, handlers=handlers)
    with pytest.raises(
        FloatingPointError, match=rf"the loss is -?(nan|inf) in epoch {epoch}, iteration {2 * epoch - 1};"
    ):
        trainer.run()
    assert len(digests) == 1
    assert weights_sha256(student.state_dict()) == digests[0]


def test_a_finite_loss_goes_on(run, make_student):
    trainer = run.trainer(make_student(), handlers=[StopOnNonFinite()])
    trainer.run()
    assert trainer.state.epoch == 2


def trainer_with_bar(run, network: nn.Module, *, decollate: bool, **options) -> SupervisedTrainer:
    trainer = run.trainer(network, handlers=[])
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=trainer.data_loader,
        network=network,
        optimizer=trainer.optimizer,
        loss_function=trainer.loss_function,
        train_handlers=[Progress(**options)],
        decollate=decollate,
    )


def test_without_a_terminal_there_is_no_bar(run, make_student, capsys):
    trainer_with_bar(run, make_student(), decollate=False).run()
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_quiet_means_no_bar_on_a_terminal(run, make_student, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    trainer_with_bar(run, make_student(), decollate=False, quiet=True).run()
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize("decollate", [True, False])
def test_the_bar_on_a_terminal_shows_the_loss(run, make_student, capsys, monkeypatch, decollate):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    trainer_with_bar(run, make_student(), decollate=decollate).run()
    shown = capsys.readouterr().err
    assert "epoch" in shown
    assert "loss=" in shown


def test_what_is_drawn_before_the_first_epoch_comes_from_the_seed_and_leaves_no_trace(make_cases):
    dataset = Dataset(make_cases("retain", 1), Compose([RandGaussianNoised("image", prob=1.0)]))

    def draw():
        with seeded(dataset):
            return torch.rand(3), torch.as_tensor(dataset[0]["image"])

    torch.manual_seed(3)
    first = draw()
    then = torch.rand(3)
    again = draw()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    torch.manual_seed(3)
    assert torch.equal(torch.rand(3), then)
