"""Weight distortion: how strong the noise is, where it comes from, and what follows."""

from __future__ import annotations

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.methods import RetainFineTuning, WeightDistortion


def _noise(run):
    after = run.run()
    return torch.cat([(after[name] - weight).flatten() for name, weight in run.teacher.named_parameters()])


def test_every_weight_gets_noise_of_the_same_strength(small):
    noise = _noise(small(WeightDistortion, rate=0.0, std=0.5))
    assert (noise != 0).all()
    assert noise.std().item() == pytest.approx(0.5, rel=0.15)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.12)


def test_it_comes_from_the_seed_alone(small):
    first, again, other = (_noise(small(WeightDistortion, rate=0.0, options={"seed": seed})) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    twice = _noise(small(WeightDistortion, rate=0.0, std=0.04))
    torch.testing.assert_close(twice, 2 * first, rtol=1e-3, atol=1e-6)


def test_without_noise_it_is_retain_fine_tuning(small):
    torch.testing.assert_close(small(WeightDistortion, std=0.0).run(), small(RetainFineTuning).run())


def test_the_step_after_the_noise_is_supervised(small, loss_of):
    noisy = small(WeightDistortion, rate=0.0)
    noisy.teacher.load_state_dict(noisy.run())
    run = small(WeightDistortion, lr_schedule="constant")
    torch.testing.assert_close(run.run(), noisy.stepped(lambda network: loss_of(network, run.retain), 0.1))
    assert run.method.measurements(run.trainer)["damage"] == {"std": 0.02}


def test_adapters_are_refused(small):
    with pytest.raises(InputError, match=r"not a low-rank change, .* use network#trainable=all"):
        small(WeightDistortion, options={"network": {"trainable": "adapters"}}).run()


def test_negative_noise_is_refused():
    with pytest.raises(InputError, match=r"method#std=-0.1 is not allowed; use a number of 0 or more"):
        WeightDistortion(forget_loader=[], std=-0.1)
