"""Ranks of forgotten patients among unseen ones, the most exposed first."""

import pandas as pd
import pytest

from mu_monai.audit import membership_records, patient_table
from mu_monai.errors import InputError


def make_scores(**losses: dict[str, list[float]]) -> pd.DataFrame:
    """Per model the losses of the forgotten and of the unseen patients, one case each."""
    rows = [
        {
            "model": model,
            "subset": subset,
            "patient_id": f"{subset}{number}",
            "case_id": f"{subset}{number}",
            "loss": loss,
        }
        for model, subsets in losses.items()
        for subset, values in subsets.items()
        for number, loss in enumerate(values)
    ]
    return pd.DataFrame(rows)


UNSEEN = [0.2, 0.4, 0.6, 0.8]


def test_a_hand_computed_table():
    scores = make_scores(
        teacher={"forget": [0.1, 0.1, 0.1], "test": UNSEEN},
        retrained={"forget": [0.5, 0.9, 0.1], "test": UNSEEN},
        student={"forget": [0.5, 0.4, 0.7], "test": UNSEEN},
    )
    table = patient_table(scores)
    assert table["patient_id"].tolist() == ["forget2", "forget1", "forget0"]
    assert table["teacher"].tolist() == [0, 0, 0]
    assert table["retrained"].tolist() == [0, 1, 0.5]
    assert table["student"].tolist() == [0.75, 0.375, 0.5]  # the tie with 0.4 counts half
    assert table["gap"].tolist() == [-0.75, 0.625, 0]  # worse than it should be, better, as it should be
    assert table["exposure"].tolist() == [0.75, 0.625, 0]


def test_the_mean_gap_is_that_of_the_auc():
    scores = make_scores(
        retrained={"forget": [0.5, 0.9, 0.1], "test": UNSEEN}, student={"forget": [0.5, 0.4, 0.7], "test": UNSEEN}
    )
    record = next(
        r for r in membership_records(scores, n_resamples=10) if (r.metric, r.model) == ("auc[loss]", "student")
    )
    assert patient_table(scores)["gap"].mean() == pytest.approx(record.gap)


def test_the_images_of_a_patient_are_averaged_first():
    scores = make_scores(student={"forget": [0.1, 0.9], "test": UNSEEN})
    scores.loc[scores["subset"] == "forget", "patient_id"] = "one"
    table = patient_table(scores)
    assert table[["patient_id", "n_cases", "student", "gap"]].to_dict("records") == [
        {"patient_id": "one", "n_cases": 2, "student": 0.5, "gap": 0.0}
    ]


def test_a_clean_model_exposes_less_than_a_leaky_one():
    clean = patient_table(make_scores(student={"forget": [0.3, 0.5, 0.7], "test": UNSEEN}))
    leaky = patient_table(make_scores(student={"forget": [0.1, 0.1, 0.1], "test": UNSEEN}))
    assert clean["exposure"].mean() < leaky["exposure"].mean() == 0.5


@pytest.mark.parametrize("subset", ["forget", "test"])
def test_without_forgotten_or_unseen_cases_there_is_no_rank(subset):
    with pytest.raises(InputError, match=r"the student's cases of 'forget' or .*mu-monai evaluate RUN"):
        patient_table(make_scores(student={subset: [0.1, 0.2]}))
