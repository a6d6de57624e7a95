"""Finds the ids of patients and cases in texts, as words and inside names that people chose, and replaces them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mu_monai.keys import CASE_ID, PATIENT_ID
from mu_monai.record.evidence import pseudonym

HIDDEN = "<id>"
_LEAST = 4  # an id with this many letters and digits is not part of a word by chance
_LEAST_DIGITS = 6  # a number with this many digits is not a year, count or size
_LEAST_LETTERS = 3  # fewer may be the end of another word: the id P100 in "step 100"
_BETWEEN = r"[\s_.\-]{0,2}"
_START, _END = r"(?<![^\W_])", r"(?![^\W_])"  # the ends of a word; an underscore is not part of it
_NUMBER_START, _NUMBER_END = r"(?<!\d)(?<!\d[.,])(?<!\d[eE])(?<!\d[eE][-+])", r"(?!\d)(?![.,]\d)"
_DIGESTS = re.compile(r"(?<![0-9A-Za-z])(?:patient-|case-)?[0-9a-f]{64}(?![0-9A-Za-z])")
_NOUN = r"(?<![^\W_])(?:patient|case|subject)s?(?:[ _#:\-]{0,2}|\s)"
_AFTER_A_NOUN = re.compile(rf"(?=({_NOUN}.{{0,60}}))", re.IGNORECASE)
# years of dates and of copyrights, which an id of four digits may equal
_DATES = re.compile(
    r"copyright\W*(?:c\W*)?(?:(?:19|20)\d\d\W{1,3})+|(?<!\d)(?:19|20)\d\d[-/.]\d\d?(?:[-/.]\d\d?)?(?!\d)", re.IGNORECASE
)


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
        normal = _normal(_DIGESTS.sub(" ", text))
        certain = (name for name in self._candidates(normal) if _is_certain(name))
        return any(re.search(_pattern(name), normal, re.IGNORECASE) for name in certain)

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


@dataclass(frozen=True)
class Spelling:
    """How a name is told from other words in a file, where far more could be it by chance than in a sentence.

    Args:
        letters: the letters and digits of the name, which a text with the name has in this order.
        pattern: the regular expression to search for, regardless of case.
        place: where: `anywhere`, among `words` that are not part of a date, or after a `noun` such as `patient`.
    """

    letters: str
    pattern: str
    place: Literal["anywhere", "words", "noun"]

    @classmethod
    def of_id(cls, name: str) -> Spelling:
        """An id, as `Identifiers` finds it; one that could be anything, only after a noun."""
        name = _normal(name)
        if _is_certain(name):
            first, *_, last = [*_runs(name), *_runs(name)]
            start = _START if first.isalpha() and len(first) < _LEAST_LETTERS else r"(?<!\d)"
            end = _END if last.isalpha() and len(last) < _LEAST_LETTERS else r"(?!\d)"
            return cls(_squeezed(name), f"{start}{_pattern(name)}{end}", "anywhere")
        if len(_squeezed(name)) < _LEAST or _is_a_number(name):
            return cls.after_a_noun(name)
        return cls(_squeezed(name), _pattern(name), "words")

    @classmethod
    def of_file(cls, name: str) -> Spelling:
        """The name of a file, as it is."""
        name = _normal(name)
        return cls(_squeezed(name), rf"(?<![\w-]){re.escape(name)}(?![\w-])", "words")

    @classmethod
    def after_a_noun(cls, name: str) -> Spelling:
        """A name after `patient`, `case` or `subject`."""
        name = _normal(name)
        body = _BETWEEN.join(map(re.escape, _runs(name))) if _runs(name) else re.escape(name)
        return cls(_squeezed(name), rf"^{_NOUN}{body}{_END}", "noun")


def found_names(spelled: Mapping[str, Spelling], text: str) -> Iterator[str]:
    """The names that a text holds.

    Args:
        spelled: names, and how each is told from other words.
        text: digests of 64 hexadecimal digits in it are not searched.

    Example:
        >>> spelled = {"Mueller": Spelling.of_id("Mueller"), "12": Spelling.of_id("12"), "2024": Spelling.of_id("2024")}
        >>> list(found_names(spelled, "request of mueller on 2024-05-01")), list(found_names(spelled, "12, patient 12"))
        (['Mueller'], ['12'])
    """
    whole = _normal(_DIGESTS.sub(" ", text))
    letters = _squeezed(whole)
    undated = _DATES.sub(" ", whole)
    places = {
        "anywhere": [whole],
        "words": [undated],
        "noun": [match[1] for match in _AFTER_A_NOUN.finditer(undated)],
    }
    for name, spelling in spelled.items():
        if spelling.letters in letters and any(
            re.search(spelling.pattern, place, re.IGNORECASE) for place in places[spelling.place]
        ):
            yield name


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
