"""A division that a model was trained with is kept."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.data import ForgetIds
from mu_monai.data.partition import held_out_subsets
from mu_monai.errors import InputError


def manifest(patients):
    return pd.DataFrame({"patient_id": patients, "case_id": [str(number) for number in range(len(patients))]})


@given(number=st.integers(2, 30), held=st.integers(2, 30), seed=st.integers(0, 5))
def test_every_held_out_case_is_unseen_and_no_other(number, held, seed):
    table = manifest([f"p{index}" for index in range(number + held)])
    outside = set(table["case_id"][:held])
    subsets = held_out_subsets(table, table["patient_id"], outside, None, seed)
    assert set(table.loc[subsets.index, "case_id"]) == outside
    counts = subsets.value_counts()
    assert abs(counts["validation"] - counts["test"]) <= 1


@pytest.mark.parametrize(
    ("patients", "held", "forget", "reason"),
    [
        ("aab", {"1", "2"}, None, "patient_id 'a' has cases that the model was trained on and cases that it was not"),
        ("abc", {"2"}, None, "holds out 1 patient_ids"),
        ("abcd", {"2", "3"}, ForgetIds(("c",)), "case '2' to forget was not trained on"),
        ("abcd", {"2", "3"}, ForgetIds(("3",)), "case '3' to forget was not trained on"),
    ],
)
def test_a_division_that_judges_nobody_is_refused(patients, held, forget, reason):
    table = manifest(list(patients))
    with pytest.raises(InputError) as refusal:
        held_out_subsets(table, table["patient_id"], held, forget, 0)
    assert reason in str(refusal.value)
