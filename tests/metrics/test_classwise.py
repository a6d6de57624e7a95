"""F1 of every class: a table counted by hand, scikit-learn, and properties."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mu_monai.metrics import class_f1

CLASSES = ("mel", "nv", "scc")


def table(*cases: tuple[str, str, str], model: str = "student", subset: str = "test") -> pd.DataFrame:
    rows = pd.DataFrame(cases, columns=["patient_id", "label", "predicted"])
    return rows.assign(model=model, subset=subset, case_id=[str(index) for index in range(len(rows))])


@st.composite
def tables(draw):
    case = st.tuples(st.sampled_from("abcd"), st.sampled_from(CLASSES), st.sampled_from(CLASSES))
    return table(*draw(st.lists(case, min_size=1, max_size=20)))


def test_precision_recall_and_f1_counted_by_hand():
    scores = table(
        *(("a", "mel", "mel"), ("a", "mel", "mel"), ("b", "mel", "nv"), ("c", "nv", "mel"), ("d", "nv", "nv")),
        ("d", "nv", "nv"),
    )
    mel, nv = class_f1(scores).to_dict("records")
    assert (mel["class"], nv["class"]) == ("mel", "nv")
    assert (mel["precision"], mel["recall"], mel["f1"]) == pytest.approx((2 / 3, 2 / 3, 4 / 6))
    assert (nv["precision"], nv["recall"], nv["f1"]) == pytest.approx((2 / 3, 2 / 3, 4 / 6))
    assert (mel["cases"], mel["patients"]) == (3, 2)
    assert (nv["cases"], nv["patients"]) == (3, 2)
    assert type(nv["cases"]) is type(nv["patients"]) is int


def test_undefined_is_not_zero():
    scores = pd.concat([table(("a", "mel", "nv")), table(("b", "scc", "scc"), subset="forget")])
    found = class_f1(scores).set_index(["subset", "class"])
    assert found.index.tolist() == [(subset, name) for subset in ("forget", "test") for name in CLASSES]
    mel, nv, scc = (found.loc["test", name] for name in CLASSES)
    assert math.isnan(mel["precision"])  # none was predicted
    assert (mel["recall"], mel["f1"]) == (0, 0)
    assert math.isnan(nv["recall"])  # none is
    assert (nv["precision"], nv["f1"], nv["cases"], nv["patients"]) == (0, 0, 0, 0)
    assert math.isnan(scc["f1"])  # neither
    assert found.loc[("forget", "scc"), "f1"] == 1


def test_classes_may_be_numbers_and_keep_their_order():
    scores = table(("a", 10, 10), ("b", 9, 10))
    assert class_f1(scores)["class"].tolist() == [9, 10]


def test_models_and_subsets_come_in_their_order():
    parts = [table(("a", "mel", "mel"), model=m, subset=s) for m in ("student", "teacher") for s in ("test", "retain")]
    found = class_f1(pd.concat(parts))
    assert list(zip(found["model"], found["subset"], strict=True)) == [
        *(("teacher", "retain"), ("teacher", "test"), ("student", "retain"), ("student", "test"))
    ]


@given(tables())
@settings(max_examples=40, deadline=None)
def test_it_is_the_f1_of_scikit_learn_in_bounds(scores):
    found = class_f1(scores)
    expected = f1_score(scores["label"], scores["predicted"], labels=found["class"], average=None, zero_division=np.nan)
    np.testing.assert_allclose(found["f1"], expected)
    assert found["f1"].between(0, 1).all()
    assert found["cases"].sum() == len(scores)
    assert (found["patients"] <= found["cases"]).all()


@given(tables(), st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_rows_does_not_matter(scores, random):
    order = random.sample(range(len(scores)), len(scores))
    pd.testing.assert_frame_equal(class_f1(scores), class_f1(scores.iloc[order]))


@given(tables())
@settings(max_examples=20, deadline=None)
def test_swapping_truth_and_prediction_swaps_precision_and_recall(scores):
    found = class_f1(scores)
    swapped = class_f1(scores.rename(columns={"label": "predicted", "predicted": "label"}))
    np.testing.assert_allclose(found["precision"], swapped["recall"])
    np.testing.assert_allclose(found["f1"], swapped["f1"])
