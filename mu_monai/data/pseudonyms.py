"""Names for patients and series that do not tell who they are."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Literal

from mu_monai.data.selection import ForgetIds
from mu_monai.errors import raise_if_any

_DIGITS = 12  # 48 bits: among a million patients, two share a name with a chance of 1 in 600


def pseudonym(kind: Literal["patient", "series"], identifier: str, salt: str) -> str:
    r"""A name that tells the same patients and series apart and is not found out without the salt.

    $\text{kind}\,\Vert\,\text{HMAC-SHA256}(\text{salt}, \text{identifier})$, shortened to 12 hexadecimal digits.

    Args:
        kind: what the identifier is of; it is the first part of the name.
        identifier: PatientID or SeriesInstanceUID.
        salt: secret text of one split; whoever knows it can try identifiers.

    Source: RFC 2104.

    Example:
        >>> pseudonym("patient", "Anna", "a salt")
        'patient-9f6256835c45'
    """
    return f"{kind}-{hmac.new(salt.encode(), identifier.encode(), 'sha256').hexdigest()[:_DIGITS]}"


def hash_ids(forget: ForgetIds, known: Collection[str], salt: str) -> ForgetIds:
    """Put the names in a split in the place of the identifiers that a user knows.

    Args:
        forget: PatientIDs, SeriesInstanceUIDs, or names that stand in the split already.
        known: the patient and case ids of the split.
        salt: that of the split.

    Raises:
        InputError: for identifiers of no series in the split.
    """
    names = {entry: _name(entry, known, salt) for entry in forget.value}
    raise_if_any(
        f"id {entry!r} to forget is neither PatientID nor SeriesInstanceUID of a series in the split; check it, and "
        "that the split was made with the salt that you gave"
        for entry, name in names.items()
        if name is None
    )
    return ForgetIds(tuple(name for name in names.values() if name is not None))


def _name(entry: str, known: Collection[str], salt: str) -> str | None:
    candidates = (entry, pseudonym("patient", entry, salt), pseudonym("series", entry, salt))
    return next((name for name in candidates if name in known), None)
