"""Attacks on made models: leaky, clean, over-forgotten, and worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mu_monai.metrics import (
    LEAST_PATIENTS,
    attack_scores,
    auc,
    logistic_scores,
    membership_signals,
    missing_signals,
    smallest_fpr,
    tpr_at_fpr,
)
from mu_monai.runs.scores import COLUMNS, MASK, STRUCTURES

VALUES = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(VALUES, VALUES)
def test_auc_is_that_of_scikit_learn_with_and_without_ties(members, others):
    truth = [1] * len(members) + [0] * len(others)
    assert auc(members, others) == pytest.approx(roc_auc_score(truth, members + others))


def test_auc_has_two_sides():
    leaky, clean, over = [3, 4, 5], [0, 1, 2], [-3, -2, -1]
    assert auc(leaky, clean) == 1
    assert auc(clean, clean) == 0.5
    assert auc(over, clean) == 0


@given(VALUES, VALUES, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_the_rate_is_the_best_of_all_thresholds_that_err_seldom_enough(members, others, fpr):
    found, thresholds = tpr_at_fpr(members, others, fpr), [-math.inf, *members, *others]
    if fpr < smallest_fpr(len(others)):
        assert math.isnan(found)
        return
    kept = [t for t in thresholds if np.mean(np.array(others) > t) <= fpr]
    assert found == max(np.mean(np.array(members) > t) for t in kept)


def test_rates_that_cannot_be_resolved_are_not_made_up():
    members, others = np.arange(100.0), np.arange(99.0)
    assert math.isnan(tpr_at_fpr(members, others, 0.01))
    assert tpr_at_fpr(members, np.arange(100.0), 0.01) == 0.01  # above 98 lie the member 99 and the error 99
    assert smallest_fpr(99) == 1 / 99


def test_images_of_a_patient_are_averaged_and_signs_turned_so_that_members_are_high():
    scores = pd.DataFrame(
        {
            "patient_id": [7, 7, 8],
            "loss": [0.1, 0.3, 0.9],
            "dice": [0.9, 0.7, 0.1],
            "logit_confidence": [4.0, 2.0, -1.0],
        }
    )
    found = attack_scores(scores)
    assert list(found.index) == ["7", "8"]
    assert found.loc["7"].to_dict() == pytest.approx({"loss": -0.2, "dice": 0.8, "logit_confidence": 3.0})
    assert (found.loc["7"] > found.loc["8"]).all()


def test_the_task_says_which_columns_are_signals_and_gaps_leave_them_out():
    masks = pd.DataFrame({"loss": [1.0, 2.0], "cross_entropy": [1.0, math.nan], "dice": [1.0, 0.0], "dice[organ]": 0.5})
    assert membership_signals(masks) == {"loss": -1, "dice": 1}
    assert "cross_entropy" in missing_signals(masks)
    classes = pd.DataFrame({"loss": [1.0], "accuracy": [1.0], "entropy": [0.3], "label": ["nevus"], "confidence": 0.9})
    assert membership_signals(classes) == {"loss": -1, "confidence": 1, "entropy": -1}
    assert missing_signals(classes) == ["modified_entropy", "logit_confidence"]


def test_one_channel_has_one_cross_entropy_and_several_the_other():
    one, several = (
        pd.DataFrame([{column.name: 1.0 for column in COLUMNS if column.signal and kind in column.kinds}])
        for kind in (MASK, STRUCTURES)
    )
    several["dice[organ]"] = 1.0
    assert (missing_signals(one), missing_signals(several)) == ([], [])
    assert missing_signals(one.drop(columns="bce")) == ["bce"]
    assert missing_signals(several.drop(columns="cross_entropy")) == ["cross_entropy"]


@pytest.fixture
def draw():
    rng = np.random.default_rng(0)
    return lambda shift, n=40: pd.DataFrame(rng.normal(size=(n, 3)) + np.array([shift, 0, 0]), columns=list("abc"))


@pytest.mark.parametrize(
    ("shift", "low", "high"), [(3.0, 0.95, 1.0), (0.0, 0.3, 0.65), (-3.0, 0.95, 1.0)], ids=["leaky", "clean", "over"]
)
def test_the_regression_finds_members_on_either_side_and_nothing_where_there_is_nothing(draw, shift, low, high):
    assert low <= auc(*logistic_scores(draw(shift), draw(0.0))) <= high


def test_the_regression_is_the_same_for_the_same_seed_and_needs_enough_patients(draw):
    members, others = draw(1.0), draw(0.0)
    first, again = (np.concatenate(logistic_scores(members, others, seed=3)) for _ in range(2))
    assert np.array_equal(first, again)
    assert logistic_scores(members[: LEAST_PATIENTS - 1], others) is None
    assert len(logistic_scores(members[:LEAST_PATIENTS], others)[0]) == LEAST_PATIENTS


def test_a_patient_is_never_scored_by_a_regression_that_saw_it():
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1], 30))
    columns = pd.DataFrame(np.eye(60))  # each patient has a column of its own: only memory can tell
    found = auc(*logistic_scores(columns[labels == 1], columns[labels == 0]))
    assert found <= 0.55
