"""Tables as people and their programs write them are read as they are meant, or refused by line."""

from __future__ import annotations

import logging
import re

import pandas as pd
import pytest

from mu_monai.errors import InputError
from mu_monai.tables import read_ids, read_table

ROWS = [("case_id", "patient_id", "site"), ("c1", "007", "Zürich"), ("c2", "NA", "Genf"), ("c3", "null", "Zürich")]
IDS = ("case_id", "patient_id")


def table(separator=",", end="\n", rows=ROWS):
    return end.join(separator.join(row) for row in rows) + end


def read(tmp_path, content, **options):
    file = tmp_path / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(file, text=IDS, foreign=True, **options)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ", ", " ; "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_separator_line_ends_and_encoding_are_found(tmp_path, separator, end, encoding):
    found = read(tmp_path, table(separator, end).encode(encoding))
    assert [tuple(found), *map(tuple, found.values.tolist())] == ROWS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (table().encode("cp1252"), "is read as cp1252 .* 'Zürich'"),
        (table().encode("utf-16"), "is read as utf-16"),
        (table(";").encode(), "has semicolons between its cells"),
        (table("\t").encode(), "has tabs between its cells"),
    ],
)
def test_what_was_found_is_said(tmp_path, caplog, content, said):
    caplog.set_level(logging.INFO)
    read(tmp_path, content)
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith(f"'{tmp_path / 'table.csv'}'")
    assert re.search(said, caplog.text)


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        ("c4,p4,Clinic A, ward 2", 4),
        ("c4,p4,Genf,", 4),
        ("c4,p4", 2),
        ("x,y,z,too,many", 5),
        ("c4;p4;Genf", 1),
    ],
)
@pytest.mark.parametrize("before", ["", "\n"])
def test_a_row_with_more_or_fewer_cells_is_refused_by_its_line(tmp_path, row, cells, before):
    line = 5 + len(before)
    with pytest.raises(InputError, match=rf"line {line} has {cells} cells, and the header has 3; .* double quotes"):
        read(tmp_path, table() + before + row + "\n")


