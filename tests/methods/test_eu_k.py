"""EU-k: the last layers start anew, and what they are made of."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.methods import EUk


@pytest.mark.parametrize(("k", "layers"), [(1, {"last"}), (2, {"middle", "last"})])
def test_the_last_layers_are_new_before_the_first_step(small, k, layers):
    run = small(EUk, k=k, rate=0.0)
    after = run.run()
    for name, value in run.teacher.state_dict().items():
        assert torch.equal(value, after[name]) == (name.partition(".")[0] not in layers), name


def test_they_come_from_the_seed(small):
    first, again, other = (small(EUk, rate=0.0, options={"seed": seed}).run() for seed in (0, 0, 1))
    assert torch.equal(first["last.weight"], again["last.weight"])
    assert not torch.equal(first["last.weight"], other["last.weight"])


def test_new_statistics_are_those_of_the_retained_cases(small):
    run = small(EUk, k=3, rate=0.0, options={"retain_batch": 4})
    after = run.run()
    images = torch.stack([case["image"] for case in run.retain])
    reaching = images @ after["first.weight"].T + after["first.bias"]
    batches = torch.stack([batch.var(0) for batch in reaching.split(4)])
    torch.testing.assert_close(after["norm.running_mean"], reaching.mean(0))
    torch.testing.assert_close(after["norm.running_var"], batches.mean(0))
    assert run.method.measurements(run.trainer)["moving_statistics"]
    assert run.trainer.network.get_base_model().norm.modules_to_save["default"].momentum == 0.1


def test_they_learn_the_retained_cases(small, loss_of):
    def loss_after(epochs):
        run = small(EUk, k=2, rate=0.05, options={"epochs": epochs, "optimizer": torch.optim.AdamW})
        run.run()
        return loss_of(run.trainer.network.merged(), run.retain).item()

    assert loss_after(80) < 0.5 * loss_after(1)


def test_adapters_are_refused(small):
    with pytest.raises(InputError, match=r"EUk .* use network#trainable=all"):
        small(EUk, options={"network": {"trainable": "adapters"}}).run()


def test_a_layer_that_cannot_start_anew_is_refused_by_name(small):
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, image):
            return image * self.weight

    options = {"plain": lambda: torch.nn.Sequential(OrderedDict(only=torch.nn.Linear(4, 3), scale=Scale()))}
    with pytest.raises(InputError, match=r"scale cannot .* Scale has no reset_parameters"):
        small(EUk, k=1, options=options).run()


def test_statistics_that_no_batch_can_show_are_refused(small):
    run = small(EUk, k=3, options={"retain_batch": 4})
    del run.retain[1:]
    with pytest.raises(InputError, match=r"EUk measures the statistics .* retain more cases, set batch_size=1"):
        run.run()
