"""Tables are read as they are, or refused."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mu_monai.errors import InputError
from mu_monai.runs.scores import SCORE_KEYS, read_scores
from mu_monai.tables import FORMULA, for_spreadsheets, is_formula, read_table

TABLE = "model,subset,patient_id,case_id,dice,loss\nstudent,forget,p1,c1,0.5,1e-3\nstudent,test,p2,c2,,2\n"


def written(tmp_path, content):
    file = tmp_path / "scores.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_ids_are_text_and_numbers_are_exact(tmp_path):
    names = ["007", "NA", "null", "None", "nan", "1e5", "-3", "TRUE", ""]
    table = pd.DataFrame({"case_id": names, "value": [0.1 + 0.2, *range(8)]})
    table.to_csv(tmp_path / "a.csv", index=False)
    found = read_table(tmp_path / "a.csv", text=["case_id"])
    assert found["case_id"].tolist()[:-1] == names[:-1]
    assert found["case_id"].isna().tolist() == [False] * 8 + [True]
    assert found["value"].tolist() == table["value"].tolist()


def test_which_columns_are_text_can_be_said(tmp_path):
    file = written(tmp_path, "image_id,case_id,age\n01,02,NA\n")
    (row,) = read_table(file, text=["image_id"]).to_dict("records")
    assert (row["image_id"], row["case_id"]) == ("01", 2)
    assert pd.isna(row["age"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (TABLE.encode("utf-16"), "is not UTF-8 text"),
        (TABLE.encode() + b"\xff", "is not UTF-8 text"),
        (TABLE.encode() + b"\0", "NUL bytes"),
        (TABLE + "student,test,p3\n", "line 4 has 3 cells, and the header has 6"),
        (TABLE + "student,test,p3,c3,1,1,1\n", "line 4 has 7 cells"),
        (TABLE.replace("loss", "dice"), "names a column twice"),
        (TABLE + '"student', "is not a readable table"),
        (TABLE.replace("case_id", "case"), "has no column 'case_id'"),
        (TABLE.replace("0.5", "half"), "has text in 'dice'"),
        (TABLE.replace("p2", ""), "column 'patient_id', row 2"),
        ("a" * 200_000, "is not a readable table"),
    ],
)
def test_a_damaged_table_is_told(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_scores(written(tmp_path, content))
    assert caught.match("scores.csv'")


@pytest.mark.parametrize("name", ["gone.csv", "."])
def test_what_is_not_there_is_told(tmp_path, name):
    with pytest.raises(InputError, match=r"does not exist|cannot be read"):
        read_table(tmp_path / name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(TABLE) - 1), put=st.binary(max_size=4), gone=st.integers(0, 40))
def test_whatever_is_damaged_only_an_input_error_comes_out(tmp_path, place, put, gone):
    content = TABLE.encode()
    file = written(tmp_path, content[:place] + put + content[place + gone :])
    try:
        table = read_scores(file)
    except InputError as error:
        assert "scores.csv" in str(error)  # noqa: PT017
    else:
        assert set(SCORE_KEYS) <= set(table)
        assert all(pd.api.types.is_numeric_dtype(table[name]) for name in table.columns if name not in SCORE_KEYS) or (
            {"label", "predicted"} & set(table)
        )


@pytest.mark.parametrize("sign", FORMULA)
def test_text_that_begins_like_a_formula_gets_an_apostrophe(sign):
    table = pd.DataFrame({"patient_id": [f'{sign}HYPERLINK("x")', "p-1"], f"{sign}c": [-0.5, float("nan")]})
    safe = for_spreadsheets(table)
    assert safe["patient_id"].tolist() == [f'\'{sign}HYPERLINK("x")', "p-1"]
    assert safe.columns.tolist() == ["patient_id", f"'{sign}c"]
    pd.testing.assert_series_equal(safe[f"'{sign}c"], table[f"{sign}c"], check_names=False)


@pytest.mark.parametrize("cell", ["", "-", "-0.5", "+1e3", "a=b", "'=x", 3, None, -2.5])
def test_numbers_and_other_text_are_not_formulas(cell):
    assert not is_formula(cell)


def test_ids_with_signs_come_back_as_they_were_written(tmp_path):
    ids = ["=1+1", "@p", "+49", "-3", "a\tb", 'he said "no"', "#7", "$p$", "'x", "a,b"]
    pd.DataFrame(dict.fromkeys(SCORE_KEYS, ids) | {"dice": 0.5}).to_csv(tmp_path / "scores.csv", index=False)
    assert read_scores(tmp_path / "scores.csv")["case_id"].tolist() == ids
