"""A run folder with merged weights and adapters is a copy of the original model."""

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from mu_monai.adapters import Student
from mu_monai.attacks import AdapterRemoval, has_adapter


@pytest.fixture
def student():
    torch.manual_seed(0)
    network = UNet(2, 1, 1, channels=(4, 8), strides=(2,), num_res_units=2, norm="batch").eval()
    student = Student(network, scope="all", r=2)
    student.add_restoration()
    for name, parameter in student.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.1)
    return student


def test_the_original_comes_back_up_to_rounding_without_a_file_of_the_teacher(made, student, tmp_path):
    student.save(tmp_path / "adapter")
    assert has_adapter(tmp_path)
    released, teacher = student.merged(), student.reverted().state_dict()
    attacked = AdapterRemoval()(released, made.data(tmp_path)).state_dict()
    assert not torch.allclose(
        released.state_dict()["model.0.conv.unit0.conv.weight"], attacked["model.0.conv.unit0.conv.weight"], atol=1e-3
    )
    for name, value in teacher.items():
        torch.testing.assert_close(attacked[name], value, rtol=0, atol=1e-6)


def test_the_folder_stays_as_it_is(made, student, tmp_path):
    student.save(tmp_path / "adapter")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    AdapterRemoval()(student.merged(), made.data(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("held", [True, False])
def test_of_a_released_folder_nothing_comes_back(made, student, tmp_path, held):
    released = student.merged()
    attacked = AdapterRemoval()(released, made.data(tmp_path if held else None))
    assert not has_adapter(tmp_path if held else None)
    assert all(torch.equal(value, attacked.state_dict()[name]) for name, value in released.state_dict().items())


def test_copies_of_all_weights_are_no_adapters(tmp_path):
    torch.manual_seed(0)
    student = Student(UNet(2, 1, 1, channels=(4, 8), strides=(2,)).eval(), trainable="all")
    student.save(tmp_path / "adapter")
    assert not has_adapter(tmp_path)
