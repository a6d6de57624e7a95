"""A data set described by patterns over its file names: where images and labels are, and who the patient is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mu_monai.data.layouts.listing import Listing, suffix_of
from mu_monai.data.manifest import FILE_SUFFIXES, nearest_names
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, SUBSET

CASE, CHANNEL, CLASS, EXTENSION, PATIENT, SET = "case", "channel", "class", "ext", "patient", "set"
DIAGNOSIS = "diagnosis"  # the column of the class, as in class folders
_WITH_MEANING = (CASE, CHANNEL, CLASS, EXTENSION, PATIENT, SET)
_TAKEN = (CASE_ID, PATIENT_ID, IMAGE, LABEL, SUBSET, DIAGNOSIS)
_FIELD = re.compile(r"\{(?P<name>\w+)(?::(?P<regex>(?:[^{}]|\{[\d,]+\})*))?\}|(?P<folders>\*\*/)|(?P<star>\*)")
_ANY_SUFFIX = "|".join(re.escape(end) for end in sorted(FILE_SUFFIXES, key=len, reverse=True))

Fields = dict[str, str]


@dataclass(frozen=True)
class Pattern:
    """A pattern over the path of a file in its folder, without regard to case.

    `{name}` stands for a part of one name, and gives it a name; the same field again stands for the same text.
    `{name:regex}` says what it may be, and `{_:regex}` does not name it; named groups in the expression are fields as
    well. `{ext}` is the suffix of an image or label, `*` any part of one name, and `**/` any folders.

    Args:
        text: the pattern, with `/` between folders.

    Raises:
        InputError: if it is not a pattern.

    Example:
        >>> Pattern("imagesTr/{case}_{channel:[0-9]{4}}{ext}").fields_of("imagesTr/liver_3_0000.nii.gz")
        {'case': 'liver_3', 'channel': '0000', 'ext': '.nii.gz'}
        >>> Pattern("**/{case}_seg.png").fields_of("a/b/c_mask.png") is None
        True
    """

    text: str

    def fields_of(self, path: str) -> Fields | None:
        """The fields of a path; None if it does not have the pattern."""
        match = self._regex.fullmatch(path)
        return {name: value for name, value in match.groupdict().items() if value is not None} if match else None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its fields, from left to right."""
        return tuple(self._regex.groupindex)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        parts, seen, end = [], set[str](), 0
        for match in _FIELD.finditer(self.text):
            parts.append(_literal(self.text, self.text[end : match.start()]))
            parts.append(_expression(match, seen))
            end = match.end()
        parts.append(_literal(self.text, self.text[end:]))
        try:
            return re.compile("".join(parts), re.IGNORECASE)
        except re.error as error:
            raise InputError(
                f"pattern {self.text!r} has an expression that cannot be used ({error}); an example is "
                "'imagesTr/{case}_{channel:[0-9]{4}}.nii.gz'"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """Where the images and labels of a data set are, and who its patients are.

    Args:
        images: patterns of the images, with `{case}`. Files that differ in `{channel}` are one case. `{class}` is the
            class of an image without label file, `{patient}` its patient. Other fields become columns.
        labels: patterns of the label files, with `{case}`; other fields that images have too must agree. `{set}` is
            the label set. Without any, the class of an image is its label.
        aside: patterns of files that look like images or labels and are neither.
        patient: the patient, in which fields are filled in: `{case}`; or an expression that is searched in the path of
            the image, with a group `(?P<patient>...)`; empty for `{patient}`, or else one patient per image.
        label_sets: the names that `{set}` may have; the first is the default.
        expected: how the label of an image is named, for messages.
        complete: whether an image without a label is an error, or else is left out.
        several: whether cases with several label files are left out, or else are an error.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    patient: str = ""
    label_sets: tuple[str, ...] = ()
    expected: str = ""
    complete: bool = False
    several: bool = False


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The files of a folder, by the ids of its cases.

    Args:
        images: the files of each case by channel, which is empty where there is only one; there should be one of each.
        labels: the label files of each case; there should be one.
        fields: the fields of the image of each case.
        aside: files that are known to be neither, and labels of other label sets.
    """

    images: Mapping[str, Mapping[str, Sequence[Path]]]
    labels: Mapping[str, Sequence[Path]]
    fields: Mapping[str, Fields]
    aside: Sequence[Path]

    def files_of(self, case: str) -> list[Path]:
        """All files of a case."""
        return [*(file for files in self.images.get(case, {}).values() for file in files), *self.labels.get(case, ())]


def find_cases(listing: Listing, arrangement: Arrangement, label_set: str | None = None) -> Cases:
    """Find the images and labels of a folder; whether every image has a label is not checked.

    The id of a case is its `{case}`; where several share it, the other fields that images and labels share go before:
    `benign/1`.

    Args:
        listing: the folder.
        arrangement: where they are.
        label_set: the label set, if there are several.

    Raises:
        InputError: if a pattern is not one, or lacks `{case}`.
    """
    images, labels = ([Pattern(text) for text in texts] for texts in (arrangement.images, arrangement.labels))
    raise_if_any(
        f"pattern {pattern.text!r} has no field {{{CASE}}}, the part of a name that the files of a case share; an "
        "example is 'images/{case}.png'"
        for pattern in (*images, *labels)
        if CASE not in pattern.names
    )
    raise_if_any(
        f"pattern {pattern.text!r} has a field {name!r}, which is a column of every split; call it otherwise "
        f"({{{CLASS}}} for the class, {{{PATIENT}}} for the patient)"
        for pattern in images
        for name in pattern.names
        if name in _TAKEN
    )
    aside = _matches(listing, map(Pattern, arrangement.aside), ())
    of_labels = _matches(listing, labels, aside)
    of_images = _matches(listing, images, {*aside, *of_labels})
    other_sets = {path: None for path, found in of_labels.items() if label_set not in (None, found.get(SET, label_set))}
    of_labels = {path: found for path, found in of_labels.items() if path not in other_sets}
    shared = [name for name in images[0].names if all(name in pattern.names for pattern in (*images, *labels))]
    shared = [name for name in shared if name not in (CHANNEL, EXTENSION, SET)]
    keys = {
        path: tuple(found.get(name, "") for name in shared) for path, found in (*of_images.items(), *of_labels.items())
    }
    ids = _ids(set(keys.values()), shared.index(CASE))
    found_images: dict[str, dict[str, list[Path]]] = {}
    found_labels: dict[str, list[Path]] = {}
    for path, found in of_images.items():
        files = found_images.setdefault(ids[keys[path]], {})
        files.setdefault(found.get(CHANNEL, ""), []).append(listing.files[path])
    for path in of_labels:
        found_labels.setdefault(ids[keys[path]], []).append(listing.files[path])
    fields = {ids[keys[path]]: found for path, found in reversed(of_images.items())}  # of its first file
    return Cases(
        images=found_images,
        labels=found_labels,
        fields=fields,
        aside=[listing.files[path] for path in (*aside, *other_sets)],
    )


def label_sets_of(listing: Listing, arrangement: Arrangement) -> list[str]:
    """The label sets that a folder has, by the field `{set}` of its label files."""
    found = _matches(listing, map(Pattern, arrangement.labels), ())
    return sorted({fields[SET] for fields in found.values() if SET in fields})


def patients_of(cases: Mapping[str, Fields], paths: Mapping[str, str], patient: str) -> dict[str, str]:
    r"""The patient of each case.

    Args:
        cases: the fields of each case.
        paths: the path of the image of each case in its folder.
        patient: see `Arrangement`.

    Raises:
        InputError: if it is neither, names an unknown field, or gives some case no patient.

    Example:
        >>> patients_of({"01L": {"case": "01L"}}, {"01L": "eyes/01L.png"}, r"(?P<patient>\d+)[LR]")
        {'01L': '01'}
        >>> patients_of({"a": {"case": "a", "site": "x"}}, {"a": "x/a.png"}, "{site}-{case}")
        {'a': 'x-a'}
    """
    if f"(?P<{PATIENT}>" in patient:
        try:
            found = {case: re.search(patient, paths[case]) for case in cases}
        except re.error as error:
            raise InputError(f"--patient {patient!r} is not a regular expression ({error}); correct it") from None
        names = {case: match[PATIENT] if match else None for case, match in found.items()}
    else:
        raise_if_any(_template_problems(patient, cases))
        names = {case: _filled(patient, fields) for case, fields in cases.items()}
    nobody = [case for case, name in names.items() if not name]
    if nobody:
        raise InputError(
            f"--patient {patient!r} finds no patient for {len(nobody)} of {len(names)} images, such as "
            f"{paths[nobody[0]]!r}; an example for 'p12_left.png' is '(?P<patient>p[0-9]+)_'"
        )
    return {case: name for case, name in names.items() if name}


def channels_of(cases: Cases) -> tuple[list[str], list[str]]:
    """The channels of the cases in alphabetical order, and the cases that lack some, one sentence each."""
    every = sorted({channel for files in cases.images.values() for channel in files})
    return every, [
        f"case {case!r} has no file for {', '.join(map(repr, sorted(set(every) - set(files))))}, which other cases "
        "have; add the file, or take the case out"
        for case, files in cases.images.items()
        if len(files) < len(every)
    ]


def columns_of(fields: Fields) -> Fields:
    """The columns of the manifest that fields become: all that have no meaning of their own, and the class."""
    own = {name: value for name, value in fields.items() if name not in _WITH_MEANING}
    return own | ({DIAGNOSIS: fields[CLASS]} if CLASS in fields else {})


def _matches(listing: Listing, patterns: Iterable[Pattern], taken: Collection[str]) -> dict[str, Fields]:
    """The fields of each file that has one of the patterns and is not taken; the first pattern counts."""
    found: dict[str, Fields] = {}
    for pattern in patterns:
        for path in listing.files:
            if (
                suffix_of(path)
                and path not in taken
                and path not in found
                and (fields := pattern.fields_of(path)) is not None
            ):
                found[path] = fields
    return {path: found[path] for path in listing.files if path in found}


def _ids(keys: Collection[tuple[str, ...]], case: int) -> dict[tuple[str, ...], str]:
    """The id of each key: its part `case` if that is enough to tell all keys apart, else all of its parts."""
    if len({key[case] for key in keys}) == len(keys):
        return {key: key[case] for key in keys}
    return {key: "/".join(filter(None, key)) for key in keys}


def _filled(template: str, fields: Fields) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: fields.get(match[1], ""), template)


