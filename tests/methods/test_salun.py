"""SalUn: which weights move, and that the others do not."""

from __future__ import annotations

import math

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.methods import RandomLabels, SalUn

ADAM = {"optimizer": torch.optim.AdamW, "epochs": 3}  # momentum and weight decay would move what has no gradient


def test_with_all_weights_it_is_random_labels(small):
    every, plain = small(SalUn, share=1.0, options=ADAM).run(), small(RandomLabels, options=ADAM).run()
    assert all(torch.equal(every[name], plain[name]) for name in plain)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("batch", [4, 3])
def test_the_weights_with_the_largest_gradients_of_the_forget_loss_move_and_no_others(small, loss_of, share, batch):
    run = small(SalUn, rate=0.01, share=share, options=ADAM | {"forget_batch": batch})
    gradients = torch.autograd.grad(loss_of(run.teacher, run.forget), list(run.teacher.parameters()))
    sizes = torch.cat([gradient.abs().flatten() for gradient in gradients])
    count = math.ceil(share * len(sizes))
    salient = sizes >= sizes.sort(descending=True).values[count - 1]
    after = run.run()
    moved = torch.cat([(after[name] != weight).flatten() for name, weight in run.teacher.named_parameters()])
    assert torch.equal(moved, salient)
    assert run.method.measurements(run.trainer)["salient_weights"] == count == int(salient.sum())


def test_adapters_are_refused(small):
    with pytest.raises(InputError, match=r"SalUn .* use network#trainable=all"):
        small(SalUn, options={"network": {"trainable": "adapters"}}).run()


@pytest.mark.parametrize("share", [0, 1.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match=rf"method#share={share} is not allowed; use a number in \(0, 1\]"):
        SalUn(forget_loader=[], share=share)
