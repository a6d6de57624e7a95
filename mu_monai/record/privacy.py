"""Removes what a record must not reveal: names that people chose, ids, and how many cases somebody has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mu_monai.record.identifiers import Identifiers

_COMMAND, _PRESET, _SETTINGS = "command", "preset", "settings"
_CHANGED = ", changed"  # follows the name of a preset that was used with other values
_PLACES = frozenset(("good_forget", "good_retain", "milestones", "shards", "weights"))  # settings that name a folder
# Fields that the program words itself, or that `verify` compares exactly: ids in them are refused, not replaced.
_OWN = frozenset(
    (
        *("commitments", "created", "device", "draws", "forget_classes", "limitations", "records", "release_search"),
        *("started", "task", "verb", "verdict", "version", "versions", "weights"),
    )
)
_VERBS = frozenset(("audit", "compare", "compose", "demo", "evaluate", "run", "train", "unlearn"))
_NAMED = frozenset(("--attacks", "--fine-tune", "--method", "--methods", "--preset", "--subsets"))
_NUMERIC = frozenset(("--shadows", "--trials"))
_SUFFIX = r"\.(?:csv|dcm|gz|jpe?g|json|nii|npz|png|pth?|tiff?|txt|zip)(?!\w)"
_IN = r"""(?:[^'"\n]|(?<=\w)['"](?=\w))*"""  # a quote between letters is an apostrophe in a name
_QUOTED = rf"""(?<!\w)(?P<quote>['"]){_IN}(?:[\\/]{_IN}|{_SUFFIX})(?P=quote)(?!\w)"""
_PART = r"[^\s'\",;()\[\]{}]+(?:'\w[^\s'\",;()\[\]{}]*)*"
_ROOT = r"(?:~?/|\.{1,2}/|[A-Za-z]:[\\/]|\\\\)"
_ABSOLUTE = rf"(?<![\w/]){_ROOT}{_PART}(?:(?: [\w-][\w.-]*){{1,5}}[\\/]{_PART})*"  # words before a slash are part of it
_RELATIVE = r"(?<![\w./-])(?:[\w.-]+/)+[\w.-]+\.[A-Za-z]\w*"  # by its suffix: "and/or" and "2/3" are not paths
_DEEP = r"(?<![\w./\\-])(?=[\d./-]*[^\W\d])[\w.-]+(?:[\\/][\w.-]*\w){2,}"  # by its three parts, one with a letter
_PATH = re.compile(rf"{_QUOTED}|{_ABSOLUTE}|{_RELATIVE}|{_DEEP}|(?<![\w./-])[\w.-]*\w{_SUFFIX}")
_CASES = re.compile(r"(?<![\w.])\d[\d,]*(?=(?: of the)?(?: [a-z]+){0,2} (?:cases?|images?|volumes?)\b)", re.IGNORECASE)


def signable(content: Any, ids: Identifiers, known: Collection[str] = ()) -> Any:
    """JSON content without names that people chose: commands reduced to options, no paths, pseudonyms instead of ids.

    Numbers of cases in sentences are removed too: they identify a patient who is the only one with five images.

    Args:
        content: what is to be signed. In a sentence, a path is recognized by its root, by a file suffix, by three or
            more parts, or by a slash in quotes; a setting is one if there is a slash in it, or if it names a folder.
        ids: the ids of the score table.
        known: names of the program's own bundles, methods, presets and attacks; they are kept.

    Example:
        >>> import pandas as pd
        >>> ids = Identifiers(pd.DataFrame({"patient_id": ["anna"], "case_id": ["4711_a"]}), b"a salt")
        >>> signable({"command": "mu-monai train isic --split anna.json --seed 3 --subsets retain"}, ids,
        ...     ["isic", "retain"])
        {'command': 'mu-monai train isic --split <split> --seed <seed> --subsets retain'}
        >>> signable(["'withdrawn/2 of 3.txt' and for-4711-A: 2/3 of 5 cases"], ids)
        ['<path> and for-<id>: 2/3 of <n> cases']
        >>> signable({"settings": {"milestones": "/data/withdrawn by Anna Mueller/teacher", "bn_mode": "eval"}}, ids)
        {'settings': {'milestones': '<path>', 'bn_mode': 'eval'}}
    """
    if isinstance(content, Mapping):
        return {key: _signable_field(str(key), value, ids, known) for key, value in content.items()}
    if isinstance(content, list):
        return [signable(value, ids, known) for value in content]
    if not isinstance(content, str) or content in known:
        return content
    return ids.replaced(_CASES.sub("<n>", without_paths(content)))


def _signable_field(key: str, value: Any, ids: Identifiers, known: Collection[str]) -> Any:
    if key in _OWN:
        return value
    if key == _COMMAND and isinstance(value, str):
        return shown_command(value, ids, known)
    if key == _PRESET and isinstance(value, str) and value.removesuffix(_CHANGED) not in known:
        return f"<{_PRESET}>"
    return signable(_without_places(value, known) if key == _SETTINGS else value, ids, known)


def _without_places(setting: Any, known: Collection[str], key: str = "") -> Any:
    """Settings with `<path>` in place of every whole value that is a path, spaces and all."""
    if isinstance(setting, Mapping):
        return {name: _without_places(value, known, str(name)) for name, value in setting.items()}
    if isinstance(setting, list):
        return [_without_places(value, known, key) for value in setting]
    is_path = isinstance(setting, str) and setting not in known and (key in _PLACES or re.search(r"[\\/]", setting))
    return "<path>" if is_path and setting else setting


def id_problems(content: Any, ids: Identifiers) -> Iterator[str]:
    """Every field whose name or text still holds an id.

    Names inside a setting are chosen by people, so any id in them is refused. In all other names, and in texts, only
    ids are refused that cannot be there by chance: of letters and digits, or of many digits.

    Example:
        >>> import pandas as pd
        >>> ids = Identifiers(pd.DataFrame({"patient_id": ["PAT005"], "case_id": ["a"]}), b"a salt")
        >>> [text[:39] for text in id_problems({"forget_classes": ["lesion", "pat005"]}, ids)]
        ["the record's field 'forget_classes.1' h"]
    """
    return (
        f"the record's field '{field}' holds the id of a patient or case, which every reader would see; remove it at "
        "its source (the name of a bundle, preset, class or setting), then sign again"
        for field in _named_fields(content, ids, "", 0)
    )


def _named_fields(content: Any, ids: Identifiers, field: str, depth: int) -> Iterator[str]:
    """The fields with an id; a key that holds one is reported as the field that contains it."""
    if isinstance(content, str):
        if ids.surely_in(content):
            yield field
    elif isinstance(content, Mapping):
        for key, value in content.items():
            name = str(key)
            if ids.surely_in(name) or (depth > 1 and ids.replaced(name) != name):
                yield f"{field} (a name in it)"
                continue
            deeper = depth + 1 if depth or name == _SETTINGS else 0
            yield from _named_fields(value, ids, f"{field}.{name}" if field else name, deeper)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _named_fields(value, ids, f"{field}.{index}", depth)


def without_paths(text: str) -> str:
    """A sentence without the names of files and folders, which people choose.

    Example:
        >>> without_paths("see /home/anna/x.png and 'for Mueller.json', and/or 2/3")
        'see <path> and <path>, and/or 2/3'
    """
    return _PATH.sub("<path>", text)


def shown_command(text: str, ids: Identifiers, known: Collection[str]) -> str:
    """A command with its verb, the names of its options, and only those values that cannot name anybody.

    Seeds are not shown: the seed of a run often is also that of the selection.

    Args:
        text: the command as it was typed.
        ids: an option that holds one of these is not shown.
        known: names that are shown as they are.
    """
    try:
        program, *arguments = shlex.split(text)
    except ValueError:  # it is empty, or a quote is not closed
        return "<command>"
    shown, option = [_program(program)], ""
    for place, argument in enumerate(arguments):
        if place == 0:
            shown.append(argument if argument in _VERBS else "<argument>")
        elif argument.startswith("-"):
            name, equals, value = argument.partition("=")
            option = name if re.fullmatch(r"--[a-z][a-z-]*", name) and ids.replaced(name) == name else "<option>"
            shown.append(f"{option}={_value(option, value, known)}" if equals else option)
            option = "" if equals else option
        else:
            shown.append(_value(option, argument, known))
            option = ""
    return " ".join(shown)


def _program(path: str) -> str:
    place = path.replace("\\", "/")
    if place.endswith("monai/bundle/__main__.py"):
        return "monai.bundle"
    return "mu-monai" if place.rpartition("/")[2] in ("mu-monai", "mu-monai.exe") else "<program>"


def _value(option: str, text: str, known: Collection[str]) -> str:
    """A value, if it is a name of the program's own or the number of an option that takes one; else a placeholder."""
    if option in _NAMED | {""} and all(part in known for part in re.split("[,:]", text)):
        return text
    if option in _NUMERIC and text.isdecimal():
        return text
    return f"<{option.removeprefix('--')}>" if option.startswith("--") else "<argument>"
