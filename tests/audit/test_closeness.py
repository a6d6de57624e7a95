"""Average gap, ToW and KLoM as records: by hand, against a slow bootstrap, and where they are refused."""

import math

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import closeness_records, klom_note, klom_records
from mu_monai.errors import InputError
from mu_monai.metrics import auc


def scores(model, *, forget, retain=(0.9, 0.9, 0.8), test=(0.6, 0.5, 0.4), metric="dice"):
    groups = {"forget": forget, "retain": retain, "test": test}
    return pd.DataFrame(
        [
            {"model": model, "subset": subset, "patient_id": f"{subset}{n}", "case_id": f"{subset}{n}"}
            | {metric: value, "loss": 1 - value}
            for subset, values in groups.items()
            for n, value in enumerate(values)
        ]
    )


TEACHER, RETRAINED = scores("teacher", forget=(0.9, 0.8)), scores("retrained", forget=(0.6, 0.5))


def by_metric(records, model="student"):
    return {record.metric: record for record in records if record.model == model}


def test_by_hand():
    student = scores("student", forget=(0.7, 0.6), retain=(0.8, 0.8, 0.7))
    found = by_metric(closeness_records(pd.concat([TEACHER, student, RETRAINED])))
    gap_auc = auc([0.7, 0.6], [0.6, 0.5, 0.4]) - auc([0.6, 0.5], [0.6, 0.5, 0.4])
    assert found["average_gap"].value == pytest.approx((0.1 + 0.1 + 0 + gap_auc) / 4)
    assert found["tow"].value == pytest.approx(0.9 * 0.9)
    assert found["tow_mia"].value == pytest.approx((1 - gap_auc) * 0.9)
    tow = found["tow"]
    assert (tow.subset, tow.reference, tow.ideal, tow.n_patients, tow.n_cases) == ("", "teacher", 1.0, 8, 8)
    assert tow.gap == pytest.approx(0.9 * 0.9 - 0.7)
    assert found["average_gap"].gap < 0


def test_a_student_that_is_the_retrained_model_is_at_the_ideal():
    found = by_metric(closeness_records(pd.concat([TEACHER, RETRAINED, RETRAINED.assign(model="student")])))
    for record in found.values():
        assert record.value == record.low == record.high == record.ideal


def test_a_student_that_is_the_teacher_gains_nothing():
    table = pd.concat([TEACHER, RETRAINED, TEACHER.assign(model="student")])
    for record in by_metric(closeness_records(table)).values():
        assert record.gap == record.gap_low == record.gap_high == 0
        assert record.value != record.ideal


def test_the_interval_is_that_of_drawing_patients_again():
    rng = np.random.default_rng(3)
    numbers = {"forget": rng.random(9), "retain": rng.random(12), "test": rng.random(11)}
    student = scores(
        "student", **{name: np.clip(values + 0.1 * rng.random(), 0, 1) for name, values in numbers.items()}
    )
    table = pd.concat([student, scores("retrained", **numbers)])
    record = by_metric(closeness_records(table, n_resamples=4000))["tow"]
    gaps = {}
    for name, values in numbers.items():
        own = student[student["subset"] == name]["dice"].to_numpy()
        drawn = rng.integers(0, len(values), (4000, len(values)))
        gaps[name] = np.abs((own - values)[drawn].mean(axis=1))
    slow = np.prod([1 - gap for gap in gaps.values()], axis=0)
    assert (record.low, record.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.005)


def test_the_cases_of_a_patient_count_one_by_one_and_come_together():
    double = pd.concat([RETRAINED, RETRAINED.assign(case_id=RETRAINED["case_id"] + "b")])
    student = double.assign(model="student", dice=double["dice"] + 0.1)
    found = by_metric(closeness_records(pd.concat([double, student])))
    assert found["tow"].value == pytest.approx(0.9**3)
    assert (found["tow"].n_patients, found["tow"].n_cases) == (8, 16)


def test_classifiers_are_judged_by_their_accuracy():
    tables = [
        scores(model, forget=forget, metric="accuracy")
        for model, forget in (("student", (1, 1)), ("retrained", (1, 0)))
    ]
    assert by_metric(closeness_records(pd.concat(tables)))["tow"].value == pytest.approx(0.5)


def test_another_seed_of_the_retrained_model_says_where_to_be():
    other = scores("retrained", forget=(0.5, 0.4))
    table = pd.concat([RETRAINED, scores("student", forget=(0.9, 0.8))])
    found = by_metric(closeness_records(table, others=[other]))
    assert found["tow"].ideal == pytest.approx(0.9)
    assert by_metric(closeness_records(table, others=[other.drop(columns="model")]))["tow"].ideal == pytest.approx(0.9)


def test_without_a_retrained_model_or_unseen_cases_there_is_nothing_to_say():
    assert closeness_records(TEACHER) == []
    both = pd.concat([TEACHER, RETRAINED])
    assert closeness_records(both[both["subset"] != "test"]) == []


def test_one_forgotten_patient_has_no_interval():
    table = pd.concat([scores("student", forget=(0.7,)), scores("retrained", forget=(0.5,))])
    record = by_metric(closeness_records(table))["tow"]
    assert math.isnan(record.low)
    assert math.isnan(record.high)
    assert record.value == pytest.approx(0.8)


def test_other_patients_are_refused():
    with pytest.raises(InputError, match="different patients of forget"):
        closeness_records(pd.concat([RETRAINED, scores("student", forget=(0.7,))]))


def klom_table(values, floors):
    columns = {"klom": values, "klom_gaussian": values, "klom_floor": floors, "klom_gaussian_floor": floors}
    names = [f"p{n}" for n in range(len(values))]
    return pd.DataFrame({"subset": "retain", "patient_id": names, "case_id": names, **columns})


def test_klom_is_the_95th_percentile_over_cases():
    values = np.arange(101.0)
    record = klom_records(klom_table(values, values / 2))[0]
    assert (record.model, record.metric, record.subset) == ("student", "klom", "retain")
    assert (record.value, record.ideal, record.gap) == pytest.approx((95, 47.5, 47.5))
    assert record.low < 95 < record.high
    assert record.reference == "retrained/retain"


def test_klom_without_a_floor_is_compared_with_nothing():
    record = klom_records(klom_table([1.0, 2.0], [math.nan] * 2))[0]
    assert record.reference == ""
    assert math.isnan(record.gap)
    assert math.isnan(record.ideal)


def test_the_number_of_models_is_said():
    assert klom_note(100, 120).endswith(" 100 unlearned and 120 retrained models")
    assert "with 4 retrained models" in klom_note(2, 2)
    assert "with 4 retrained models" not in klom_note(2, 5)
