"""NoT: which layers change their sign, and what follows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from monai.inferers import SimpleInferer
from monai.networks import nets
from torch import nn

from mu_monai.adapters import Student
from mu_monai.errors import InputError
from mu_monai.methods import Negation


def acting_on(student, **settings):
    """The method, and an engine with a student and a batch of its own."""
    method = Negation(forget_loader=[], **settings)
    method.forget_batch = lambda engine: (torch.zeros(1, 1, 16, 16),)
    return method, SimpleNamespace(network=student, inferer=SimpleInferer())


@pytest.mark.parametrize(("layers", "names"), [(1, ["first"]), (2, ["first", "middle"])])
def test_the_first_layers_change_their_sign_and_no_others(small, layers, names):
    run = small(Negation, rate=0.0, layers=layers)
    after = run.run()
    for name, value in run.teacher.state_dict().items():
        sign = -1 if name.partition(".")[0] in names else 1
        assert torch.equal(after[name], sign * value), name
    assert run.method.measurements(run.trainer)["damage"] == {"layers": names}


def test_the_step_after_is_supervised(small, loss_of):
    run = small(Negation, lr_schedule="constant")
    with torch.no_grad():
        for weight in run.teacher.first.parameters():
            weight.neg_()
    torch.testing.assert_close(run.run(), run.stepped(lambda network: loss_of(network, run.retain), 0.1))


def test_adapters_are_refused(small):
    with pytest.raises(InputError, match=r"not a low-rank change, .* use network#trainable=all"):
        small(Negation, options={"network": {"trainable": "adapters"}}).run()


def test_more_layers_than_there_are_are_refused(small):
    with pytest.raises(InputError, match=r"method#layers=4 is not allowed for a network with 3 layers; use 1 to 3"):
        small(Negation, layers=4).run()


@pytest.mark.parametrize("layers", [0, 1.5, True])
def test_no_number_of_layers_is_refused(layers):
    with pytest.raises(InputError, match=rf"method#layers={layers} is not allowed"):
        Negation(forget_loader=[], layers=layers)


FIRST = {
    "residual units": (
        nets.UNet(2, 1, 1, (4, 8), (2,), num_res_units=2),
        ["model.0.residual", "model.0.conv.unit0.conv"],
    ),
    "plain": (nets.UNet(2, 1, 1, (4, 8), (2,), num_res_units=0), ["model.0.conv"]),
    "residual blocks": (
        nets.DynUNet(2, 1, 1, [3] * 3, [1, 2, 2], [2] * 2, filters=[4, 8, 8], res_block=True),
        ["input_block.conv1.conv", "input_block.conv3.conv"],
    ),
    "one convolution": (
        nets.SegResNet(2, 8, 1, 1, blocks_down=(1, 1), blocks_up=(1,), act=("RELU", {"inplace": True})),
        ["convInit.conv"],
    ),
}


@pytest.mark.parametrize(("network", "names"), FIRST.values(), ids=FIRST)
def test_every_path_that_the_image_takes_is_the_first_layer(network, names):
    method, engine = acting_on(Student(network.eval(), trainable="all"))
    assert sorted(method.damage(engine, 0)["layers"]) == sorted(names)


class Adding(nn.Module):
    """A network that adds to its features in place, so that they stay where they are in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second, self.head = (nn.Conv2d(1, 1, 1) for _ in range(4))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        features += self.first(features)
        features += self.second(features)
        return self.head(features)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_features_that_change_in_place_are_other_inputs(layers):
    method, engine = acting_on(Student(Adding().eval(), trainable="all"), layers=layers)
    assert method.damage(engine, 0)["layers"] == ["stem", "first", "second", "head"][:layers]


def test_the_second_layer_of_a_residual_unit_comes_after_all_paths_of_the_first():
    network = nets.UNet(2, 1, 1, (4, 8), (2,), num_res_units=2)
    method, engine = acting_on(Student(network.eval(), trainable="all"), layers=2)
    assert method.damage(engine, 0)["layers"][2:] == ["model.0.conv.unit1.conv"]


def test_the_first_layer_may_be_in_a_block_that_is_copied_whole():
    network = nets.ViT(
        1, 16, 8, hidden_size=8, mlp_dim=8, num_layers=1, num_heads=2, classification=True, spatial_dims=2
    )
    student = Student(network.eval(), trainable="all")
    method, engine = acting_on(student, task="classification")
    before = student.merged().state_dict()
    assert method.damage(engine, 0) == {"layers": ["patch_embedding.patch_embeddings"]}
    after = student.merged().state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"patch_embedding.patch_embeddings.{part}" for part in ("weight", "bias")}
    assert all(torch.equal(after[name], -before[name]) for name in changed)
