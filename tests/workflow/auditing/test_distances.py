"""Distances of the models of runs, as their bundles read them."""

import pytest
import torch

from mu_monai.audit import distance_records
from mu_monai.workflow.auditing.distances import measure_distances, measure_perturbed
from mu_monai.workflow.auditing.evaluation import open_evaluation

BUNDLES = ["isic", "isic_classification", "volume3d"]


def other_weights(run, folder):
    """The weights of a run, each a little elsewhere."""
    torch.manual_seed(0)
    state = torch.load(run / "model.pt", weights_only=True)
    moved = {k: v + 0.1 * torch.randn_like(v).abs() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(moved, folder / "model.pt")
    return folder / "model.pt"


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_student_that_is_its_teacher_is_at_no_distance_from_it(bundle, teachers, tmp_path):
    run = teachers[bundle]
    weights = {"teacher": run, "student": run, "retrained": other_weights(run, tmp_path)}
    found = measure_distances(open_evaluation(run, weights, device="cpu"))
    own = found.cases[(found.cases["model"] == "student") & (found.cases["against"] == "teacher")]
    assert set(own["subset"]) == {"retain", "forget", "validation", "test"}
    assert not own[["js", "activation_distance"]].any(axis=None)
    apart = found.cases[found.cases["against"] == "retrained"]
    assert (apart["js"] > 0).all()
    assert not found.weights.query("model == 'student' and against == 'teacher'")["distance"].any()
    assert set(found.layers["subset"]) == {"forget", "test"}

    records = {(r.model, r.metric, r.subset): r for r in distance_records(found.cases, found.layers, found.weights)}
    assert records["student", "js", "forget"].gap == 0
    assert records["student", "js", "forget"].value == records["retrained", "js_to_teacher", "forget"].value
    assert records["student", "zrf", "forget"].value == records["teacher", "zrf", "forget"].value
    assert records["student", "weight_distance_to_teacher", ""].value == 0
    kept = [r.value for (model, metric, _), r in records.items() if model == "student" and "cka_to_teacher" in metric]
    assert kept == pytest.approx([1] * len(kept))


def test_other_seeds_of_the_retrained_model_are_the_ideal(teachers, tmp_path):
    run = teachers["isic"]
    weights = {"student": run, "retrained": other_weights(run, tmp_path), "retrained-2": run}
    found = measure_distances(open_evaluation(run, weights, device="cpu"))
    records = distance_records(found.cases, found.layers, found.weights)
    compared = [r for r in records if r.model == "student" and not r.metric.startswith(("zrf", "cka"))]
    assert {r.metric for r in compared} >= {"js", "activation_distance", "weight_distance"}
    assert all(r.ideal == r.value for r in compared)


def test_a_model_alone_is_only_compared_with_a_random_one(teachers):
    run = teachers["isic"]
    found = measure_distances(open_evaluation(run, {"student": run}, device="cpu"))
    assert found.layers.empty
    assert found.weights.empty
    assert {r.metric for r in distance_records(found.cases, found.layers, found.weights)} == {"zrf"}


def test_the_seed_is_that_of_the_random_network(teachers):
    run = teachers["isic"]
    evaluation = open_evaluation(run, {"student": run}, device="cpu")
    one, same, other = (measure_distances(evaluation, seed=seed).cases for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one["js"].equals(other["js"])


@pytest.mark.parametrize("bundle", BUNDLES)
def test_residual_knowledge_is_measured_on_forgotten_and_unseen_cases(bundle, teachers, tmp_path):
    run = teachers[bundle]
    weights = {"teacher": run, "student": run, "retrained": other_weights(run, tmp_path)}
    found = measure_perturbed(open_evaluation(run, weights, device="cpu"))
    assert set(found["subset"]) == {"forget", "test"}
    assert set(found["model"]) == {"teacher", "student", "retrained"}
    assert found["right"].between(0, 1).all()
    of_each = found.pivot_table(index="case_id", columns="model", values="right")
    assert (of_each["teacher"] == of_each["student"]).all()
