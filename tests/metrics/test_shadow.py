"""Likelihood ratios on made Gaussians whose separation is known."""

import numpy as np
import pytest
from scipy.stats import norm

from mu_monai.metrics import FEW_SHADOWS, auc, likelihood_ratios, shadow_counts

PATIENTS = 400


def made(n_shadows, shift, seed=0, spread=3.0):
    """Patients of very different ease; a model that was trained on one answers it by `shift` surer."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, spread, PATIENTS)
    trained = np.array([rng.permutation(n_shadows) < n_shadows // 2 for _ in range(PATIENTS)]).T
    members = np.arange(PATIENTS) < PATIENTS // 2
    shadows = ease + shift * trained + rng.normal(size=trained.shape)
    return ease + shift * members + rng.normal(size=PATIENTS), shadows, trained, members


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_many_shadow_models_reach_the_best_that_can_be_reached(shift):
    target, shadows, trained, members = made(128, shift)
    evidence = likelihood_ratios(target, shadows, trained)
    best = norm.cdf(shift / np.sqrt(2))
    assert auc(evidence[members], evidence[~members]) == pytest.approx(best, abs=0.06)


def test_it_finds_members_that_a_threshold_cannot_and_few_shadow_models_find_fewer():
    found = {}
    for n_shadows in (4, 64):
        target, shadows, trained, members = made(n_shadows, 2.0)
        evidence = likelihood_ratios(target, shadows, trained)
        found[n_shadows] = auc(evidence[members], evidence[~members])
    threshold = auc(target[members], target[~members])
    assert threshold + 0.1 < found[4] < found[64]


def test_a_model_that_answers_members_worse_is_below_chance():
    target, shadows, trained, members = made(64, 2.0)
    over = np.where(members, target - 4, target)  # 2 below one that never saw them
    evidence = likelihood_ratios(over, shadows, trained)
    assert auc(evidence[members], evidence[~members]) < 0.3


def test_few_models_share_a_variance_and_many_have_one_each():
    shadows = np.array([[0.0, 0], [2, 20], [10, 100], [12, 120]])
    trained = np.array([[False, False], [False, False], [True, True], [True, True]])
    evidence = likelihood_ratios([11.0, 110.0], shadows, trained)
    shared = np.sqrt((2 + 200) / 2)
    assert evidence == pytest.approx(0.5 * (np.array([10, 100]) / shared) ** 2)
    times = FEW_SHADOWS // 4
    own = likelihood_ratios([11.0, 110.0], np.repeat(shadows, times, axis=0), np.repeat(trained, times, axis=0))
    assert own[0] == pytest.approx(own[1])


def test_models_that_agree_exactly_do_not_make_evidence_infinite():
    trained = np.array([[True], [True], [False], [False]])
    assert np.isfinite(likelihood_ratios([20.0], np.full((4, 1), 20.0), trained)).all()


def test_shapes_and_numbers_of_models_are_checked():
    trained = np.array([[True, True], [True, True], [False, False], [False, True]])
    assert shadow_counts(trained) == (2, 1)
    with pytest.raises(ValueError, match="at least 2 shadow models"):
        likelihood_ratios([0.0, 0.0], np.zeros((4, 2)), trained)
    with pytest.raises(ValueError, match=r"\(1,\), \(4, 2\) and \(4, 2\) .*\(patients,\)"):
        likelihood_ratios([0.0], np.zeros((4, 2)), trained)
