"""Membership records of made models, and their intervals against a slow loop."""

import math

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import membership_notes, membership_records
from mu_monai.audit.separation import Groups, Separation
from mu_monai.errors import InputError
from mu_monai.metrics import auc, tpr_at_fpr


def made(shifts, n_forgotten=30, n_unseen=60, images=2, seed=0):
    """Models whose loss on forgotten patients is by a shift lower than on unseen ones, with the patients' own ease."""
    rng = np.random.default_rng(seed)
    people = {"forget": n_forgotten, "test": n_unseen, "retain": 5}
    ease = {f"{subset}-{n}": rng.normal() for subset, count in people.items() for n in range(count)}
    rows = [
        {
            **{"model": model, "subset": patient.split("-")[0], "patient_id": patient, "case_id": f"{patient}.{image}"},
            "loss": 5 + own - (shift if patient.startswith("forget") else 0) + rng.normal(0, 0.3),
            "dice": rng.uniform(),
        }
        for model, shift in shifts.items()
        for patient, own in ease.items()
        for image in range(images)
    ]
    return pd.DataFrame(rows)


def found(scores, **settings):
    return {(record.model, record.metric): record for record in membership_records(scores, **settings)}


def test_a_leaky_a_clean_and_an_over_forgotten_model_are_told_apart():
    scores = made({"teacher": 3.0, "retrained": 0.0, "student": -3.0})
    records = found(scores, n_resamples=300)
    teacher, retrained, student = (records[model, "auc[loss]"] for model in ("teacher", "retrained", "student"))
    assert teacher.value > 0.95
    assert retrained.low < 0.5 < retrained.high
    assert student.value < 0.05
    assert records["teacher", "auc[logistic]"].value > 0.95
    assert records["student", "auc[logistic]"].value > 0.95  # it tells that, not on which side
    assert teacher.gap_low > 0 > student.gap_high
    for record in (teacher, student):
        assert (record.subset, record.reference) == ("forget", "retrained/forget")
        assert record.ideal == retrained.value
        assert record.gap == pytest.approx(record.value - retrained.value)
        assert (record.n_patients, record.n_cases) == (30, 60)
    assert (retrained.reference, retrained.ideal) == ("", 0.5)
    assert math.isnan(retrained.gap)


def test_without_a_retrained_model_chance_is_ideal():
    records = found(made({"student": 0.0}, n_unseen=120), n_resamples=20)
    assert records["student", "auc[loss]"].ideal == 0.5
    assert records["student", "tpr@0.01[loss]"].ideal == 0.01
    assert records["student", "tpr@0.01[loss]"].reference == ""
    assert ("student", "tpr@0.001[loss]") not in records


def test_numbers_worked_out_by_hand():
    scores = pd.DataFrame(
        {
            "model": "student",
            "subset": ["forget", "forget", "forget", "test", "test"],
            "patient_id": ["a", "a", "b", "c", "d"],
            "loss": [0.1, 0.5, 0.6, 0.4, 0.6],  # a: 0.3 beats c and d; b: 0.6 loses to c and ties with d
        }
    )
    (record,) = membership_records(scores)
    assert (record.metric, record.value) == ("auc[loss]", 2.5 / 4)
    assert (record.n_patients, record.n_cases) == (2, 3)


def slow(members, others, n_resamples, seed, measure):
    one, other = (np.random.default_rng(source) for source in np.random.SeedSequence(seed).spawn(2))
    first = one.integers(0, len(members), (n_resamples, len(members)))
    second = other.integers(0, len(others), (n_resamples, len(others)))
    return np.array([measure(members[a], others[b]) for a, b in zip(first, second, strict=True)])


def test_draws_are_those_of_a_slow_loop_ties_included():
    rng = np.random.default_rng(2)
    members, others = rng.integers(0, 9, 25).astype(float), rng.integers(0, 9, 120).astype(float)
    separation = Separation(Groups(pd.Series(members), pd.Series(others), 25), n_resamples=40, seed=5)
    assert separation.resampled["auc"] == pytest.approx(slow(members, others, 40, 5, auc))
    rates = slow(members, others, 40, 5, lambda a, b: tpr_at_fpr(a, b, 0.01))
    assert separation.resampled["tpr@0.01"] == pytest.approx(rates)


def test_a_gap_is_of_the_same_drawn_patients():
    scores = made({"retrained": 0.0, "student": 0.0})
    other = scores[scores["model"] == "student"].assign(model="retrained")
    records = found(pd.concat([other, other.assign(model="student")]), n_resamples=50)
    gap = records["student", "auc[loss]"]
    assert (gap.gap, gap.gap_low, gap.gap_high) == (0, 0, 0)
    assert gap.low < gap.value < gap.high


