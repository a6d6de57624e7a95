"""The score table under names that tell nobody's identity, and the salt that they were made with."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mu_monai.errors import InputError
from mu_monai.files import atomic_path
from mu_monai.keys import CASE_ID, MODEL, PATIENT_ID, SUBSET
from mu_monai.tables import read_scores

SALT_FILE = "record-salt.txt"
_SALT_BYTES = 32
_KINDS: dict[str, Literal["patient", "case"]] = {PATIENT_ID: "patient", CASE_ID: "case"}


def pseudonym(kind: Literal["patient", "case"], identifier: str, salt: bytes) -> str:
    r"""A name that is the same for the same patient or case, and is not found out without the salt.

    $\text{kind}\,\Vert\,\text{HMAC-SHA256}(\text{salt}, \text{kind}\,\Vert\,\text{identifier})$

    Args:
        kind: what the identifier is of; a patient and a case of the same id get other names.
        identifier: as it stands in the split.
        salt: secret bytes of one run; whoever has them can try identifiers.

    Source: RFC 2104.

    Example:
        >>> pseudonym("patient", "Anna", b"a salt")[:20]
        'patient-490f8fecded2'
    """
    return f"{kind}-{hmac.new(salt, f'{kind} {identifier}'.encode(), 'sha256').hexdigest()}"


def salt_of(run: str | os.PathLike[str]) -> bytes:
    """The salt of a run: 32 random bytes in its folder, drawn when it is first asked for.

    Raises:
        InputError: where the file holds something else.
    """
    path = Path(run) / SALT_FILE
    if not path.exists():
        with atomic_path(path) as target:
            os.chmod(target, 0o600)
            target.write_text(secrets.token_hex(_SALT_BYTES) + "\n", encoding="ascii")
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(f"[0-9a-f]{{{2 * _SALT_BYTES}}}", text):
        raise InputError(f"'{path}' holds no salt of {_SALT_BYTES} bytes in hexadecimal; restore it, or remove it")
    return bytes.fromhex(text)


def hash_ids(scores: pd.DataFrame, salt: bytes) -> pd.DataFrame:
    """The score table with pseudonyms for ids, its rows in an order that tells nothing of the original one."""
    hashed = {
        column: scores[column].astype(str).map(lambda name, kind=kind: pseudonym(kind, name, salt))
        for column, kind in _KINDS.items()
    }
    return scores.assign(**hashed).sort_values([MODEL, SUBSET, CASE_ID], ignore_index=True)


def hash_text(content: Any, scores: pd.DataFrame, salt: bytes) -> Any:
    """JSON with pseudonyms for every id of a score table that stands in its texts, as a whole or as a word.

    Ids of digits alone are only known in quotes, or where they are all of a text: else they could be any number.

    Example:
        >>> scores = pd.DataFrame({"patient_id": ["p7"], "case_id": ["p7_a"]})
        >>> hash_text({"worst": ["p7", "p77"]}, scores, b"a salt")["worst"][1]
        'p77'
    """
    names = {
        name: pseudonym(kind, name, salt)
        for column, kind in reversed(_KINDS.items())  # a case that is called as its patient is the patient
        for name in scores[column].astype(str).unique()
    }
    ordered = sorted(names, key=len, reverse=True)
    words = "|".join(re.escape(name) for name in ordered if not name.isdigit())
    digits = "|".join(name for name in ordered if name.isdigit())
    bounds = {rf"(?<![\w-])(?:{words})(?![\w-])": words, rf"(?<=['\"])(?:{digits})(?=['\"])": digits}
    return _replaced(content, names, re.compile("|".join(text for text, found in bounds.items() if found)))


def _replaced(content: Any, names: Mapping[str, str], pattern: re.Pattern[str]) -> Any:
    if isinstance(content, Mapping):
        return {key: _replaced(value, names, pattern) for key, value in content.items()}
    if isinstance(content, list):
        return [_replaced(value, names, pattern) for value in content]
    if not isinstance(content, str):
        return content
    if content in names:
        return names[content]
    return pattern.sub(lambda match: names[match[0]], content)


def write_evidence(scores: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a score table whose ids are pseudonyms."""
    with atomic_path(path) as target:
        scores.to_csv(target, index=False)


def read_evidence(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read it with the very numbers that were written.

    Raises:
        InputError: where it is no table.
    """
    return read_scores(path)
