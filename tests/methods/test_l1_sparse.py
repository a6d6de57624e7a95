"""l1-sparse: the penalty, how it fades, and what is left without it."""

from __future__ import annotations

import pytest
import torch

from mu_monai.engine.schedule import spans
from mu_monai.errors import InputError
from mu_monai.methods import L1Sparse, RetainFineTuning


def norm(network):
    return torch.stack([weight.abs().sum() for weight in network.parameters()]).sum()


def test_without_the_penalty_it_is_retain_fine_tuning(small):
    options = {"epochs": 3}
    sparse, plain = (small(*kind, options=options).run() for kind in ((L1Sparse, 0.1), (RetainFineTuning, 0.1)))
    none = small(L1Sparse, gamma=0.0, options=options).run()
    assert all(torch.equal(none[name], plain[name]) for name in plain)
    assert not all(torch.equal(sparse[name], plain[name]) for name in plain)


def test_the_first_step_has_the_whole_penalty(small, loss_of):
    run = small(L1Sparse, gamma=0.1, lr_schedule="constant", options={"epochs": 5, "retain_batch": 8})
    expected = run.stepped(lambda network: loss_of(network, run.retain) + 0.1 * norm(network), 0.1)
    run.trainer.state.max_epochs = 5
    states = []
    run.trainer.add_event_handler("EPOCH_COMPLETED", lambda engine: states.append(engine.network.merged().state_dict()))
    run.run()
    torch.testing.assert_close(states[0], expected)


def test_it_fades_step_by_step(small):
    run = small(L1Sparse, gamma=0.1, rate=0.0, options={"epochs": 2, "retain_batch": 4})
    seen = []
    run.trainer.add_event_handler("ITERATION_COMPLETED", lambda engine: seen.append(engine.state.output["loss"].item()))
    run.run()
    falls = [seen[0] - seen[2], seen[1] - seen[3]]  # the same batches an epoch later, with unchanged weights
    assert falls == pytest.approx([0.1 * 0.5 * norm(run.teacher).item()] * 2, rel=1e-5)


def test_weights_become_small(small):
    options = {"epochs": 40, "optimizer": torch.optim.AdamW}
    none, strong = (small(L1Sparse, 0.01, gamma=gamma, options=options) for gamma in (0.0, 0.5))
    none.run(), strong.run()
    assert norm(strong.trainer.network.merged()) < 0.7 * norm(none.trainer.network.merged())


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match="method#gamma=-1 is not allowed; use a number of 0 or more"):
        L1Sparse(forget_loader=[], gamma=-1)


def test_the_penalty_fades_over_all_epochs(small):
    run = small(L1Sparse, options={"epochs": 2})
    run.run()
    assert spans(run.trainer) == "the penalty fades"
