"""Groups of kept and unseen cases: which there are, what changed, and which are flagged."""

import math

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import subgroup_table
from mu_monai.errors import InputError

N = 12


def make_scores(loss_of_b: float = 0.1, models: tuple[str, ...] = ("teacher", "student")) -> pd.DataFrame:
    """Every second patient is of device b, where the student loses."""
    rows = []
    for model in models:
        for subset in ("retain", "test", "forget", "validation"):
            for number in range(N):
                dice = 0.9 - (loss_of_b + 0.002 * number) * (model == "student" and number % 2)
                name = f"{subset}{number}"
                row = {"model": model, "subset": subset, "patient_id": name, "case_id": name}
                rows.append(row | {"dice": dice, "iou": 0.5, "loss": 0.1})
    return pd.DataFrame(rows)


def make_cases(**columns: list) -> pd.DataFrame:
    names = [f"{subset}{number}" for subset in ("retain", "test", "forget", "validation") for number in range(N)]
    repeated = {name: (values * len(names))[: len(names)] for name, values in columns.items()}
    files = {"patient_id": names, "image": [f"{name}.png" for name in names], "label": ["a.png", "b.png"] * (2 * N)}
    return pd.DataFrame({"case_id": names, **files, **repeated})


def test_the_group_that_lost_is_flagged_and_stands_first():
    table = subgroup_table(make_scores(), make_cases(device=["a", "b"]))
    assert table[["column", "group", "subset"]].to_numpy().tolist() == [
        ["device", "b", "retain"],
        ["device", "b", "test"],
        ["device", "a", "retain"],
        ["device", "a", "test"],
    ]
    assert table["flag"].tolist() == [True, True, False, False]
    worst = table.iloc[0]
    assert worst["change"] == pytest.approx(-0.112)
    assert worst["low"] < worst["change"] < worst["high"] < -0.02
    assert (worst["n_patients"], worst["n_cases"], worst["teacher"]) == (N // 2, N // 2, 0.9)
    assert table.iloc[2][["change", "low", "high"]].tolist() == [0, 0, 0]


def test_groups_of_two_patients_without_a_change_are_rarely_flagged():
    rng, flags = np.random.default_rng(0), []
    scores = make_scores()
    for _ in range(20):
        scores["dice"] = 0.5 + rng.normal(0, 0.05, len(scores))
        groups = make_cases(site=[name for name in "abcdef" for _ in "12"])
        flags += subgroup_table(scores, groups, n_resamples=100)["flag"].tolist()
    assert len(flags) == 240
    assert np.mean(flags) < 0.05


def test_a_loss_within_the_margin_is_no_flag():
    assert not subgroup_table(make_scores(loss_of_b=0.005), make_cases(device=["a", "b"]))["flag"].any()


def test_ages_come_in_bands_and_what_is_not_recorded_is_a_group():
    cases = make_cases(age=[19, 20, None, "045Y"], sex=["f", None, "m", ""])
    table = subgroup_table(make_scores(), cases)
    assert set(table[table["column"] == "age"]["group"]) == {"0 to 19", "20 to 39", "40 to 59", "not recorded"}
    assert set(table[table["column"] == "sex"]["group"]) == {"f", "m", "not recorded"}


def test_only_columns_with_a_few_values_and_no_files_are_groups():
    cases = make_cases(same=["x"], serial=list(range(4 * N)), site=["p", "q", "r"])
    assert set(subgroup_table(make_scores(), cases)["column"]) == {"site"}


def test_of_a_classifier_the_class_is_a_group():
    scores = make_scores().rename(columns={"dice": "accuracy"}).assign(label="nevus")
    table = subgroup_table(scores, make_cases())
    assert set(table["column"]) == {"label"}
    assert set(table["metric"]) == {"accuracy"}


def test_columns_that_are_asked_for_are_the_only_ones():
    cases = make_cases(device=["a", "b"], site=["p", "q", "r"])
    assert set(subgroup_table(make_scores(), cases, by=["site"])["column"]) == {"site"}
    with pytest.raises(InputError, match=r"--by devise .*column.* \(device, site\); did you mean 'device'"):
        subgroup_table(make_scores(), cases, by=["devise"])
    with pytest.raises(InputError, match="--by same has 1 values; a column to group by needs 2 to 20"):
        subgroup_table(make_scores(), make_cases(same=["x"]), by=["same"])


def test_without_columns_or_teacher_there_is_nothing_to_say():
    assert subgroup_table(make_scores(), make_cases()).empty
    assert subgroup_table(make_scores(models=("student",)), make_cases(device=["a", "b"])).empty


def test_a_single_patient_has_no_interval_and_no_flag():
    cases = make_cases(device=["a", *["b"] * (N - 1)])
    table = subgroup_table(make_scores(), cases)
    one = table[(table["group"] == "a") & (table["subset"] == "retain")].iloc[0]
    assert (one["n_patients"], math.isnan(one["low"]), one["flag"]) == (1, True, False)
