"""How a file was made: the command, the versions of packages, and what may be told of a split."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mu_monai.files import read_json
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, PROVENANCE, SUBSETS
from mu_monai.runs.record import OfSplit

_PROGRAM = "mu-monai"
COMMAND = "MU_MONAI_COMMAND"  # the command that started this process for its run
_NOT_COPIED = ("sha256", "salt", "kept_for")  # of a split: the digests are long, the others would tell of patients


def command_line() -> str:
    """The running command, ready to be typed again; the program is given by its name, wherever it is installed.

    A process that a command started for its run has that command's.

    Example:
        >>> from unittest import mock
        >>> with mock.patch.object(sys, "argv", ["/opt/bin/mu-monai", "audit", "runs/my student"]):
        ...     command_line()
        "mu-monai audit 'runs/my student'"
    """
    if COMMAND in os.environ:
        return os.environ[COMMAND]
    program, *arguments = sys.argv
    return shlex.join([_PROGRAM if Path(program).name == _PROGRAM else program, *arguments])


def package_versions(*names: str) -> dict[str, str]:
    """The version of each installed package, by its name with underscores.

    Args:
        names: names of distributions, such as `pytorch-ignite`.

    Example:
        >>> list(package_versions("mu-monai", "numpy"))
        ['mu_monai', 'numpy']
    """
    return {name.replace("-", "_"): version(name) for name in names}


def public_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a split's provenance that may be copied: all but digests of files, salt and names of copies.

    Args:
        provenance: the provenance in the split file.

    Example:
        >>> public_provenance({"seed": 0, "sha256": {"a.png": "00"}, "salt": "secret"})
        {'seed': 0}
    """
    return {name: value for name, value in provenance.items() if name not in _NOT_COPIED}


def cases_sha256(split: Mapping[str, Any]) -> str:
    """SHA-256 of the cases of a split wherever its files are: subsets, patients, cases, labels and digests of files.

    Args:
        split: the content of the split file.

    Example:
        >>> case = {"case_id": "1", "patient_id": "a", "image": "old/1.png", "label": "nevus"}
        >>> before = {"retain": [case], "provenance": {"sha256": {"old/1.png": "12ab"}}}
        >>> after = {"retain": [case | {"image": "new/1.png"}], "provenance": {"sha256": {"new/1.png": "12ab"}}}
        >>> cases_sha256(before) == cases_sha256(after)
        True
    """
    provenance = split.get(PROVENANCE, {})
    digests, inputs = provenance.get("sha256", {}), provenance.get("inputs", [])
    keys = (PATIENT_ID, CASE_ID, LABEL, IMAGE, *inputs)
    cases = [
        [name, *(_contents(case.get(key), digests) for key in keys)] for name in SUBSETS for case in split.get(name, [])
    ]
    return hashlib.sha256(json.dumps(sorted(cases, key=json.dumps)).encode()).hexdigest()


def _contents(value: Any, digests: Mapping[str, str]) -> list[Any]:
    """What is in a column of a case: the digest of a file, of several in order, or the value itself."""
    files = value if isinstance(value, list | tuple) else [value]
    return [digests.get(str(file), file) for file in files]


def told_split(split: str | os.PathLike[str], content: Mapping[str, Any] | None = None) -> OfSplit:
    """What a run's record says of its split: where it is, which cases it holds, and its public provenance, if any.

    Args:
        split: the file.
        content: what is in it, if it was read already.

    Raises:
        InputError: if it cannot be read.
    """
    content = read_json(split, dict) if content is None else content
    return OfSplit(
        file=str(Path(split).absolute()),
        cases=cases_sha256(content),
        provenance=public_provenance(content.get(PROVENANCE, {})),
    )
