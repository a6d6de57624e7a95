"""A condition chooses rows, with pandas' answers, and does nothing else."""

from __future__ import annotations

import os
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.data import ForgetWhere
from mu_monai.data.condition import matching_rows
from mu_monai.data.selection import match_cases
from mu_monai.errors import InputError


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "case_id": [f"c{number}" for number in range(6)],
            "patient_id": ["007", "008", "009", "010", "011", "012"],
            "device": ["a", "b", None, "A & B", "scanner-2", "b"],
            "site": ["b", "b", "b", "a", None, "a"],
            "age": [50.0, 60.0, np.nan, 70.0, 80.0, 90.0],
            "dose": [1, 2, 3, 4, 5, 6],
            "left": [True, False, True, False, True, False],
            "model name": ["x", "y", "x", "y", "x", "y"],
            "class": ["n", "m", "n", "m", "n", "m"],
            "it's ``": ["p", "q", "p", "q", "p", "q"],
        }
    )


# Answers that were pandas' own when conditions were handed to it.
ANSWERED = [
    "device == 'a'",
    'device == "a"',
    "'a' == device",
    "device != 'a'",
    "device == 'A & B'",
    "device == 'a' or device == 'b'",
    "device == 'b' and age < 70",
    "device == 'b' & age < 70",
    "device == 'a' | site == 'a'",
    "(device == 'a') | (site == 'a') & (age > 60)",
    "not device == 'a'",
    "~(device == 'a')",
    "not (device == 'a' or age > 60) and left",
    "device in ['a', 'b']",
    "device in ('a', 'b')",
    "device not in ['a', 'b']",
    "device == ['a', 'b']",
    "device != ['a', 'b']",
    "dose in [1, -2, 3.0]",
    "age > 85",
    "85 < age",
    "50 < age <= 80",
    "age >= 60 and dose != 2",
    "age == 60",
    "age != 60",
    "age + dose > 62",
    "age - dose * 10 / 2 // 3 % 7 < 5",
    "-dose < -4",
    "+dose > 4",
    "age * 2 > 1e2",
    "device == site",
    "device != site",
    "patient_id == '007'",
    "patient_id == patient_id",
    "patient_id < '010'",
    "left",
    "not left",
    "left == True",
    "`model name` == 'x'",
    "`class` == 'n' and `model name` == 'x'",
    "device.isna()",
    "device.notna() and age.notnull()",
    "age.isnull()",
    "dose.isin([1, 2])",
    "age.between(60, 80)",
    "patient_id.between('008', '010')",
    "device.str.startswith('sc', na=False)",
    "device.str.endswith('2', na=False)",
    "device.str.contains('-', na=False)",
    "device.str.contains('B', case=False, na=False)",
    "device.str.contains('^s.*[0-9]$', na=False, regex=True)",
    "device.str.lower() == 'a & b'",
    "device.str.upper().str.startswith('A', na=False)",
    "patient_id.str.strip('0') == '7'",
    "site.str.strip() == 'a'",
    "device.str.len() > 3",
    "  device == 'a'  # of the first scanner",
]


@pytest.mark.parametrize("text", ANSWERED)
def test_answers_are_those_of_pandas(cases, text):
    expected = cases.eval(text.strip(), engine="python")
    found = matching_rows(cases, text)
    assert found.dtype in (bool, "boolean")
    assert found.fillna(False).tolist() == expected.fillna(False).tolist()


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_missing_values_meet_nothing_but_their_own_methods(cases, dtype):
    device = cases.assign(device=cases["device"].astype(dtype))
    missing = 2
    matching = ["device == 'a'", "device in ['a']", "device.str.contains('a')", "device.str.lower() == 'a'"]
    matching += ["device == device", "device.notna()", "device.str.startswith('a')", "device.str.len() > 0"]
    assert [text for text in matching if matching_rows(device, text).fillna(False)[missing]] == []
    others = ["device != 'a'", "device not in ['a']", "device.isna()", "device.isnull()"]
    assert [text for text in others if not matching_rows(device, text)[missing]] == []


def test_columns_of_types_that_know_missing_values_are_not_matched_by_them(cases):
    ages = cases.assign(age=cases["age"].astype("Int64"))
    for text in ("age < 70", "not age < 70", "age < 70 or age >= 70"):
        assert not match_cases(ages, ForgetWhere(text))[2]


