"""What settings are chosen by: a value by hand, its limits, and what it must not see."""

import pandas as pd
import pytest

from mu_monai.metrics import choice


def table(student, *, teacher=0.9, forget=0.3, validation=0.3):
    """Two patients a subset; losses of forgotten and of unseen ones as given, Dice of the student by subset."""
    rows = []
    for subset, loss in (("retain", 0.1), ("forget", forget), ("validation", validation), ("test", 5.0)):
        for patient, more in (("a", 0.0), ("b", 0.1)):
            case = {"subset": subset, "patient_id": f"{subset}-{patient}"}
            rows.append({**case, "model": "teacher", "dice": teacher, "loss": 0.1})
            rows.append({**case, "model": "student", "dice": student.get(subset, teacher), "loss": loss + more})
    return pd.DataFrame(rows)


def test_the_score_by_hand():
    found = choice(table({"retain": 0.6, "validation": 0.4}, teacher=0.8))
    assert (found.auc, found.retain_drop, found.validation_drop) == pytest.approx((0.5, 0.25, 0.5))
    assert found.score == pytest.approx(0.75 * 0.5)


def test_a_model_that_lost_everything_scores_nothing_however_weak_its_teacher():
    assert choice(table({"retain": 0.0, "validation": 0.0}, teacher=0.13)).score == 0.0
    assert choice(table({}, teacher=0.0)).score == 1.0, "there was nothing to lose"


@pytest.mark.parametrize(("forget", "auc"), [(0.0, 1.0), (9.0, 0.0)])
def test_who_can_be_told_on_either_side_scores_nothing(forget, auc):
    found = choice(table({}, forget=forget))
    assert (found.auc, found.score) == (auc, 0.0)


def test_a_gain_is_no_reason_to_be_chosen():
    assert choice(table({"retain": 1.0, "validation": 1.0})).score == choice(table({})).score == 1.0


def test_neither_test_cases_nor_the_retrained_model_have_a_part_in_it():
    scores = table({"retain": 0.8})
    retrained = scores[scores["model"] == "student"].assign(model="retrained", dice=0.1, loss=7.0)
    changed = pd.concat([scores.assign(loss=scores["loss"].where(scores["subset"] != "test", 0.0)), retrained])
    changed.loc[(changed["model"] != "retrained") & (changed["subset"] == "test"), "dice"] = 0.0
    assert choice(changed) == choice(scores)


@pytest.mark.parametrize("column", ["dice", "loss"])
def test_answers_that_are_no_numbers_score_nothing(column):
    scores = table({})
    scores.loc[scores["model"] == "student", column] = float("nan")
    assert choice(scores).score == 0.0
