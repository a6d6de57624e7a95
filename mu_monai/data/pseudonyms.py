"""Pseudonyms for patients and series."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Literal

from mu_monai.data.selection import ForgetIds, heed_remarks
from mu_monai.errors import raise_if_any

_DIGITS = 12  # 48 bits: among a million patients, the chance that two share a pseudonym is 1 in 600


def pseudonym(kind: Literal["patient", "series"], identifier: str, salt: str) -> str:
    r"""A name that is the same for the same patient or series, and cannot be traced back without the salt.

    $\text{kind}\,\Vert\,\text{HMAC-SHA256}(\text{salt}, \text{identifier})$, shortened to 12 hexadecimal digits.

    Args:
        kind: whether the identifier is of a patient or a series; the first part of the name.
        identifier: PatientID or SeriesInstanceUID.
        salt: secret text of one split; anyone who knows it can find identifiers by trial.

    Source: RFC 2104.

    Example:
        >>> pseudonym("patient", "Anna", "a salt")
        'patient-9f6256835c45'
    """
    return f"{kind}-{hmac.new(salt.encode(), identifier.encode(), 'sha256').hexdigest()[:_DIGITS]}"


def hash_ids(forget: ForgetIds, known: Collection[str], salt: str) -> ForgetIds:
    """Replace the identifiers that a user knows by their pseudonyms in a split.

    Args:
        forget: PatientIDs, SeriesInstanceUIDs, or pseudonyms from the split; other remarks are dropped.
        known: the patient and case ids of the split.
        salt: the salt of the split.

    Raises:
        InputError: for identifiers that belong to no series in the split.
    """
    forget = heed_remarks(forget, lambda entry: _name(entry, known, salt) is not None)
    names = {entry: _name(entry, known, salt) for entry in forget.value}
    raise_if_any(
        f"id {entry!r} to forget is neither PatientID nor SeriesInstanceUID of a series in the split; check the id, "
        "and check that the split was made with this salt"
        for entry, name in names.items()
        if name is None
    )
    return ForgetIds(tuple(name for name in names.values() if name is not None))


def _name(entry: str, known: Collection[str], salt: str) -> str | None:
    candidates = (entry, pseudonym("patient", entry, salt), pseudonym("series", entry, salt))
    return next((name for name in candidates if name in known), None)
