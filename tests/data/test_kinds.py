"""Conditions compare like with like: what can never be equal is refused, and not found in silence or for everybody."""

import numpy as np
import pandas as pd
import pytest

from mu_monai.data.condition import matching_rows
from mu_monai.errors import InputError


@pytest.fixture(scope="module")
def cases():
    return pd.DataFrame(
        {
            "ward": ["007", "010", "011"],
            "site": [1, 2, 3],
            "age": [50.0, np.nan, 70.0],
            "consent": [True, False, True],
            "flag": pd.Series([True, None, False], dtype=object),
            "country": ["de", "fr", None],
            "size": ["2,5", "9,7", "12,5"],
            "mixed": pd.Series(["60", 60, 61], dtype=object),
            "empty": [np.nan] * 3,
            "seen": ["2021-03-31", "2021-04-01", None],
        }
    )


REFUSED = {
    "not (ward == 7)": "7 is a number, and 'ward' holds text; write it in quotes",
    "~ward.isin([7])": "7 is a number, and 'ward' holds text; write it in quotes",
    "~(site == '1')": "'1' is text, and 'site' holds numbers; write it without quotes",
    "'1' != site": "'1' is text, and 'site' holds numbers; write it without quotes",
    "ward == 7 or site == 3": "7 is a number, and 'ward' holds text",
    "age in ['9', 60]": "'9' is text, and 'age' holds numbers",
    "consent != 'True'": "'True' is text, and 'consent' holds true or false; write True or False, without quotes",
    "consent not in ['True']": "'True' is text, and 'consent' holds true or false",
    "consent == 2": "2 is a number, and 'consent' holds true or false",
    "flag != 'True'": "'True' is text, and 'flag' holds true or false",
    "ward == True": "True is true or false, and 'ward' holds text",
    "country != None": "None is not a value; write country.isna()",
    "country.isin([None])": "None is not a value; write country.isna()",
    "country == site": "'country' holds text, and 'site' holds numbers, which cannot be compared",
    "country != site": "'country' holds text, and 'site' holds numbers, which cannot be compared",
    "mixed == 60": "60 is a number, and 'mixed' holds values of several kinds; give all of them one kind",
    "mixed != mixed": "'mixed' holds values of several kinds",
    "ward > 9": "9 is a number, and 'ward' holds text; write it in quotes",
    "9 < ward": "9 is a number, and 'ward' holds text; write it in quotes",
    "ward > '9'": "'ward' holds text that looks like numbers, such as '007'",
    "size > '9,5'": "'size' holds text that looks like numbers, such as '2,5'",
    "size.between('2,5', '9,9')": "'size' holds text that looks like numbers",
    "age.between('50', '60')": "'50' is text, and 'age' holds numbers",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_never_equal_or_in_another_order_is_refused(cases, text):
    with pytest.raises(InputError) as raised:
        matching_rows(cases, text)
    assert REFUSED[text] in str(raised.value)


FOUND = {
    "ward == '007'": [True, False, False],
    "ward >= '010'": [False, True, True],
    "ward.between('007', '010')": [True, True, False],
    "site == 1.0": [True, False, False],
    "consent == True": [True, False, True],
    "consent == 1": [True, False, True],
    "site == True": [True, False, False],
    "flag != True": [False, True, True],
    "empty == 'a'": [False, False, False],
    "empty != 3": [True, True, True],
    "country < 'e'": [True, False, False],
    "country != country.str.lower()": [False, False, True],
    "site == age": [False, False, False],
    "seen < '2021-04-01'": [True, False, False],
    "seen.between('20210331', '20210401')": [True, True, False],
}


@pytest.mark.parametrize("text", FOUND)
def test_like_is_compared_with_like(cases, text):
    assert matching_rows(cases, text).tolist() == FOUND[text]
