"""The score table with pseudonyms instead of ids, and the salt that they were made with."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Literal

import pandas as pd

from mu_monai.errors import InputError
from mu_monai.files import absence, atomic_path
from mu_monai.keys import CASE_ID, MODEL, PATIENT_ID, SUBSET
from mu_monai.runs.scores import TEXT, read_scores

_SALT_BYTES = 32
_KINDS: dict[str, Literal["patient", "case"]] = {PATIENT_ID: "patient", CASE_ID: "case"}


def pseudonym(kind: Literal["patient", "case"], identifier: str, salt: bytes) -> str:
    r"""A name that is always the same for a patient or case, and cannot be traced back without the salt.

    $\text{kind}\,\Vert\,\text{HMAC-SHA256}(\text{salt}, \text{kind}\,\Vert\,\text{identifier})$

    Args:
        kind: what the identifier names; a patient and a case with the same id get different pseudonyms.
        identifier: the id, as in the split.
        salt: secret bytes of one signing; anyone who has them can test guesses of an identifier.

    Source: RFC 2104.

    Example:
        >>> pseudonym("patient", "Anna", b"a salt")[:20]
        'patient-490f8fecded2'
    """
    return f"{kind}-{hmac.new(salt, f'{kind} {identifier}'.encode(), 'sha256').hexdigest()}"


def commitment(name: str, value: object, salt: bytes) -> str:
    r"""Commit to a value without revealing it: only someone who has the salt can check a guess.

    $\text{HMAC-SHA256}(\text{salt}, \text{name}\,\Vert\,\text{value})$

    Args:
        name: what the value is; equal values with different names get different commitments.
        value: what is committed to, such as the SHA-256 of a file.
        salt: secret bytes of one signing.

    Source: RFC 2104.

    Example:
        >>> commitment("split", "a1", b"a salt")[:12]
        'dd20b86941f8'
    """
    return hmac.new(salt, f"{name} {value}".encode(), "sha256").hexdigest()


def new_salt() -> bytes:
    """32 random bytes: a salt for one signing."""
    return secrets.token_bytes(_SALT_BYTES)


def write_salt(path: str | os.PathLike[str], salt: bytes) -> None:
    """Write a salt in hexadecimal to a new file that only its owner can read.

    Raises:
        FileExistsError: if the file exists.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(salt.hex() + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_salt(path: str | os.PathLike[str]) -> bytes:
    """Read a salt that `write_salt` wrote.

    Raises:
        InputError: if the file is missing or holds something else.
    """
    if not Path(path).is_file():
        raise InputError(
            f"salt file '{path}' {absence(path)}; give the file that was written when the record was signed"
        )
    with open(path, encoding="ascii", errors="replace") as stream:
        text = stream.read(4 * _SALT_BYTES).strip()
    if not re.fullmatch(f"[0-9a-f]{{{2 * _SALT_BYTES}}}", text):
        raise InputError(
            f"'{path}' does not hold a salt ({_SALT_BYTES} bytes in hexadecimal); give the file as it was written"
        )
    return bytes.fromhex(text)


def hash_ids(scores: pd.DataFrame, salt: bytes) -> pd.DataFrame:
    """The score table with pseudonyms instead of ids, sorted so that the original order is lost.

    Text columns that are not part of every score table are left out, since they may name somebody.
    """
    known = [name for name in scores if name in TEXT or pd.api.types.is_numeric_dtype(scores[name])]
    hashed = {
        column: scores[column].astype(str).map(lambda name, kind=kind: pseudonym(kind, name, salt))
        for column, kind in _KINDS.items()
    }
    return scores[known].assign(**hashed).sort_values([MODEL, SUBSET, CASE_ID], ignore_index=True)


def write_evidence(scores: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a score table whose ids are pseudonyms."""
    with atomic_path(path) as target:
        scores.to_csv(target, index=False)


def read_evidence(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what `write_evidence` wrote, with exactly the same numbers.

    Raises:
        InputError: if it is not a table.
    """
    return read_scores(path)
