import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch import nn

from mu_monai.engine import StartFrom
from mu_monai.errors import InputError


@pytest.fixture
def started(tmp_path, make_unet, make_cases):
    """Gives a network the weights of another one at the start of a run of no epochs."""

    def start(network, other):
        torch.save(other.state_dict(), tmp_path / "other.pt")
        SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=DataLoader(make_cases("retain", 2), batch_size=2),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
            loss_function=nn.BCEWithLogitsLoss(),
            train_handlers=[StartFrom(tmp_path / "other.pt")],
            decollate=False,
        ).run()
        return network

    return start


def test_a_network_starts_from_other_weights(started, make_unet):
    network, other = started(make_unet(), make_unet(1)), make_unet(1)
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), other.parameters(), strict=True))


def test_a_student_starts_from_other_weights_and_keeps_its_teacher(started, make_student, make_unet):
    student, image = make_student(trainable="all", scope="all"), torch.ones(1, 1, 16, 16)
    teacher = student.reverted()(image)
    started(student, make_unet(1))
    assert torch.allclose(student.eval()(image), make_unet(1)(image))
    assert torch.equal(student.reverted()(image), teacher)


def test_adapters_cannot_take_other_weights(started, make_student, make_unet):
    with pytest.raises(InputError, match="cannot be taken by low-rank adapters"):
        started(make_student(), make_unet(1))
