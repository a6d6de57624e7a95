from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.data import ForgetIds
from mu_monai.data.pseudonyms import hash_ids, pseudonym
from mu_monai.errors import InputError


@given(st.text(min_size=1), st.text(min_size=1))
def test_one_salt_gives_one_name_per_identifier(first, second):
    names = [pseudonym("patient", identifier, "salt") for identifier in (first, second)]
    assert (names[0] == names[1]) == (first == second)


def test_another_salt_or_kind_gives_another_name():
    assert pseudonym("patient", "Anna", "a") != pseudonym("patient", "Anna", "b")
    assert pseudonym("series", "Anna", "a").startswith("series-")


def test_identifiers_and_names_of_the_split_are_both_understood():
    anna, series = pseudonym("patient", "Anna", "s"), pseudonym("series", "1.2.3", "s")
    known = {anna, series, "patient-000000000000"}
    found = hash_ids(ForgetIds(("Anna", "1.2.3", "patient-000000000000")), known, "s")
    assert found.value == (anna, series, "patient-000000000000")


def test_unknown_identifiers_are_all_listed():
    with pytest.raises(InputError, match=r"(?s)2 problems.*'Zoe' to forget is neither PatientID nor SeriesInstanceUID"):
        hash_ids(ForgetIds(("Zoe", "Xaver")), {pseudonym("patient", "Anna", "s")}, "s")
