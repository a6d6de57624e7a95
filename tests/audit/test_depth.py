"""Records of depth from tables of distances and barriers."""

import math

import pandas as pd
import pytest

from mu_monai.audit import depth_records


def rows(model, against="teacher", kind="weights", **layers):
    table = {"model": model, "against": against, "kind": kind, "layer": list(layers), "distance": list(layers.values())}
    return pd.DataFrame(table)


def records(tables, **barriers):
    found = depth_records(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), barriers)
    return {(record.model, record.metric): record for record in found}


def test_the_depth_is_the_share_of_the_way_of_retraining_in_all_and_layer_by_layer():
    others = [rows("student", kind="statistics", a=9.0), rows("student", against="retrained", a=9.0)]
    found = records([rows("student", a=3.0, b=0.0), rows("retrained", a=6.0, b=8.0), *others])
    depths = {metric: record.value for (_, metric), record in found.items()}
    assert depths == {"depth": 0.3, "depth[a]": 0.5, "depth[b]": 0.0}
    total = found["student", "depth"]
    assert (total.reference, total.subset, total.ideal, total.gap) == ("retrained", "", 1.0, pytest.approx(-0.7))
    assert math.isnan(total.low)


def test_a_layer_that_retraining_left_alone_has_no_depth():
    assert set(records([rows("student", a=3.0, b=1.0), rows("retrained", a=6.0, b=0.0)])) == {
        ("student", "depth"),
        ("student", "depth[a]"),
    }


def test_barriers_are_compared_with_the_retrained_models():
    found = records([], student=0.1, retrained=0.5)
    assert (found["retrained", "barrier"].value, found["retrained", "barrier"].reference) == (0.5, "")
    student = found["student", "barrier"]
    assert (student.value, student.ideal, student.gap, student.reference) == (0.1, 0.5, -0.4, "retrained")


def test_without_both_models_there_is_nothing_to_compare():
    assert records([rows("student", a=1.0)], student=0.1) == {}
