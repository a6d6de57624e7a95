"""Evidence: the numbers as they are, and nobody's name."""

import re

import numpy as np
import pandas as pd
import pytest

from mu_monai.errors import InputError
from mu_monai.record import hash_ids, hash_text, pseudonym, read_evidence, salt_of, write_evidence

SALT = bytes(range(32))


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient_id": ["7", "7", "anna", "b-3"], "case_id": ["7", "7_1", "anna_0", "b-3"]})
    return table.assign(model="student", subset=["forget", "forget", "test", "test"], dice=rng.random(4), label="NA")


def test_ids_are_salted_hashes_and_patients_stay_together(scores):
    hashed = hash_ids(scores, SALT)
    assert all(re.fullmatch("patient-[0-9a-f]{64}", name) for name in hashed["patient_id"])
    assert all(re.fullmatch("case-[0-9a-f]{64}", name) for name in hashed["case_id"])
    assert hashed["patient_id"].nunique() == 3
    assert hashed["case_id"].is_unique
    assert set(hash_ids(scores, bytes(32))["case_id"]).isdisjoint(hashed["case_id"])
    assert pseudonym("patient", "b-3", SALT)[8:] != pseudonym("case", "b-3", SALT)[5:]


def test_the_order_of_rows_tells_nothing(scores):
    assert hash_ids(scores, SALT).equals(hash_ids(scores.iloc[::-1], SALT))


def test_what_is_written_is_read_to_the_last_bit(scores, tmp_path):
    hashed = hash_ids(scores, SALT)
    write_evidence(hashed, tmp_path / "evidence" / "scores.csv")
    assert read_evidence(tmp_path / "evidence" / "scores.csv").equals(hashed)


def test_ids_in_texts_become_the_same_hashes(scores):
    content = {"worst": ["anna", 3, None], "note": "anna and b-3, not anna_1 or 7 of 9", "id": "7", "told": "is '7'"}
    anna, third, seventh = (pseudonym("patient", name, SALT) for name in ("anna", "b-3", "7"))
    assert hash_text(content, scores, SALT) == {
        "worst": [anna, 3, None],
        "note": f"{anna} and {third}, not anna_1 or 7 of 9",
        "id": seventh,
        "told": f"is '{seventh}'",
    }


def test_the_salt_is_drawn_once_and_for_the_owner_alone(tmp_path):
    salt = salt_of(tmp_path)
    assert len(salt) == 32
    assert salt_of(tmp_path) == salt
    file = tmp_path / "record-salt.txt"
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("short")
    with pytest.raises(InputError, match="holds no salt of 32 bytes"):
        salt_of(tmp_path)


def test_a_damaged_table_is_told(tmp_path):
    (tmp_path / "scores.csv").write_bytes(b"")
    with pytest.raises(InputError, match="is not a readable table"):
        read_evidence(tmp_path / "scores.csv")
