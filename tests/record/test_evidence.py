"""Evidence: the numbers as they are, and nobody's name."""

import re

import numpy as np
import pandas as pd
import pytest

from mu_monai.errors import InputError
from mu_monai.record import (
    commitment,
    hash_ids,
    new_salt,
    pseudonym,
    read_evidence,
    read_salt,
    write_evidence,
    write_salt,
)

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


def test_a_column_of_text_that_nobody_knows_stays_at_home(scores):
    hashed = hash_ids(scores.assign(image="anna.png", predicted="NA", age=50), SALT)
    assert "image" not in hashed
    assert {"predicted", "age", "dice", "label"} <= set(hashed)


def test_a_salt_is_new_each_time_and_for_the_owner_alone(tmp_path):
    file, salt = tmp_path / "salt.txt", new_salt()
    assert len(salt) == 32
    assert new_salt() != salt
    write_salt(file, salt)
    assert read_salt(file) == salt
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        write_salt(file, salt)


@pytest.mark.parametrize("content", ["", "short", "AB" * 32, "ab" * 33, "z" * 64])
def test_what_is_no_salt_is_told(content, tmp_path):
    (tmp_path / "salt.txt").write_text(content)
    with pytest.raises(InputError, match=r"salt \(32 bytes"):
        read_salt(tmp_path / "salt.txt")


def test_a_missing_salt_is_told(tmp_path):
    with pytest.raises(InputError, match=r"salt file '.*gone.txt' does not exist"):
        read_salt(tmp_path / "gone.txt")


def test_a_commitment_depends_on_name_value_and_salt():
    found = {
        commitment(*given) for given in (("a", "1", SALT), ("b", "1", SALT), ("a", 2, SALT), ("a", "1", bytes(32)))
    }
    assert len(found) == 4


def test_a_damaged_table_is_told(tmp_path):
    (tmp_path / "scores.csv").write_bytes(b"")
    with pytest.raises(InputError, match="is not a readable table"):
        read_evidence(tmp_path / "scores.csv")
