"""Patients who come back, and those who only seem to."""

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import came_back, loss_membership
from mu_monai.audit.comebacks import _limit

UNSEEN = [f"u{number}" for number in range(30)]


def scores(rng, forgotten, spread=0.05, unseen=UNSEEN):
    """Losses of unseen patients around 0.5, and those that are given of forgotten ones."""
    rows = [
        {"subset": "test", "patient_id": name, "case_id": name, "loss": 0.5 + 0.2 * n / 30}
        for n, name in enumerate(unseen)
    ]
    rows += [
        {"subset": "forget", "patient_id": name, "case_id": name, "loss": loss} for name, loss in forgotten.items()
    ]
    table = pd.DataFrame(rows).assign(model="student")
    return table.assign(loss=table["loss"] + rng.normal(0, spread, len(table)))


def test_one_who_is_answered_as_in_training_again_is_found():
    rng = np.random.default_rng(0)
    then, now = scores(rng, {"a": 0.6}), scores(rng, {"a": 0.1})
    found = came_back(then, now, ["a"], looked_at=50)
    assert found.came_back
    assert found.now == 1.0
    assert found.fall > found.limit > 0
    assert not came_back(now, then, ["a"]).came_back


def test_the_limit_alone_is_passed_by_chance_in_about_one_version_of_twenty():
    """Fifty requests of one patient each, in 400 versions in which nobody came back, and the other conditions hold."""
    rng = np.random.default_rng(2)
    falls = rng.normal(0, 0.05, size=(400, 2, 50))
    alarms = sum(bool((now > _limit(pd.Series(unseen), 1, 50)).any()) for now, unseen in falls)
    assert 4 <= alarms <= 36


def test_who_was_always_answered_well_did_not_come_back():
    rng = np.random.default_rng(2)
    then = scores(rng, {"a": 0.1, "b": 0.12})
    found = came_back(then, scores(rng, {"a": 0.1, "b": 0.12}), ["a", "b"])
    assert (found.then, found.now, found.came_back) == (1.0, 1.0, False)


def test_who_only_gets_to_where_unseen_patients_are_did_not_come_back():
    rng = np.random.default_rng(3)
    then, now = (scores(rng, {"a": loss}, spread=0.001) for loss in (0.9, 0.6))
    found = came_back(then, now, ["a"])
    assert found.fall > found.limit
    assert 0.4 < found.now <= 0.55
    assert not found.came_back


def test_without_measurements_nothing_is_said():
    rng = np.random.default_rng(4)
    table = scores(rng, {"a": 0.6})
    assert came_back(table, table, ["b"]) is None
    assert came_back(table[table["subset"] == "forget"], table, ["a"]) is None
    assert loss_membership(table, ["b"]) is None


def test_with_one_unseen_patient_the_auc_decides():
    rng = np.random.default_rng(5)
    then, now = (scores(rng, {"a": loss}, spread=0.001, unseen=["u0"]) for loss in (0.9, 0.1))
    found = came_back(then, now, ["a"])
    assert found.came_back
    assert np.isnan(found.limit)


@pytest.mark.parametrize("role", ["student", "retrained", "teacher"])
def test_the_membership_of_a_request_is_that_of_its_patients_alone(role):
    rng = np.random.default_rng(6)
    record = loss_membership(scores(rng, {"a": 0.1, "b": 0.9}).assign(model=role), ["a"])
    assert (record.model, record.n_patients, record.value) == (role, 1, 1.0)
