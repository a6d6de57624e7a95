"""Dates in a condition are compared as dates, or refused."""

import pandas as pd
import pytest

from mu_monai.data.condition import matching_rows
from mu_monai.errors import InputError


def found(values, query):
    return matching_rows(pd.DataFrame({"scan date": values, "other": values}), query.replace("DAY", "`scan date`"))


@pytest.mark.parametrize(
    ("values", "query", "expected"),
    [
        (["2021-03-09", "2021-03-11", None], "DAY > '2021-03-10'", [False, True, False]),
        (["20210309", "20210311", None], "DAY > '20210310'", [False, True, False]),
        (["20210309", "2021-03-11"], "DAY > '2021-03-10'", [False, True]),
        (["2021-03-10T08:00", "2021-03-10 12:30:00"], "DAY >= '2021-03-10 09:00'", [False, True]),
        (["2021-03-09", "2021-03-11"], "'2021-03-10' > DAY", [True, False]),
        (["2021-03-09", "2021-03-11"], "DAY.between('2021-03-01', '20210310')", [True, False]),
        (["2021-03-09", "2021-03-11"], "DAY <= other", [True, True]),
        (["2021-03-09", "2021-03-11"], "DAY == '2021-03-11'", [False, True]),
        (["09/03/2021", "11/03/2021"], "DAY in ['11/03/2021']", [False, True]),
        (["a", "b"], "DAY > 'a'", [False, True]),
        (["1-2", "1-3"], "DAY > '1-2'", [False, True]),
    ],
)
def test_dates_are_in_the_order_of_the_calendar(values, query, expected):
    assert found(values, query).tolist() == expected


@pytest.mark.parametrize(
    ("values", "query", "named"),
    [
        (["01/03/2021", "11/03/2021"], "DAY > '2021-03-10'", "'01/03/2021' in column 'scan date'"),
        (["01/03/2021", "11/03/2021"], "DAY > '10/03/2021'", "'01/03/2021' in column 'scan date'"),
        (["2021-03-09", "2021-03-11"], "DAY > '10/03/2021'", "'10/03/2021' in the condition"),
        (["2021-03-09", "2021-03-11"], "DAY > '2021-3-1'", "'2021-3-1' in the condition"),
        (["2021-03-09", "2021-03-11"], "DAY > '2021'", "'2021' in the condition"),
        (["2021-03-09", "unknown"], "DAY < '2021-03-10'", "'unknown' in column 'scan date'"),
        (["10.3.21", "9.3.21"], "DAY < '11.3.21'", "'10.3.21' in column 'scan date'"),
        (["Mar 9 2021"], "DAY < '2021-03-10'", "'Mar 9 2021' in column 'scan date'"),
        (["2021-02-30"], "DAY < '2021-03-10'", "'2021-02-30' in column 'scan date'"),
        (["01/03/2021"], "DAY.between('2021-03-01', '2021-03-31')", "'01/03/2021' in column 'scan date'"),
        (["01/03/2021"], "DAY > other", "'01/03/2021' in column 'scan date'"),
    ],
)
def test_dates_that_can_be_misread_are_refused(values, query, named):
    with pytest.raises(InputError) as caught:
        found(values, query)
    assert named in str(caught.value)
    assert "write dates as YYYY-MM-DD" in str(caught.value)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("age != '60'", "'60' is text, and 'age' holds numbers; write it without quotes"),
        ("age not in [50, '60']", "'60' is text, and 'age' holds numbers; write it without quotes"),
        ("site != 1", "1 is a number, and 'site' holds text; write it in quotes"),
        ("site not in (1, '002')", "1 is a number, and 'site' holds text; write it in quotes"),
    ],
)
def test_what_cannot_be_left_out_is_not_taken_for_left_out(query, told):
    table = pd.DataFrame({"age": [50, 60.5, None], "site": ["001", "002", None]})
    with pytest.raises(InputError) as caught:
        matching_rows(table, query)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "query",
    ["DAY != '2021-03-01'", "DAY == '2021-03-01'", "DAY not in ['2021-03-01']", "DAY.isin(['01/03/2021', '20210301'])"],
)
def test_a_date_in_another_form_than_the_columns_is_not_searched_in_vain(query):
    with pytest.raises(InputError, match="is a date in another form than those of 'scan date', such as '01/03/2021'"):
        found(["01/03/2021", "11/03/2021"], query)
