"""What must not stand in a record that is handed over: names of folders, and ids that no hash took the place of."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from mu_monai.keys import CASE_ID, PATIENT_ID

_COMMAND = "command"
_PLACEHOLDERS = {"--forget-ids": "<ids>", "--split": "<split>"}
_SHORTEST = 4  # characters; shorter ids are words and numbers that any sentence may hold
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_QUOTED = re.compile(r"""(?<!\w)(?P<quote>['"])(?P<path>[^'"\n]*[\\/][^'"\n]*)(?P=quote)(?!\w)""")
_ABSOLUTE = r"(?<![\w/])(?:~?/|\.{1,2}/|[A-Za-z]:[\\/]|\\\\)[^\s'\",;()\[\]{}]+"
_RELATIVE = r"(?<![\w./-])(?:[\w.-]+/)+[\w-]+\.[A-Za-z]\w*"  # known by its suffix: "and/or" and "2/3" are no paths
_BARE = re.compile(f"{_ABSOLUTE}|{_RELATIVE}")


def without_paths(content: Any) -> Any:
    """JSON in whose texts every path is its last part; in a `command` the files that name patients are not even that.

    Args:
        content: what is to be signed. In a sentence, a path is known by quotes, by a root or by the suffix of a file.

    Example:
        >>> without_paths({"command": "mu-monai train isic --split anna/split.json --out /home/anna/runs/teacher"})
        {'command': "mu-monai train isic --split '<split>' --out teacher"}
        >>> without_paths(["'withdrawn/2 of 3.txt' and/or /home/anna/a.png: 2/3"])
        ["'2 of 3.txt' and/or a.png: 2/3"]
    """
    return _mapped(content, _of_sentence)


def id_problems(content: Any, scores: pd.DataFrame) -> Iterator[str]:
    """Every text that holds an id of a score table as a word, told by its field and not by the id.

    Ids of less than four characters are left alone, and so are digits behind the point of a number.

    Example:
        >>> scores = pd.DataFrame({"patient_id": ["4711"], "case_id": ["4711_a"]})
        >>> [text[:32] for text in id_problems({"notes": ["worst is 4711", "a loss of 0.4711"]}, scores)]
        ["the record's field 'notes.0' hol"]
    """
    found = {name for column in (PATIENT_ID, CASE_ID) for name in scores[column].astype(str)}
    names = "|".join(re.escape(name) for name in sorted(found) if len(name) >= _SHORTEST)
    pattern = re.compile(rf"(?<![\w-])(?<!\d\.)(?:{names})(?![\w-])(?!\.\d)")
    for field, text in _texts(content) if names else ():
        if pattern.search(text):
            yield (
                f"the record's field '{field}' holds the id of a patient or case as a word, for every reader of it; "
                "take it out where the field comes from (folders, file names, settings), then sign again"
            )


def _texts(content: Any, field: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield field, content
    elif isinstance(content, Mapping | list):
        for key, value in content.items() if isinstance(content, Mapping) else enumerate(content):
            yield from _texts(value, f"{field}.{key}" if field else str(key))


def _mapped(content: Any, change: Callable[[str], str]) -> Any:
    if isinstance(content, Mapping):
        changes = {_COMMAND: _of_command}
        return {key: _mapped(value, changes.get(key, change)) for key, value in content.items()}
    if isinstance(content, list):
        return [_mapped(value, change) for value in content]
    return change(content) if isinstance(content, str) else content


def _of_sentence(text: str) -> str:
    text = _QUOTED.sub(lambda match: f"{match['quote']}{_last(match['path'])}{match['quote']}", text)
    return _BARE.sub(lambda match: _last(match[0]), text)


def _of_command(text: str) -> str:
    try:
        arguments = shlex.split(text)
    except ValueError:  # quotes that do not close
        return _of_sentence(text)
    shown = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if before in _PLACEHOLDERS:
            shown.append(_PLACEHOLDERS[before])
        elif equals and _last(option) == option:
            shown.append(f"{option}={_PLACEHOLDERS.get(option) or _value(value)}")
        else:
            shown.append(_last(argument))
    return shlex.join(shown)


def _value(text: str) -> str:
    """What stands behind an equals sign: of a list or an expression, the paths that are in it."""
    return _of_sentence(text) if text.startswith(("[", "{", "$")) else _last(text)


def _last(path: str) -> str:
    if not re.search(r"[\\/]", path):
        return path
    return (PureWindowsPath if _WINDOWS.match(path) else PurePosixPath)(path).name
