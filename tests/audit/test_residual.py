"""Residual knowledge from tables of how right models are on noisy copies."""

import math

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import residual_records
from mu_monai.audit.bootstrap import Sample, paired_ratio


def rows(model, right, subset="forget"):
    names = [f"{subset}-{number}" for number in range(len(right))]
    return pd.DataFrame({"model": model, "subset": subset, "patient_id": names, "case_id": names, "right": right})


def records(*tables):
    found = residual_records(pd.concat(tables, ignore_index=True), n_resamples=200)
    return {(record.model, record.subset): record for record in found}


def test_it_is_the_ratio_of_the_means_against_the_retrained_model():
    found = records(
        rows("student", [0.9, 0.3]),
        rows("retrained", [0.6, 0.0]),  # a case that is never right has no ratio of its own
        rows("teacher", [1.0, 0.8]),
        rows("student", [0.5, 0.5], "test"),
        rows("retrained", [0.5, 0.5], "test"),
    )
    assert set(found) == {("teacher", "forget"), ("student", "forget"), ("student", "test")}
    student = found["student", "forget"]
    assert (student.metric, student.reference) == ("residual_knowledge", "retrained/forget")
    assert (student.value, student.gap, student.ideal) == (pytest.approx(2.0), pytest.approx(1.0), 1.0)
    assert (student.n_patients, student.n_cases) == (2, 2)
    assert student.gap_low == pytest.approx(student.low - 1)
    assert found["teacher", "forget"].value == pytest.approx(3.0)
    assert (found["student", "test"].value, found["student", "test"].low) == (1.0, 1.0)


def test_the_order_of_rows_does_not_matter():
    tables = [rows("student", [0.9, 0.3, 0.4]), rows("retrained", [0.6, 0.1, 0.7])]
    shuffled = pd.concat(tables).sample(frac=1, random_state=0)
    assert records(*tables) == records(shuffled)


def test_where_the_retrained_model_is_never_right_or_is_not_there_there_is_none():
    assert records(rows("student", [0.5]), rows("retrained", [0.0])) == {}
    assert records(rows("student", [0.5])) == {}
    assert residual_records(pd.DataFrame()) == []


def test_one_patient_has_a_ratio_without_an_interval():
    (record,) = records(rows("student", [0.5]), rows("retrained", [0.25])).values()
    assert record.value == 2.0
    assert math.isnan(record.low)


def test_draws_without_a_ratio_are_left_out_and_other_cases_refused():
    with np.errstate(all="raise"):
        found = paired_ratio(Sample([1.0, 1.0], ["a", "b"]), Sample([0.5, 0.0], ["a", "b"]), n_resamples=100)
    assert (found.value, found.low) == (4.0, 0.0)  # a ratio of two patients can be nearly anything
    assert 4.0 < found.high < 100
    with pytest.raises(ValueError, match="the same cases"):
        paired_ratio(Sample([1.0, 1.0], ["a", "b"]), Sample([0.5, 0.5], ["a", "a"]))
