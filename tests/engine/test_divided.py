"""The batches of one of several processes, and what they count."""

import pytest
import torch
from monai.data import Dataset
from monai.engines import SupervisedTrainer

from mu_monai.engine import DividedLoader, divided
from mu_monai.engine.divided import remember_weights, weighted
from mu_monai.errors import InputError, RunError


@pytest.fixture
def loaders(monkeypatch):
    """Those of all processes of a run."""

    def make(cases: int, processes: int, batch_size: int, **options) -> list[DividedLoader]:
        monkeypatch.setattr(divided, "processes", lambda: processes)
        data = Dataset([{"image": torch.tensor([float(case)]), "case": case} for case in range(cases)])
        found = []
        for number in range(processes):
            monkeypatch.setattr(divided, "number", lambda number=number: number)
            found.append(DividedLoader(data, batch_size=batch_size, **options))
        return found

    return make


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("cases", [1, 2, 5, 7, 8, 12])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_mean_over_processes_is_that_over_the_cases_of_a_batch(loaders, cases, processes, batch_size):
    own = loaders(cases, processes, batch_size)
    steps = -(-cases // (processes * batch_size))
    assert [len(loader) for loader in own] == [steps] * processes
    seen = []
    for batches in zip(*own, strict=True):
        real = [case for batch in batches if batch["process_weight"] for case in batch["case"].tolist()]
        mean = sum(batch["process_weight"] * batch["image"].mean().item() for batch in batches) / processes
        assert mean == pytest.approx(sum(real) / len(real))
        seen += real
    assert sorted(seen) == list(range(cases))


def test_all_draw_the_same_order_anew_in_every_epoch(loaders):
    own = loaders(8, 2, 2, shuffle=True)
    orders = []
    for epoch in (1, 2):
        for loader in own:
            loader.sampler.set_epoch(epoch)
        orders.append([case for loader in own for batch in loader for case in batch["case"].tolist()])
        assert sorted(orders[-1]) == list(range(8))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("option", [{"sampler": [0]}, {"batch_sampler": [[0]]}, {"drop_last": True}])
def test_a_loader_that_draws_its_own_way_is_refused(option):
    with pytest.raises(InputError, match=f"a loader with {next(iter(option))} cannot be divided among processes"):
        DividedLoader([1, 2], **option)


def test_a_gradient_counts_what_its_batch_does():
    network = torch.nn.Linear(1, 1)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1),
        loss_function=torch.nn.MSELoss(),
    )
    image = torch.ones(2, 1)
    assert weighted(trainer, image, "as it is") == "as it is"  # in one process
    remember_weights(trainer)
    slopes = {}
    for weight in (0.0, 0.5, 1.0):
        batch = {"image": torch.ones(2, 1), "label": torch.zeros(2, 1), "process_weight": weight}
        image, _ = trainer.prepare_batch(batch, torch.device("cpu"), False)
        network.zero_grad()
        (answer,) = weighted(trainer, image, [network(image)])
        answer.sum().backward()
        slopes[weight] = network.weight.grad.item()
    assert slopes == {0.0: 0.0, 0.5: 1.0, 1.0: 2.0}
    with pytest.raises(RunError, match="images that are not those of one batch"):
        weighted(trainer, torch.ones(2, 1), network(torch.ones(2, 1)))