def _template_problems(patient: str, cases: Mapping[str, Fields]) -> list[str]:
    names = re.findall(r"\{(\w+)\}", patient)
    known = sorted({name for fields in cases.values() for name in fields})
    if not names:
        return [
            f"--patient {patient!r} says nothing of the file; name fields of the pattern, as in '{{case}}', or give a "
            "regular expression with a group (?P<patient>...)"
        ]
    return [
        f"--patient {patient!r} names the field {name!r}; {nearest_names(name, known)}"
        for name in names
        if name not in known
    ]


def _literal(text: str, part: str) -> str:
    if "{" in part or "}" in part:
        raise InputError(
            f"pattern {text!r} has a brace that is not around a field; an example is 'imagesTr/{{case}}_0000.nii.gz'"
        )
    return re.escape(part)


def _expression(match: re.Match[str], seen: set[str]) -> str:
    """The regular expression of a field, of `*` or of `**/`."""
    if match["folders"]:
        return "(?:[^/]+/)*"
    if match["star"]:
        return "[^/]*?"
    name, regex = match["name"], match["regex"]
    if regex is None:
        regex = _ANY_SUFFIX if name == EXTENSION else "[^/]+?"
    if name == "_":
        return f"(?:{regex})"
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    return f"(?P<{name}>{regex})"