def test_text_to_look_for_is_no_pattern_unless_it_is_said(cases):
    assert matching_rows(cases, "device.str.contains('.')").sum() == 0
    assert matching_rows(cases, "device.str.contains('.', regex=True)").sum() == 5
    slow = cases.assign(device="a" * 40)
    assert not matching_rows(slow, "device.str.contains('(a+)+$b')").any()


def test_a_column_is_called_what_it_is(cases):
    assert matching_rows(cases, "`it's ````` == 'p'").tolist() == [True, False] * 3
    assert matching_rows(cases.rename(columns={"dose": 5}), "`5` > 4").sum() == 2


HOSTILE = [
    "patient_id.to_csv('tripwire')",
    "patient_id.to_pickle('tripwire')",
    "patient_id.to_json('tripwire') == 1",
    "patient_id.to_hdf('tripwire', 'k')",
    "patient_id.values.tofile('tripwire')",
    "age.values.dump('tripwire')",
    "age.to_numpy().tofile('tripwire')",
    "patient_id.to_csv('tripwire').isna()",
    "patient_id.str.to_csv('tripwire')",
    "patient_id.str.lower().to_csv('tripwire')",
    "patient_id == patient_id.to_csv('tripwire')",
    "patient_id in [patient_id.to_csv('tripwire')]",
    "patient_id.isin([patient_id.to_csv('tripwire')])",
    "patient_id.isin(patient_id.to_csv('tripwire'))",
    "patient_id.str.contains(patient_id.to_csv('tripwire'))",
    "patient_id.str.contains('a', na=patient_id.to_csv('tripwire'))",
    "(patient_id.to_csv('tripwire'), 1) == device",
    "device == 'a' and patient_id.to_csv('tripwire')",
    "device == 'a' & patient_id.to_csv('tripwire')",
    "not patient_id.to_csv('tripwire')",
    "`patient_id`.to_csv('tripwire')",
    "`model name`.to_csv('tripwire')",
    "patient_id.pipe(device.to_csv, 'tripwire')",
    "patient_id.apply(patient_id.to_csv)",
    "patient_id.map('tripwire'.format)",
    "patient_id.eval('1')",
    "age.__class__",
    "age.__class__.__mro__",
    "age.__init__.__globals__",
    "age.__reduce__()",
    "patient_id.str.__class__",
    "patient_id.str._orig.to_csv('tripwire')",
    "patient_id.str",
    "patient_id.isna",
    "patient_id.plot()",
    "patient_id.index.to_frame().to_csv('tripwire')",
    "__import__('os').system('touch tripwire')",
    "__import__('antigravity')",
    'exec(\'open("tripwire", "w")\')',
    "eval('1')",
    "open('tripwire', 'w')",
    "os.system('touch tripwire')",
    "pd.io.common.os.system('touch tripwire')",
    "@pd.io.common.os.system('touch tripwire')",
    "@os",
    "device == @secret",
    "device @ device",
    "(lambda: open('tripwire', 'w'))()",
    "lambda: 1",
    "[open('tripwire', 'w') for x in (1,)]",
    "{open('tripwire', 'w') for x in (1,)}",
    "{1: 2}",
    "{1, 2}",
    "(open(x) for x in ('tripwire',))",
    "(x := 1) == dose",
    "age = 1",
    "age = 1\ndevice = 2",
    "import os",
    "import antigravity; age > 1",
    "device == f'{age}'",
    'f\'{open("tripwire", "w")}\' == device',
    "device == 'a' if age else 'b'",
    "age[0] == 1",
    "age[age > 1]",
    "age[:2]",
    "device.str[0] == 'a'",
    "device == b'a'",
    "dose == 1j",
    "dose == ...",
    "*device",
    "device.isin(*[['a']])",
    "device.isin(['a'], **{})",
    "device.isin(values=['a'])",
    "device.isin()",
    "device.isin('a')",
    "device.isin(['a', device])",
    "device in [device, 'a']",
    "device in 'a'",
    "['a'] == device",
    "age < [1, 2, 3, 4, 5, 6]",
    "age.between(1, 2, 'both')",
    "age.between(1, 2, inclusive='both')",
    "age.between([1], 2)",
    "device.str.contains('a', 1, 2, True, True)",
    "device.str.contains('a', regex='yes')",
    "device.str.contains('a', flags=2)",
    "device.str.contains(pat='a')",
    "device.str.contains(5)",
    "device.str.contains(['a'])",
    "device.str.startswith(('a', 'b'))",
    "device.str.cat('a')",
    "device.str.repeat(10)",
    "device.str.replace('a', 'b')",
    "device.str.pad(1000000000)",
    "device.str.zfill(1000000000) == 'a'",
    "device.contains('a')",
    "str.lower(device)",
    "device is None",
    "age is not 5",
    "dose ** 9 > 1",
    "9 ** 9 ** 9 > dose",
    "dose << 60 > 1",
    "dose ^ 1",
    "~dose @ 1",
    "dose == 99999999999999999999",
    "dose == 1e999",
    "dose == 0x" + "f" * 5000,
    "dose == " + "9" * 5000,
    "device == 'a' == 'b' is 'c'",
    "yield device",
    "await device",
    "sum(age) > 1",
    "sin(age) > 0.5",
    "abs(age) > 1",
    "print('tripwire')",
    "breakpoint()",
    "device == 'a'\x00",
    "device == 'a",
    "`device",
    "device ==",
    "",
    "\n",
    "#",
    "(" * 5000 + "age" + ")" * 5000,
    "-" * 15000 + "age > 1",
    "not " * 4000 + "left",
    "+".join(["age"] * 4000) + " > 1",
    "a" * 30000,
    "device == '" + "a" * 30000 + "'",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_else_is_evaluated(cases, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tripped: list[str] = []
    monkeypatch.setattr("mu_monai.data.condition._value", lambda *_: tripped.append("evaluated"))
    monkeypatch.setattr("os.system", tripped.append)
    modules = set(sys.modules)
    with pytest.raises(InputError, match="a condition may use columns") as caught:
        matching_rows(cases, text)
    assert tripped == []
    assert os.listdir(tmp_path) == []
    assert set(sys.modules) == modules
    assert len(str(caught.value)) < 45_000


@pytest.mark.parametrize("text", ["__builtins__ == 1", "index > 2", "self == 1", "devise == 'a' and agee > 1"])
def test_names_are_columns_alone(cases, text):
    with pytest.raises(InputError, match="is not a column"):
        matching_rows(cases, text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "device + site == 'ab'",
            "device * 3 == 'aaa'",
            "'a' * 9 == device",
            "dose / 'a' > 1",
            "-device",
        ),
        *("dose // 0 == dose % (1 - 1) / 0 * 1 % 0 and 1 / 0 > dose", "age.str.lower() == 'a'", "'a'.isna()"),
        *("device.str.contains('(', regex=True)", "left + 1 > 1", "True", "1 == 1", "device", "dose + 1", "'a'", "5"),
        *("left and True", "device or left", "not device", "~dose", "'a' in ['a']", "'a'.str.lower() == device"),
        *("1 < 2 < dose", "9007199254740992 * 9007199254740992 * 9007199254740992 + dose > 0"),
    ],
)
def test_what_cannot_be_answered_is_an_input_error(cases, text):
    with pytest.raises(InputError, match=r"cannot be evaluated|is not true or false"):
        matching_rows(cases, text)


