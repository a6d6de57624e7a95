"""Searches what is handed over for patients: their ids, those of their cases, and the names of their files."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mu_monai.bundle import shipped_bundles
from mu_monai.data import Split, is_file_label
from mu_monai.data.case_files import files_of, image_entry
from mu_monai.data.layouts.listing import stem_of
from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, LABEL, MODEL_PT, PATIENT_ID
from mu_monai.record.identifiers import Spelling, found_names
from mu_monai.tables.encodings import foreign_text
from mu_monai.workflow.handover.sealed import README, released_weights

_YAML = (".yaml", ".yml")
_SHORTEST = 4  # shorter names of files, such as "7", occur by chance in any text
_SETTING = 100_000  # numbers in a config below this are sizes and counts, far more often than ids
_APART = "\n|\n"  # between the texts of a file, so that no name is read across two of them
_SHOWN = 5
_WORDS = (  # of bundles in general, and of what a release writes into each
    "left right upper lower front back test train training valid validation normal healthy control none null true",
    "weights after unlearning 1 patient with, 2 patients with",
)
_ESCAPES = re.compile(r"\\(?:u[dD][89abAB]\w\w\\u\w{4}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[nrtbfv/\"'])")
logger = logging.getLogger(__name__)


class Names:
    """Ids and names of files, and how each is told from other words in a text.

    An id of four or more letters and digits, or of six or more digits, is found anywhere, regardless of case and
    separators. Other ids of four or more characters are found as words, and names of files as they are. Shorter ids,
    decimal numbers, and names that the shipped bundles hold as well, such as `lesion`, are found after `patient`,
    `case` or `subject` only.

    Args:
        ids: the ids of patients and cases.
        files: the names of their files, with and without their endings.

    Example:
        >>> names = Names(["Mueller", "40217", "12", "test"], ["scan_7.png"])
        >>> [names.one_in(text) for text in ("request of MUELLER came in", "(40217)", "patient 12", "SCAN_7.png")]
        ['Mueller', '40217', '12', 'scan_7.png']
        >>> [names.one_in(text) for text in ("12 of 12", "a test", "402171")]
        [None, None, None]
    """

    def __init__(self, ids: Iterable[str], files: Iterable[str] = ()) -> None:
        spelled = {name: Spelling.of_file(name) for name in files if len(name) >= _SHORTEST}
        spelled |= {name: Spelling.of_id(name) for name in ids if name}
        common = [name for name in found_names(spelled, _anybodys_text()) if spelled[name].place != "noun"]
        spelled |= {name: Spelling.after_a_noun(name) for name in common}
        self.weak = sorted(name for name, spelling in spelled.items() if spelling.place == "noun")
        anyway = set(found_names({name: spelled[name] for name in self.weak}, _anybodys_text()))
        self._spelled = {name: spelling for name, spelling in spelled.items() if name not in anyway}

    def one_in(self, text: str) -> str | None:
        """One of the names that a text holds; None if it holds none."""
        return next(found_names(self._spelled, text), None)


def names_of(split: Split) -> Names:
    """The names in a split: of patients and cases, of copies that were left out, and of files of one patient.

    The name of a file that several patients have, such as `image.png` in a folder of each, names none of them.
    """
    cases = [case for part in split.rows.values() for case in part]
    ids = {str(case[key]) for case in cases for key in (CASE_ID, PATIENT_ID)}
    ids |= {*split.provenance.dropped, *(name for names in split.provenance.kept_for.values() for name in names)}
    owners: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        files = list(map(str, files_of(image_entry(case, split.inputs))))
        files += [str(case[LABEL])] if is_file_label(pd.Series([case[LABEL]])).all() else []
        for name in {part for file in files for part in (Path(file).name, stem_of(file))}:
            owners[name].add(str(case[PATIENT_ID]))
    return Names(ids, [name for name, patients in owners.items() if len(patients) == 1])


def name_problems(folder: Path, names: Names, told: Iterable[str] = (), *, without: Collection[str] = ()) -> list[str]:
    """Why a folder must not be handed over: a name or text of a file in it names somebody.

    Args:
        folder: what is to be handed over.
        names: whom it must not name.
        told: further sentences that go with it.
        without: files that are not searched, relative to the folder; of the weights only their name is.
    """
    weights = released_weights(folder)
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    texts = {
        name: _APART.join([name, *(texts_of(path) if path != weights else [])])
        for name, path in paths.items()
        if name not in without
    }
    found = {name: names.one_in(text) for name, text in {**texts, "what is said of it": _APART.join(told)}.items()}
    return [
        f"'{name}' holds '{one}', the id of a patient or case of the split or the name of one of their files; take it "
        "out at its source (the bundle's metadata, configs or documents, the name of a file or class), or write it in "
        "another way if it means something else there, then release the run again"
        for name, one in found.items()
        if one is not None
    ]


def not_searched(names: Names) -> list[str]:
    """What a release has to say of names that cannot be told from other words; the names go to the log."""
    if not names.weak:
        return []
    more = f" and {len(names.weak) - _SHOWN} more" if len(names.weak) > _SHOWN else ""
    logger.warning(
        "%s%s cannot be told from other words and numbers, and were searched for after 'patient', 'case' or 'subject' "
        "only: read the texts of the release yourself",
        ", ".join(map(repr, names.weak[:_SHOWN])),
        more,
    )
    return [
        "ids of up to three characters, and those that are usual words of bundles, were searched for after 'patient', "
        "'case' or 'subject' only"
    ]


def texts_of(path: Path) -> list[str]:
    """The texts of a file: of JSON and YAML the decoded names, texts and long numbers, of any other all of it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.json"
        >>> _ = file.write_text(json.dumps({"a": "Müller01", "size": [40217, 512, 123456]}))
        >>> texts_of(file)
        ['a', 'Müller01', 'size', '123456']
    """
    text = _text(path)
    try:
        if path.suffix == ".json":
            texts = list(_leaves(json.loads(text, object_pairs_hook=_pairs)))
        else:
            texts = list(_scalars(text)) if path.suffix in _YAML else [text]
    except (ValueError, RecursionError, yaml.YAMLError):
        texts = [text]
    return [form for text in texts for form in dict.fromkeys((text, _unescaped(text)))]


def _text(path: Path) -> str:
    try:
        return foreign_text(path)[0]
    except InputError:  # empty, or not only text
        return path.read_bytes().decode("utf-8", errors="replace")


def _pairs(pairs: list[tuple[str, Any]]) -> list[Any]:
    """A JSON object with all of its entries; a mapping keeps the last of two with one name."""
    return [part for pair in pairs for part in pair]


def _leaves(content: Any) -> Iterator[str]:
    if isinstance(content, list):
        for part in content:
            yield from _leaves(part)
    elif isinstance(content, str) or _is_long_number(content):
        yield str(content)


def _is_long_number(content: Any) -> bool:
    return isinstance(content, int | float) and abs(content) >= _SETTING


def _scalars(text: str) -> Iterator[str]:
    """The texts of YAML, those of comments included; nothing is constructed."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        yield from filter(None, (getattr(event, "anchor", None), getattr(event, "tag", None)))
        if isinstance(event, yaml.ScalarEvent) and not _is_setting(event):
            yield event.value
    yield from re.findall(r"#.*", text)


def _is_setting(event: yaml.ScalarEvent) -> bool:
    return event.style is None and event.value.isdecimal() and int(event.value) < _SETTING


def _unescaped(text: str) -> str:
    r"""A text with the characters that JSON and Python write as escapes.

    Example:
        >>> _unescaped(r"M\u00fcller01 \ud83d\ude00 a\nb")
        'Müller01 😀 a\nb'
    """
    return _ESCAPES.sub(_character, text)


def _character(escape: re.Match[str]) -> str:
    code = escape[0][1:]
    if code[0] in "uUx":
        units = re.sub(r"\\?[uUx]", " ", code).split()
        text = "".join(chr(min(int(unit, 16), 0x10FFFF)) for unit in units)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return {"/": "/", '"': '"', "'": "'"}.get(code, "\n")


@cache
def _anybodys_text() -> str:
    """What bundles say without naming anybody: the shipped ones, and what every release is told."""
    files = [file for place in shipped_bundles().values() for file in sorted(place.rglob("*")) if file.is_file()]
    texts = [text for file in files if file.name != MODEL_PT for text in texts_of(file)]
    return _APART.join(dict.fromkeys([*texts, README, *_WORDS]))
