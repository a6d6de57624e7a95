"""Names that people take for the same, and programs do not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
_SIGNS = re.compile(r"[_.\-\"]")
_ASIDE = {"Cf", "Zl", "Zp", "Zs"}  # invisible characters and spaces


def likeness(name: str) -> str:
    """What is left of a name without case, leading zeros, spaces, and forms of the same letter.

    Two names with the same likeness probably mean the same patient, case or value.

    Example:
        >>> [likeness(name) for name in ("AB-007", "ab-7", "ab - 07", "0.05")]
        ['ab-7', 'ab-7', 'ab-7', '0.05']
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    shown = "".join(letter for letter in folded if not letter.isspace() and unicodedata.category(letter) not in _ASIDE)
    return _ZEROS.sub("", shown)


def title(name: str) -> str:
    """What is left of the name of a column without case, spaces, quotes and signs.

    Example:
        >>> title('"Patient ID"') == title("patient_id")
        True
    """
    return _SIGNS.sub("", likeness(name))


def nearly_equal(names: Iterable[str]) -> list[tuple[str, ...]]:
    """The different names that have the same likeness, in sets of two or more.

    Example:
        >>> nearly_equal(["nevus", "Nevus", "melanoma", "nevus"])
        [('Nevus', 'nevus')]
    """
    alike = by_likeness(names)
    return [tuple(same) for same in alike.values() if len(same) > 1]


def by_likeness(names: Iterable[str]) -> dict[str, list[str]]:
    """The different names of each likeness, in alphabetical order."""
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        alike.setdefault(likeness(name), []).append(name)
    return alike


def forms(names: Iterable[str]) -> str:
    r"""The names in quotes; those that look the same on a screen are spelled in ASCII.

    Example:
        >>> forms(["nevus", "Nevus"]), forms(["é", "e" + chr(0x301)])
        ("'nevus' and 'Nevus'", "'\\xe9' and 'e\\u0301'")
    """
    names = list(names)
    shown = [unicodedata.normalize("NFKC", name) for name in names]
    hidden = len(set(shown)) < len(names) or any(not name.isprintable() for name in names)
    return " and ".join(map(ascii if hidden else repr, names))
