"""How a file was made: the command, the versions of packages, and the public part of a split's provenance."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mu_monai.files import read_json
from mu_monai.keys import PROVENANCE

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


def told_provenance(split: str | os.PathLike[str]) -> dict[str, Any]:
    """The public provenance of a split file; empty if it has none.

    Args:
        split: the file.

    Raises:
        InputError: if it cannot be read.
    """
    return public_provenance(read_json(split, dict).get(PROVENANCE, {}))
