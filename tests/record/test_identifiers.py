"""Ids are found wherever people put them, and other words and numbers are left alone."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.record import Identifiers, pseudonym

SALT = b"a salt"


def ids_of(*names):
    return Identifiers(pd.DataFrame({"patient_id": names, "case_id": [f"case of {name}" for name in names]}), SALT)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("PAT005", "forget-pat005.json", "forget-<id>.json"),
        ("PAT005", "PAT_005, pat 005 and pat-005b", "<id>, <id> and <id>b"),
        ("ISIC_0000013", "isic0000013_seg.png", "<id>_seg.png"),
        ("Image_01L", "Image-01L", "<id>"),
        ("p1", "runs/P1 of p12", "runs/<id> of p12"),
        ("anna", "forget_ANNA.txt", "forget_<id>.txt"),
        ("Anna Müller", "for anna_müller", "for <id>"),
        ("ÅSE", "A\u030aSE", pseudonym("patient", "ÅSE", SALT)),  # in another normal form
        ("0007", "scan 0007.png", f"scan {pseudonym('patient', '0007', SALT)}.png"),
        ("12", "img12.png, '12'", f"img<id>.png, '{pseudonym('patient', '12', SALT)}'"),
        ("deadbeef1234", "of DEADBEEF1234", "of <id>"),
        ("—", "—", pseudonym("patient", "—", SALT)),
    ],
)
def test_what_is_found(name, text, told):
    assert ids_of(name).replaced(text) == told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("12", "12 of 12 patients, 0.12 and 112"),
        ("0.5", "at 0.5, where unseen patients are"),
        ("4711", "14711, 0.4711 and 4711.5"),
        ("2026", "0.2026 and 12026"),
        ("case", "cases"),
        ("a", "a model"),
        ("f1", "of 1"),
        ("anna", "annals"),
        ("ab12", "ab12" * 16),
        ("pat-5", "patient-" + "5" * 64),
    ],
)
def test_what_is_left(name, text):
    assert ids_of(name).replaced(text) == text


def test_a_case_that_is_called_as_its_patient_is_the_patient():
    ids = Identifiers(pd.DataFrame({"patient_id": ["b-3"], "case_id": ["b-3"]}), SALT)
    assert ids.replaced("of b-3") == f"of {pseudonym('patient', 'b-3', SALT)}"


@pytest.mark.parametrize(("name", "sure"), [("PAT005", True), ("123456", True), ("2026", False), ("case", False)])
def test_only_what_is_nothing_else_by_chance_is_sure(name, sure):
    assert ids_of(name).surely_in(f"forget-{name}.json") is sure
    assert not ids_of(name).surely_in("a" * 64)


@given(
    st.from_regex(r"[A-Z]{2,5}[_-]?[0-9]{3,6}", fullmatch=True),
    st.sampled_from(["{}", "x{}y", "forget-{}.json", "({})", "runs {} 1"]),
    st.booleans(),
)
def test_no_id_of_letters_and_digits_is_left(name, text, lower):
    given_text = text.format(name.lower() if lower else name)
    assert name.casefold() not in ids_of(name).replaced(given_text).casefold()
