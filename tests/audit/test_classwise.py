"""The bootstrap of F1, against a slow loop, and the records of a classifier."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mu_monai.audit import ResampledF1, bootstrap, mean_interval, utility_records
from mu_monai.audit.bootstrap import Sample
from mu_monai.errors import InputError

CLASSES = ("mel", "nv", "scc")
SUBSETS = ("retain", "forget", "validation", "test")


def make_scores(*models: str, patients: int = 6, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ids = [(subset, patient, case) for subset in SUBSETS for patient in range(patients) for case in range(3)]
    frame = pd.DataFrame(
        {
            "subset": [subset for subset, _, _ in ids],
            "patient_id": [f"{subset}{patient}" for subset, patient, _ in ids],
            "case_id": [f"{subset}{patient}_{case}" for subset, patient, case in ids],
            "label": rng.choice(CLASSES, len(ids)),
        }
    )
    parts = []
    for model in models:
        wrong = rng.random(len(ids)) < 0.3
        predicted = np.where(wrong, rng.choice(CLASSES, len(ids)), frame["label"])
        accuracy = (predicted == frame["label"]).astype(float)
        parts.append(frame.assign(model=model, predicted=predicted, accuracy=accuracy, loss=rng.random(len(ids))))
    return pd.concat(parts, ignore_index=True)


def part(scores: pd.DataFrame, model: str, subset: str) -> pd.DataFrame:
    return scores[(scores["model"] == model) & (scores["subset"] == subset)].sort_values("case_id")


def by_key(scores, **given):
    return {(r.metric, r.model, r.subset): r for r in utility_records(scores, **{"n_resamples": 100, **given})}


def f1_of(rows, name):
    if name not in set(rows["label"]):
        return math.nan
    return f1_score(rows["label"] == name, rows["predicted"] == name, zero_division=0)


def slow_draws(rows, name, n_resamples, seed):
    """Draw patients, take all cases of each, compute F1 from the cases: as one would explain it."""
    names = np.unique(rows["patient_id"])
    drawn = np.random.default_rng(seed).integers(0, len(names), (n_resamples, len(names)))
    by_patient = dict(list(rows.groupby("patient_id")))
    return np.array([f1_of(pd.concat([by_patient[names[index]] for index in row]), name) for row in drawn])


@st.composite
def groups(draw):
    case = st.tuples(st.sampled_from("abcde"), st.sampled_from(CLASSES), st.sampled_from(CLASSES))
    cases = draw(st.lists(case, min_size=2, max_size=15))
    return pd.DataFrame(cases, columns=["patient_id", "label", "predicted"])


@given(groups(), st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_patients_are_drawn_with_all_their_cases(rows, seed):
    sample = ResampledF1(rows, CLASSES, n_resamples=12, seed=seed)
    for place, name in enumerate(CLASSES):
        slow = slow_draws(rows, name, 12, seed)
        np.testing.assert_allclose(sample.draws[:, place], slow)
        if rows[rows["label"] == name]["patient_id"].nunique() < 2:
            assert all(math.isnan(end) for end in sample.interval(name))
        elif np.isfinite(slow).any():
            assert sample.interval(name) == pytest.approx(tuple(np.nanquantile(slow, [0.025, 0.975])))


@given(groups())
@settings(max_examples=25, deadline=None)
def test_draws_are_in_bounds_whatever_the_order_of_the_cases(rows):
    sample = ResampledF1(rows, CLASSES, n_resamples=40)
    shuffled = ResampledF1(rows.sample(frac=1, random_state=0), CLASSES, n_resamples=40)
    np.testing.assert_array_equal(sample.draws, shuffled.draws)
    known = sample.draws[np.isfinite(sample.draws)]
    assert ((known >= 0) & (known <= 1)).all()


@given(groups())
@settings(max_examples=25, deadline=None)
def test_a_model_has_no_gap_to_itself(rows):
    sample = ResampledF1(rows, CLASSES, n_resamples=40)
    for name in CLASSES:
        assert all(end == 0 or math.isnan(end) for end in sample.gap_interval(sample, name))


def test_draws_are_those_of_the_means():
    rows = part(make_scores("student"), "student", "test")
    only = rows.assign(label="nv")  # with one true class F1 = 2 r / (1 + r), and the recall r is the mean of the hits
    hits = (only["predicted"] == "nv").astype(float)
    recall = mean_interval(Sample(hits, only["patient_id"]), n_resamples=300, seed=4, widened=False)
    low, high = ResampledF1(only, CLASSES, n_resamples=300, seed=4).interval("nv")
    assert (low, high) == pytest.approx(tuple(2 * r / (1 + r) for r in (recall.low, recall.high)), abs=1e-3)


def test_the_memory_bound_changes_nothing(monkeypatch):
    rows = part(make_scores("student"), "student", "test")
    whole = ResampledF1(rows, CLASSES, n_resamples=50).draws
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 16)
    np.testing.assert_array_equal(ResampledF1(rows, CLASSES, n_resamples=50).draws, whole)


def test_at_least_one_resample():
    with pytest.raises(ValueError, match="n_resamples=0 is not allowed"):
        ResampledF1(part(make_scores("student"), "student", "test"), CLASSES, n_resamples=0)


def test_a_classifier_has_accuracy_loss_their_drops_and_an_f1_per_class():
    scores = make_scores("teacher", "retrained", "student")
    records = by_key(scores, n_resamples=8)
    assert list(dict.fromkeys(metric for metric, _, _ in records)) == [
        *("accuracy", "accuracy_drop", "loss", "loss_drop", "f1[mel]", "f1[nv]", "f1[scc]")
    ]
    for subset in SUBSETS:
        rows = {model: part(scores, model, subset) for model in ("teacher", "retrained", "student")}
        assert records["accuracy", "student", subset].value == pytest.approx(rows["student"]["accuracy"].mean())
        drop = rows["teacher"]["accuracy"].mean() - rows["student"]["accuracy"].mean()
        assert records["accuracy_drop", "student", subset].value == pytest.approx(drop)
        for name in CLASSES:
            record = records[f"f1[{name}]", "student", subset]
            assert record.value == pytest.approx(f1_of(rows["student"], name))
            assert record.reference == f"retrained/{subset}"
            assert record.ideal == pytest.approx(f1_of(rows["retrained"], name))
            assert record.gap == pytest.approx(record.value - record.ideal)
            slow = [slow_draws(rows[model], name, 8, 0) for model in ("student", "retrained")]
            ends = np.nanquantile(slow[0] - slow[1], [0.025, 0.975])
            assert (record.gap_low, record.gap_high) == pytest.approx(tuple(ends))
            true = rows["student"][rows["student"]["label"] == name]
            assert (record.n_patients, record.n_cases) == (true["patient_id"].nunique(), len(true))


def test_f1_is_compared_on_the_same_cases_only():
    records = by_key(make_scores("teacher", "student"))
    assert records["accuracy", "student", "forget"].reference == "student/test"
    assert records["f1[nv]", "student", "forget"].reference == ""
    assert math.isnan(records["f1[nv]", "student", "forget"].gap)
    assert records["f1[nv]", "student", "test"].reference == "teacher/test"


def test_a_class_that_a_subset_has_no_case_of_has_no_record_there():
    scores = make_scores("teacher", "student")
    scores.loc[scores["subset"] == "forget", "label"] = "mel"
    scores["accuracy"] = (scores["label"] == scores["predicted"]).astype(float)
    assert [metric for metric, _, subset in by_key(scores) if subset == "forget" and "f1" in metric] == ["f1[mel]"] * 2


def test_a_class_of_one_patient_has_a_value_but_no_interval():
    scores = make_scores("teacher", "student")
    test = scores["subset"] == "test"
    scores.loc[test, "label"] = np.where(scores.loc[test, "patient_id"] == "test0", "mel", "nv")
    record = by_key(scores)["f1[mel]", "student", "test"]
    assert math.isfinite(record.value)
    assert math.isfinite(record.gap)
    assert (record.n_patients, record.n_cases) == (1, 3)
    assert all(math.isnan(end) for end in (record.low, record.high, record.gap_low, record.gap_high))


def test_the_order_of_the_rows_does_not_matter():
    scores = make_scores("teacher", "retrained", "student")
    assert repr(by_key(scores)) == repr(by_key(scores.sample(frac=1, random_state=0)))


def changed(column, value):
    scores = make_scores("teacher", "student")
    scores.loc[0, column] = value
    return scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (make_scores("student").drop(columns=["label", "predicted"]), "no column 'label', 'predicted'; it needs"),
        (changed("predicted", None), "1 rows have missing or infinite scores \\(cases 'retain0_0'\\)"),
        (changed("label", "new"), "the models disagree on the label of 1 cases \\('retain0_0'\\)"),
        (changed("accuracy", math.nan), "1 rows have missing or infinite scores"),
    ],
)
def test_refused(scores, message):
    with pytest.raises(InputError, match=message):
        utility_records(scores)
