"""Records of distances: what they are compared with, where to be, and the jackknife."""

import math

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import cka_interval, distance_records
from mu_monai.metrics import linear_cka

NOTHING = pd.DataFrame()


def answers(values, subset="forget"):
    """A table of three patients with one case each, whose distances are `value`, and 0.1 to each side of it."""
    return pd.DataFrame(
        [
            {"model": model, "against": against, "subset": subset, "patient_id": f"p{case}", "case_id": f"c{case}"}
            | {"js": value + 0.1 * (case - 1), "activation_distance": 2 * value}
            for (model, against), value in values.items()
            for case in range(3)
        ]
    )


def only(records, metric, model="student"):
    (record,) = [record for record in records if (record.metric, record.model) == (metric, model)]
    return record


def test_a_student_is_compared_with_its_teacher_patient_by_patient():
    table = answers({("teacher", "retrained"): 0.5, ("student", "retrained"): 0.2})
    records = distance_records(table, NOTHING, NOTHING)
    record = only(records, "js")
    assert (record.subset, record.reference, record.n_patients, record.n_cases) == ("forget", "teacher/forget", 3, 3)
    assert (record.value, record.gap) == pytest.approx((0.2, -0.3))
    assert (record.gap_low, record.gap_high) == pytest.approx((-0.3, -0.3))
    assert record.low < record.value < record.high
    assert math.isnan(record.ideal)
    assert only(records, "js", "teacher").reference == ""
    assert only(records, "activation_distance").value == pytest.approx(0.4)


def test_other_seeds_of_the_retrained_model_say_where_to_be():
    seeds = {("retrained-2", "retrained"): 0.2, ("retrained-3", "retrained"): 0.4}
    records = distance_records(answers({("student", "retrained"): 0.5, **seeds}), NOTHING, NOTHING)
    assert only(records, "js").ideal == pytest.approx(0.3)
    assert {record.model for record in records} == {"student"}


def test_the_distance_to_the_teacher_has_a_scale_and_no_ideal():
    records = distance_records(answers({("retrained", "teacher"): 0.5, ("student", "teacher"): 0.4}), NOTHING, NOTHING)
    record = only(records, "js_to_teacher")
    assert record.reference == "retrained/forget"
    assert record.gap == pytest.approx(-0.1)
    assert math.isnan(record.ideal)


def test_zrf_should_be_that_of_the_retrained_model():
    values = {("student", "random"): 0.2, ("retrained", "random"): 0.4}
    record = only(distance_records(answers(values), NOTHING, NOTHING), "zrf")
    assert record.value == pytest.approx(1 - 0.2 / math.log(2))
    assert record.ideal == pytest.approx(1 - 0.4 / math.log(2))
    assert record.gap == pytest.approx(0.2 / math.log(2))
    assert record.reference == "retrained/forget"


def test_layers_keep_their_intervals_and_unknown_ones_are_left_out():
    row = {"against": "retrained", "subset": "test", "low": 0.7, "high": 0.9, "n_patients": 5, "n_cases": 9}
    layers = pd.DataFrame(
        [
            {"model": "teacher", "layer": "head", "cka": 0.75, **row},
            {"model": "student", "layer": "head", "cka": 0.8, **row},
            {"model": "student", "layer": "dead", "cka": math.nan, **row},
        ]
    )
    records = distance_records(NOTHING, layers, NOTHING)
    record = only(records, "cka[head]")
    assert (record.value, record.low, record.high, record.n_patients, record.n_cases) == (0.8, 0.7, 0.9, 5, 9)
    assert (record.reference, record.gap) == ("teacher/test", pytest.approx(0.05))
    assert len(records) == 2


def test_weights_of_all_layers_add_up_in_squares():
    rows = [("a", "weights", 3.0, 6.0), ("b", "weights", 4.0, 8.0), ("b", "statistics", 7.0, 9.0)]
    weights = pd.DataFrame(rows, columns=["layer", "kind", "distance", "norm"])
    records = distance_records(NOTHING, NOTHING, weights.assign(model="student", against="teacher"))
    assert only(records, "weight_distance_to_teacher").value == pytest.approx(5)
    assert only(records, "weight_distance_relative_to_teacher").value == pytest.approx(0.5)
    assert only(records, "statistics_distance_to_teacher").value == pytest.approx(7)
    assert {record.subset for record in records} == {""}


def test_nothing_measured_is_nothing_recorded():
    assert distance_records(NOTHING, NOTHING, NOTHING) == []


def noisy(seed=0, cases=30, noise=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cases, 4))
    return x, x + noise * rng.normal(size=(cases, 4))


def test_the_jackknife_by_hand():
    x, y = noisy()
    patients = [f"p{case // 2}" for case in range(30)]
    found = cka_interval(x, y, patients)
    left = [linear_cka(np.delete(x, [2 * p, 2 * p + 1], 0), np.delete(y, [2 * p, 2 * p + 1], 0)) for p in range(15)]
    half = 2.1448 * math.sqrt(14 / 15 * np.square(left - np.mean(left)).sum())
    assert found.value == pytest.approx(linear_cka(x, y))
    assert (found.low, found.high) == pytest.approx((found.value - half, min(found.value + half, 1)), abs=1e-4)
    assert (found.n_patients, found.n_cases) == (15, 30)


def test_the_interval_holds_the_truth_most_of_the_time():
    x, y = noisy(cases=20_000)
    truth = linear_cka(x[:3000], y[:3000])
    intervals = [cka_interval(*noisy(seed), range(30)) for seed in range(1, 101)]
    assert sum(found.low <= truth <= found.high for found in intervals) >= 85


def test_many_patients_are_left_out_in_groups():
    x, y = noisy(cases=100)
    found = cka_interval(x, y, range(100))
    assert found.n_patients == 100
    assert found.low < found.value < found.high


@pytest.mark.parametrize("patients", ["aaaaaa", "abc"])
def test_without_patients_or_cases_there_is_no_interval(patients):
    found = cka_interval(*noisy(cases=len(patients)), list(patients))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.value) == (len(patients) < 4)
