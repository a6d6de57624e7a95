"""Every method trains in mixed precision: to nearly the same forget loss, with weights in 32 bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from mu_monai.adapters.milestones import write_milestone
from mu_monai.engine import MixedPrecision
from mu_monai.engine.mixed_precision import precision_of
from mu_monai.methods import METHODS
from tests.methods.conftest import Small, small_cases, still_network

# Composition starts from two finished runs, and trains as retain fine-tuning does.
ALL = [name for name in METHODS if name != "composition"]
SETTINGS: dict[str, dict[str, Any]] = {
    "erase-to-retain": {"forget_terms": {"uniform": 1.0, "repulsion": 0.1}, "feature_layer": "5"},
    "calibrated-erase-to-retain": {"settle_steps": 1},
    "perturbed-sign-gradient": {"steps": 2, "bisections": 1},
    "scrub": {"msteps": 1},
    "unsir": {"noise_cases": 2, "noise_steps": 2},
    "undo": {"unlearn_steps": 2},
    "cf-k": {"k": 2},
    "eu-k": {"k": 2},
    "shrink-and-restore": {"damage": 0.1, "probe_steps": 1},
}


def finished(name: str, folder: Path, enabled: bool) -> Small:
    settings = {"milestones": str(folder)} if name == "rewind" else {}
    settings |= {"unseen_loader": DataLoader(small_cases("validation", 4), batch_size=4), **SETTINGS.get(name, {})}
    options = {"plain": still_network, "first": [MixedPrecision(enabled)], "epochs": 2, "retain_batch": 4, "rate": 0.01}
    job = Small(METHODS[name], settings, options)
    job.trainer.network.head = "6"
    job.run()
    return job


def forget_loss(job: Small) -> float:
    images, labels = (torch.stack([case[key] for case in job.forget]) for key in ("image", "label"))
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(job.trainer.network.eval()(images), labels).item()


@pytest.fixture(scope="module")
def milestones(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("milestones")
    write_milestone(folder, 1, still_network().state_dict(), memorized=0.5)
    return folder


@pytest.mark.parametrize("name", ALL)
def test_it_ends_near_the_run_in_full_precision(name, milestones):
    full, mixed = (finished(name, milestones, enabled) for enabled in (False, True))
    assert (precision_of(full.trainer), precision_of(mixed.trainer)) == ("fp32", "bf16")
    assert {weight.dtype for weight in mixed.trainer.network.parameters()} == {torch.float32}
    assert forget_loss(mixed) == pytest.approx(forget_loss(full), rel=0.05)