PARTS = st.sampled_from(
    [
        *(
            "device",
            "age",
            "dose",
            "left",
            "`model name`",
            "nothing",
            "'a'",
            '"b"',
            "1",
            "2.5",
            "None",
            "True",
            "['a']",
        ),
        *(
            "(",
            ")",
            "[",
            "]",
            ",",
            ".",
            "==",
            "!=",
            "<",
            ">=",
            "in",
            "not",
            "and",
            "or",
            "&",
            "|",
            "~",
            "+",
            "-",
            "*",
            "/",
        ),
        *(
            ".str",
            ".isna()",
            ".isin([1])",
            ".str.lower()",
            ".str.contains('a')",
            "'",
            "`",
            "@",
            "**",
            ":",
            "=",
            "lambda",
        ),
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40), st.lists(PARTS, max_size=10).map(" ".join), st.lists(PARTS, max_size=8).map("".join)
    )
)
def test_any_text_is_answered_or_refused(text):
    table = pd.DataFrame(
        {"device": ["a", "b", None], "age": [1.0, 2.0, np.nan], "dose": [1, 2, 3], "left": [True, False, True]}
    ).assign(**{"model name": ["x", "y", "z"]})
    before = table.copy()
    try:
        found = matching_rows(table, text)
    except InputError:
        pass
    else:
        assert isinstance(found, pd.Series)
        assert found.dtype in (bool, "boolean")
        assert len(found) == len(table)
    pd.testing.assert_frame_equal(table, before)
