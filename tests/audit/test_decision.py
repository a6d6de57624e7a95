"""Which cases the decision picture shows, and that few or collapsed ones do not break it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import plane, shown_cases


def scores(forget=20, others=2000):
    rng = np.random.default_rng(0)
    subset = ["forget"] * forget + rng.choice(["retain", "test"], others, p=[0.75, 0.25]).tolist()
    label = rng.choice(["a", "b", "c"], forget + others, p=[0.6, 0.3, 0.1])
    return pd.DataFrame({"case_id": [f"c{i}" for i in range(forget + others)], "subset": subset, "label": label})


def test_forget_cases_are_always_in_and_the_others_as_they_are_among_all():
    table = scores()
    found = shown_cases(table, limit=300)
    assert len(found) == 300
    assert found["case_id"].is_unique
    assert (found["subset"] == "forget").sum() == 20
    shares = [t[t["subset"] != "forget"].groupby(["subset", "label"]).size() for t in (found, table)]
    difference = shares[0] / shares[0].sum() - shares[1] / shares[1].sum()
    assert difference.abs().max() < 0.005


def test_the_draw_follows_the_seed_and_not_the_order_of_rows_or_limits_below():
    table = scores()
    first, again, other = (set(shown_cases(table, limit=300, seed=seed)["case_id"]) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_many_forget_cases_leave_room_for_others_and_few_cases_are_all_shown():
    table = scores(forget=500)
    assert shown_cases(table, limit=300)["subset"].value_counts()["forget"] == 500
    assert len(shown_cases(table, limit=300)) == 500 + 150
    assert len(shown_cases(scores(5, 7))) == 12


@pytest.mark.parametrize("cases", [4, 5, 40])
def test_groups_stay_together_and_the_seed_decides(cases):
    rng = np.random.default_rng(0)
    group = np.arange(cases) % 2
    features = rng.normal(size=(cases, 8)) + 30 * group[:, None]
    places = plane(features, seed=3)
    assert places.shape == (cases, 2)
    assert np.isfinite(places).all()
    assert (places == plane(features, seed=3)).all()
    if cases == 40:
        middle = np.stack([places[group == g].mean(axis=0) for g in (0, 1)])
        nearest = np.linalg.norm(places[:, None] - middle, axis=2).argmin(axis=1)
        assert (nearest == group).all()


@pytest.mark.parametrize("features", [np.ones((3, 4)), np.zeros((30, 4)), np.ones((0, 4))])
def test_too_few_cases_and_features_without_any_difference_lie_at_the_origin(features):
    assert (plane(features) == np.zeros((len(features), 2))).all()


def test_a_single_feature_is_enough():
    assert np.isfinite(plane(np.linspace(0, 1, 12)[:, None])).all()
