"""Finds the ids of patients and cases in texts, as words and inside names that people chose, and replaces them."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from mu_monai.keys import CASE_ID, PATIENT_ID
from mu_monai.record.evidence import pseudonym

HIDDEN = "<id>"
_LEAST = 4  # an id with this many letters and digits is not part of a word by chance
_LEAST_DIGITS = 6  # a number with this many digits is not a year, count or size
_BETWEEN = r"[\s_.\-]{0,2}"
_START, _END = r"(?<![^\W_])", r"(?![^\W_])"  # the ends of a word; an underscore is not part of it
_NUMBER_START, _NUMBER_END = r"(?<!\d)(?<!\d[.,])(?<!\d[eE])(?<!\d[eE][-+])", r"(?!\d)(?![.,]\d)"
_DIGESTS = re.compile(r"(?<![0-9A-Za-z])(?:patient-|case-)?[0-9a-f]{64}(?![0-9A-Za-z])")


class Identifiers:
    """The ids of a score table.

    Upper and lower case are the same, and separators between letters and digits are ignored. An id with letters and
    digits, four or more in all, is found anywhere, even in the middle of a name. An id of letters only, or a shorter
    one, is found as a word. An id of digits only is found unless a digit or decimal point is next to it. Up to three
    digits, decimal numbers and single letters could be anything: these are found only in quotes, next to letters, `_`,
    `/` or `#`, after `patient` or `case`, or as the whole text. Digests of 64 hexadecimal digits are not searched.

    Args:
        scores: the score table.
        salt: the salt of its pseudonyms.

    Example:
        >>> ids = Identifiers(pd.DataFrame({"patient_id": ["PAT005"], "case_id": ["PAT005_a"]}), b"a salt")
        >>> ids.replaced("runs forget-pat005.json and pat_005b")
        'runs forget-<id>.json and <id>b'
        >>> ids.replaced("the worst is PAT005")[:24]
        'the worst is patient-038'
    """

    def __init__(self, scores: pd.DataFrame, salt: bytes) -> None:
        columns = {"case": CASE_ID, "patient": PATIENT_ID}  # a case with a patient's name gets the patient's pseudonym
        self._names = {
            _normal(name): pseudonym(kind, name, salt)  # type: ignore[arg-type]
            for kind, column in columns.items()
            for name in scores[column].astype(str).unique()
            if name
        }
        longest_first = sorted(self._names, key=len, reverse=True)
        self._squeezed = {name: _squeezed(name) for name in longest_first}

    def replaced(self, text: str) -> str:
        """A text with pseudonyms instead of ids, and with `<id>` for an id that is part of a word."""
        parts = _DIGESTS.split(text)
        digests = [match[0] for match in _DIGESTS.finditer(text)]
        done = [self._part(part) for part in parts]
        return "".join(part for pair in zip(done, [*digests, ""], strict=True) for part in pair)

    def surely_in(self, text: str) -> bool:
        """Whether a text holds an id that cannot be there by chance: of letters and digits, or of many digits."""
        return self.sure_one_in(text) is not None

    def sure_one_in(self, text: str) -> str | None:
        """Such an id, as it stands in the text."""
        normal = _normal(_DIGESTS.sub(" ", text))
        certain = (name for name in self._candidates(normal) if _is_certain(name))
        found = (re.search(_pattern(name), normal, re.IGNORECASE) for name in certain)
        return next((match[0] for match in found if match), None)

    def _candidates(self, text: str) -> list[str]:
        """The ids that a text could hold; this rules out most of them without a regular expression."""
        squeezed = _squeezed(text)
        return [name for name, letters in self._squeezed.items() if letters in squeezed]

    def _part(self, text: str) -> str:
        normal = _normal(text)
        names = self._candidates(normal)
        if not names:
            return text
        if normal in self._names:
            return self._names[normal]
        pattern = re.compile("|".join(f"(?:{_pattern(name)})" for name in names), re.IGNORECASE)
        return pattern.sub(self._name_of, normal)

    def _name_of(self, match: re.Match[str]) -> str:
        text, (start, end) = match.string, match.span()
        whole = not any(letter.isalnum() for letter in text[max(start - 1, 0) : start] + text[end : end + 1])
        return self._names.get(match[0], HIDDEN) if whole else HIDDEN


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _squeezed(text: str) -> str:
    """Only the letters and digits of a text; a text without any is returned unchanged."""
    return "".join(letter for letter in text.casefold() if letter.isalnum()) or text


def _runs(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", name)


def _is_certain(name: str) -> bool:
    runs = _runs(name)
    length, numbers = sum(map(len, runs)), [run.isdecimal() for run in runs]
    return bool(runs) and (length >= _LEAST_DIGITS if all(numbers) else any(numbers) and length >= _LEAST)


def _pattern(name: str) -> str:
    """A regular expression for an id, to be searched for regardless of case."""
    runs = _runs(name)
    if not runs:
        return re.escape(name)
    body = _BETWEEN.join(map(re.escape, runs))
    numbers, length = [run.isdecimal() for run in runs], sum(map(len, runs))
    if all(numbers):
        whole = re.escape(name) if len(runs) > 1 else body
        number = f"{_NUMBER_START}{whole}{_NUMBER_END}"
        return _in_context(number) if _is_a_number(name) else number
    if any(numbers) and length >= _LEAST:
        return body
    word = f"{_START}{body}{_END}"
    return _in_context(word) if length == 1 else word


def _is_a_number(name: str) -> bool:
    """Whether an id could also be a count or a measured value."""
    return bool(re.fullmatch(r"0|[1-9]\d{0,2}|\d+\.\d+", name))


def _in_context(pattern: str) -> str:
    before = r"(?<=['\"_/#])", r"(?<=[^\W\d_]{2}-)", r"(?<=[^\W\d_]{2})", r"(?<=patient )", r"(?<=case )"
    after = r"(?=['\"_])", r"(?=\.[^\W\d_]{2})"
    return "|".join(
        [f"{place}{pattern}" for place in before] + [f"{pattern}{place}" for place in after] + [f"^{pattern}$"]
    )