def test_intervals_hold_the_truth_about_as_often_as_they_claim():
    rng, hits = np.random.default_rng(3), 0
    for seed in range(60):
        groups = Groups(pd.Series(rng.normal(1, 1, 40)), pd.Series(rng.normal(0, 1, 40)), 40)
        low, high = Separation(groups, n_resamples=200, seed=seed).interval("auc")
        hits += low <= 0.7602 <= high
    assert hits >= 52


@pytest.mark.parametrize(("patients", "low"), [(2, 0.386), (8, 0.756), (100, 0.98)])
def test_groups_that_are_parted_entirely_are_as_certain_as_they_are_many(patients, low):
    groups = Groups(pd.Series(np.arange(patients) + 1000.0), pd.Series(np.arange(float(patients))), patients)
    separation, swapped = Separation(groups), Separation(Groups(groups.non_members, groups.members, patients))
    assert separation.values["auc"] == 1
    assert separation.interval("auc") == (pytest.approx(low, abs=0.02), 1)
    assert swapped.interval("auc") == (0, pytest.approx(1 - low, abs=0.02))
    gap = separation.gap_interval(separation, "auc")
    assert gap == (pytest.approx(low - 1, abs=0.02), pytest.approx(1 - low, abs=0.02))


@pytest.mark.parametrize("patients", [12, 200])
def test_models_that_answer_everybody_alike_do_not_match_without_doubt(patients):
    """Their AUC is 0.5 in every draw."""
    constant, ordered = pd.Series(np.zeros(patients)), pd.Series(np.arange(float(patients)))
    tied = Separation(Groups(constant, constant, patients), n_resamples=50)
    low, high = tied.gap_interval(tied, "auc")
    spread = (1 / patients / 6) ** 0.5  # of one AUC near 0.5
    assert high == -low == pytest.approx(1.96 * 2**0.5 * spread, rel=0.15)
    other = Separation(Groups(ordered, ordered, patients), n_resamples=50)
    assert other.gap_interval(other, "auc") == (0, 0)  # the same model, whose draws differ


def test_a_rate_of_zero_is_not_certain():
    groups = Groups(pd.Series(np.zeros(33)), pd.Series(np.arange(100.0)), 33)
    separation = Separation(groups, n_resamples=200)
    assert separation.values["tpr@0.01"] == 0
    low, high = separation.interval("tpr@0.01")
    assert low == 0
    assert high == pytest.approx(0.104, abs=0.002)  # Wilson: z^2 / (n + z^2)


def test_one_forgotten_patient_has_a_rank_and_no_interval():
    records = found(made({"student": 3.0}, n_forgotten=1))
    assert records["student", "auc[loss]"].n_patients == 1
    assert math.isnan(records["student", "auc[loss]"].low)
    assert ("student", "auc[logistic]") not in records


def test_columns_that_a_model_lacks_are_left_out_for_all_and_named():
    scores = made({"retrained": 0.0, "student": 0.0})
    scores["boundary_loss"] = scores["loss"].where(scores["model"] == "student")
    assert ("student", "auc[boundary_loss]") not in found(scores, n_resamples=5)
    assert any("boundary_loss" in note and "mu-monai evaluate RUN" in note for note in membership_notes(scores))
    scores["boundary_loss"] = scores["loss"]
    scores.loc[scores["subset"] == "retain", "boundary_loss"] = math.nan  # not attacked
    assert ("student", "auc[boundary_loss]") in found(scores, n_resamples=5)


def test_what_is_left_out_is_said():
    few = membership_notes(made({"student": 0.0}, n_forgotten=3, n_unseen=13))
    assert any("13 unseen patients" in note and "false-positive rate below 7.69 %" in note for note in few)
    assert any("no true-positive rate at 1 % or 0.1 %" in note for note in few)
    assert any("no logistic attack: " in note and "at least 8 forgotten" in note and "3 and 13" in note for note in few)
    many = membership_notes(made({"student": 0.0}, n_unseen=1000, images=1))
    assert not any("rate" in note or "logistic" in note for note in many)


@pytest.mark.parametrize("subset", ["forget", "test"])
def test_without_members_or_unseen_patients_there_is_nothing_to_attack(subset):
    scores = made({"student": 0.0})
    scores = scores[scores["subset"] != subset]
    assert membership_records(scores) == []
    (note,) = membership_notes(scores)
    assert note.startswith("no membership attack: ")


def test_models_on_other_patients_are_refused():
    scores = made({"retrained": 0.0, "student": 0.0})
    scores = scores[(scores["model"] != "student") | (scores["patient_id"] != "test-3")]
    with pytest.raises(
        InputError, match="1 patients, such as 'test-3', have scores of the retrained or of the student"
    ):
        membership_records(scores)
