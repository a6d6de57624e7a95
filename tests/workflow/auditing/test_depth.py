"""Barriers between the models of runs, as their bundles read them."""

import pytest
import torch
from torch.utils.data import DataLoader

from mu_monai.workflow.auditing.depth import measure_barriers
from mu_monai.workflow.auditing.evaluation import open_evaluation
from tests.workflow.auditing.test_distances import BUNDLES, other_weights


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_student_that_is_the_original_has_no_barrier_and_the_same_seed_gives_the_same_numbers(
    bundle, teachers, tmp_path
):
    run = teachers[bundle]
    weights = {"teacher": run, "student": run, "retrained": other_weights(run, tmp_path)}
    evaluation = open_evaluation(run, weights, device="cpu")
    torch.manual_seed(3)
    state = torch.get_rng_state()
    found = measure_barriers(evaluation)
    assert found["student"] == pytest.approx(0, abs=1e-6)
    assert found["retrained"] != pytest.approx(0, abs=1e-6)
    assert measure_barriers(evaluation) == found
    assert torch.equal(torch.get_rng_state(), state)


def test_without_retained_cases_it_is_measured_on_validation_and_without_an_original_not_at_all(
    teachers, tmp_path, monkeypatch
):
    run = teachers["isic"]
    weights = {"teacher": run, "retrained": other_weights(run, tmp_path)}
    evaluation = open_evaluation(run, weights, device="cpu")
    retained = measure_barriers(evaluation)["retrained"]
    object.__setattr__(evaluation, "retain_batches", DataLoader([]))
    assert measure_barriers(evaluation)["retrained"] not in (0, retained)
    monkeypatch.setattr(evaluation.scorer, "loaders", evaluation.scorer.loaders | {"validation": DataLoader([])})
    assert measure_barriers(evaluation) == {}
    assert measure_barriers(open_evaluation(run, {"student": run}, device="cpu")) == {}
