"""KLoM: by hand, by its properties, and on ensembles that are made equal and unequal."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.errors import InputError
from mu_monai.metrics import gaussian_kl, histogram_kl, klom

margins = st.lists(st.floats(-200, 200), min_size=2, max_size=6)


def ensemble(seed, models, cases=60, shift=0.0, model=None):
    """Score tables whose cases differ, with the models scattered around each."""
    rng, level = np.random.default_rng(seed), np.linspace(-5, 5, cases)
    names = [str(case) for case in range(cases)]
    keys = pd.DataFrame({"subset": "forget", "patient_id": names, "case_id": names})
    tables = [keys.assign(logit_confidence=level + shift + rng.normal(size=cases)) for _ in range(models)]
    return tables if model is None else [table.assign(model=model) for table in tables]


@given(margins)
@settings(max_examples=50, deadline=None)
def test_equal_ensembles_are_at_zero(values):
    assert histogram_kl([values], [values]) == pytest.approx([0])


@given(margins, margins)
@settings(max_examples=100, deadline=None)
def test_it_is_never_negative_and_bounded(one, other):
    (found,) = histogram_kl([one], [other])
    assert -1e-12 <= found <= math.log(1 + 1e5)


def test_two_of_four_in_the_upper_bin():
    u, o = np.array([0.5 + 1e-5, 0.5 + 1e-5]), np.array([0.75 + 1e-5, 0.25 + 1e-5])
    total = 1 + 20e-5
    expected = (u / total * np.log(u / o)).sum()
    assert histogram_kl([[0, 0, 1, 1]], [[0, 0, 0, 1]]) == pytest.approx([expected])


def test_the_largest_margin_counts():
    assert histogram_kl([[0.0, 1.0]], [[0.0, 0.0]])[0] > 0.5 * math.log(0.5e5) - 1


def test_margins_beyond_a_hundred_are_alike():
    assert histogram_kl([[150.0, 900.0]], [[101.0, 5000.0]]) == pytest.approx([0])


def test_gaussians_by_hand():
    found = gaussian_kl([[0.0, 2.0], [5.0, 7.0]], [[1.0, 3.0], [5.0, 7.0]])
    assert found == pytest.approx([1 / 4, 0])
    wider = gaussian_kl([[0.0, 2.0]], [[-1.0, 3.0]])  # variances 2 and 8
    assert wider == pytest.approx([math.log(2) + 2 / 16 - 0.5])


def test_gaussians_without_width():
    assert gaussian_kl([[1.0, 1.0]], [[1.0, 1.0]]).tolist() == [0]
    assert gaussian_kl([[1.0, 1.0]], [[2.0, 2.0]]).tolist() == [math.inf]
    assert gaussian_kl([[1.0, 2.0]], [[2.0, 2.0]]).tolist() == [math.inf]


def test_equal_ensembles_of_few_models_are_where_chance_is():
    found = gaussian_kl(*(np.random.default_rng(seed).normal(size=(4000, 3)) for seed in (0, 1)))
    assert found.mean() == pytest.approx((1 / 3 + 1 / 3) / 2, abs=0.02)


def test_a_clean_ensemble_is_at_its_floor_and_a_leaky_one_is_not():
    oracle = ensemble(0, 8)
    clean, leaky = klom(ensemble(1, 8), oracle), klom(ensemble(2, 8, shift=3), oracle)
    floor = clean["klom_gaussian_floor"].median()
    assert clean["klom_gaussian"].median() < 2 * floor < leaky["klom_gaussian"].median() / 5
    assert leaky["klom"].median() > clean["klom"].median()


def test_many_models_tell_by_histograms():
    oracle = ensemble(0, 100)
    clean, leaky = klom(ensemble(1, 100), oracle), klom(ensemble(2, 100, shift=3), oracle)
    assert clean["klom"].median() < 1 < 3 < leaky["klom"].median()


def test_of_three_models_histograms_tell_nothing():
    found = klom(ensemble(1, 3), ensemble(0, 3))  # equal but for chance
    assert found["klom"].median() > 5


def test_rows_of_the_right_model_count_in_any_order():
    noise = [table.assign(model="teacher", logit_confidence=99.0) for table in ensemble(0, 2)]
    tables = {
        model: [
            pd.concat([own, other]).sample(frac=1, random_state=0)
            for own, other in zip(ensemble(seed, 2, model=model), noise, strict=True)
        ]
        for seed, model in ((0, "student"), (1, "retrained"))
    }
    plain = klom(ensemble(0, 2), ensemble(1, 2))
    mixed = klom(tables["student"], tables["retrained"])
    pd.testing.assert_frame_equal(mixed, plain.sort_values(["subset", "patient_id", "case_id"], ignore_index=True))
    assert mixed["klom_floor"].isna().all()


def test_too_few_models_and_old_tables_are_refused_at_once():
    old = [table.drop(columns="logit_confidence") for table in ensemble(0, 1)]
    with pytest.raises(InputError, match="4 problems") as error:
        klom(old, old)
    assert "there are 1 unlearned models; give at least 2" in str(error.value)
    assert "no column 'logit_confidence'" in str(error.value)


def test_other_cases_are_refused():
    with pytest.raises(InputError, match="not of the same cases"):
        klom(ensemble(0, 2), ensemble(1, 2, cases=59))


def test_a_model_given_twice_is_refused():
    with pytest.raises(InputError, match=r"two score tables .* same model"):
        klom(ensemble(0, 1) * 2, ensemble(1, 2))