@pytest.mark.parametrize(
    ("header", "twice"),
    [
        ("case_id,patient_id,patient_id", "'patient_id'"),
        ("case_id,site,site ", "'site'"),
        ("case_id ; patient_id;case_id", "'case_id'"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path, header, twice):
    with pytest.raises(InputError, match=rf"names a column twice: {twice}"):
        read(tmp_path, header + "\n" + header.replace("case_id", "c1").replace("patient_id", "p1") + "\n")


@pytest.mark.parametrize("name", ["Patient_ID", "patient id", "PatientID", "patient-id", "ｐatient_id"])  # noqa: RUF001
def test_a_column_that_is_nearly_called_like_a_known_one_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=rf"has the column '{name}' and not 'patient_id'; rename it"):
        read(tmp_path, f"case_id,{name}\nc1,p1\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\r\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"PK\x03\x04rest of a workbook", r"is a workbook \(.xlsx, .ods\) .* save the table as 'CSV UTF-8'"),
        (b"\xd0\xcf\x11\xe0old", "is a workbook of an old Excel"),
        (b"%PDF-1.4", "is a PDF"),
        (b"\x1f\x8b\x08", "is a compressed file"),
        (
            table().encode() + b"c4,p\xe94,Genf\n",
            r"invalid continuation byte at byte \d+, line 5\); the file is damaged",
        ),
        (table().encode()[:-1] + b"\x07", r"line 4 holds the control character '\\x07'"),
        (b"case_id,patient_id\nc1,p\x81\n", "is not text in UTF-8, UTF-16 or cp1252"),
        ('case_id,patient_id\nc1,"p1\nc2,p2\nc3,p3\n', "in the row that begins in line 2"),
        ('case_id,patient_id\nc1,"p1\nc2,p2\nc3",p3\n', "a double quote that opens in line 2 closes some lines later"),
        ('case_id,patient_id,site\nc1,"p\n1",a\n', "has a line break in patient_id, in the row that begins in line 2"),
        (",case_id,patient_id\nx,c1,p1\n", "column 1 has no name in the header, but holds values"),
        ("case_id,,patient_id\nc1,x,p1\n", "column 2 has no name in the header, but holds values"),
    ],
)
def test_what_is_not_a_table_is_refused_with_the_reason(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert caught.match("table.csv'")


@pytest.mark.parametrize("code", ["001", "0042", "1234567890123456789"])
def test_codes_are_text_although_they_are_digits(tmp_path, code):
    found = read(tmp_path, f"case_id,code,age\nc1,{code},50\nc2,,60\n")
    assert found["code"].iloc[0] == code
    assert found["code"].isna().tolist() == [False, True]
    assert found["age"].tolist() == [50, 60]


def test_excels_own_first_line_says_the_separator(tmp_path):
    assert read(tmp_path, "sep=|\n" + table("|"))["patient_id"].tolist() == ["007", "NA", "null"]
    with pytest.raises(InputError, match="line 3 has 2 cells"):
        read(tmp_path, "sep=;\na;b;c\n1;2\n")


def test_empty_columns_without_a_name_and_quoted_cells_with_spaces_are_no_mistake(tmp_path):
    found = read(tmp_path, 'case_id, "patient_id", "site, ward",\nc1, "p1 ", "A, 2",\n')
    assert found.to_dict("records") == [{"case_id": "c1", "patient_id": "p1", "site, ward": "A, 2"}]


@pytest.mark.parametrize("numbers", [(0, 1, 2), (7, 5, 9)])
def test_the_numbers_of_rows_that_pandas_writes_are_left_out(tmp_path, numbers):
    table = pd.DataFrame(ROWS[1:], columns=ROWS[0], index=numbers)
    assert read(tmp_path, table.to_csv()).to_dict("records") == table.to_dict("records")


@pytest.mark.parametrize(
    ("content", "ids", "remarks"),
    [
        ("007\n#12\n\n p1 \n# in May\n", ["007", "p1"], ["#12", "# in May"]),
        ("\ufeff\ufeff007\r\nNA\r\n", ["007", "NA"], []),
        ("patient_id,date\n002,2024-01-31\n#3,2024-02-01\n", ["002", "#3"], []),
        ('"case_id";"reason"\n"c 1";"withdrawn; in May"\n', ["c 1"], []),
        ("image_id\nISIC_1\n", ["ISIC_1"], []),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_ids_come_from_lines_or_from_a_column(tmp_path, content, ids, remarks, encoding):
    file = tmp_path / "ids.txt"
    file.write_bytes(content.encode(encoding))
    assert read_ids(file, [*IDS, "image_id"]) == (ids, remarks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("patient_id,case_id\np1,c1\n", "has the columns 'patient_id' and 'case_id'; keep the one"),
        ("patient_id,date\np1,x\n,y\n", "patient_id is empty in line 3"),
        ("Patient ID\np1\n", "has the column 'Patient ID' and not 'patient_id'"),
        ("patient_id,date\np1,x,y\n", "line 2 has 3 cells"),
        *((nothing, "is empty") for nothing in ("", "\ufeff", "\ufeff\n", "\u2028", "\xa0 ")),
    ],
)
def test_a_list_of_ids_that_can_be_misread_is_refused(tmp_path, content, message):
    file = tmp_path / "ids.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_ids(file, ["patient_id", "case_id"])


def test_words_are_words_and_missing_values_only_among_numbers(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rows = [("case_id", "patient_id", "country", "age", "consent", "nothing"), ("c1", "p1", "NA", "NA", "True", "NA")]
    found = read(tmp_path, table(rows=[*rows, ("c2", "p2", "KE", "61", "NA", ""), ("c3", "p3", "", "60", "False", "")]))
    assert found["country"].isna().tolist() == [False, False, True]
    assert found["country"][0] == "NA"
    assert found["age"].isna().tolist() == [True, False, False]
    assert found["age"].dtype == float
    assert found["consent"].tolist()[0] is True
    assert found[["consent", "nothing"]].isna().to_numpy().tolist() == [[False, True], [True, True], [False, True]]
    assert "has 'NA' in 1 cells of 'country', which is read as that word; leave a cell empty" in caplog.text
    for column in ("age", "consent", "nothing"):
        assert f"has 'NA' in 1 cells of '{column}', which is read as a missing value" in caplog.text
