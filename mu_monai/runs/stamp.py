"""What a file says of how it was made: the command, the versions of packages, and what a split may tell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

_PROGRAM = "mu-monai"
_NOT_COPIED = ("sha256", "salt")  # of a split: long, and a secret that would tell patients from their pseudonyms


def command_line() -> str:
    """The command that runs now, as it can be typed again; the program by its name, wherever it is installed.

    Example:
        >>> from unittest import mock
        >>> with mock.patch.object(sys, "argv", ["/opt/bin/mu-monai", "audit", "runs/my student"]):
        ...     command_line()
        "mu-monai audit 'runs/my student'"
    """
    program, *arguments = sys.argv
    return shlex.join([_PROGRAM if Path(program).name == _PROGRAM else program, *arguments])


def package_versions(*names: str) -> dict[str, str]:
    """The version of each installed package, by its name with underscores.

    Args:
        names: of distributions, such as `pytorch-ignite`.

    Example:
        >>> list(package_versions("mu-monai", "numpy"))
        ['mu_monai', 'numpy']
    """
    return {name.replace("-", "_"): version(name) for name in names}


def package_of(kind: type) -> str:
    """The distribution that a class comes from, with its version; empty where it is of none.

    Example:
        >>> package_of(Path), package_of(type("Own", (), {"__module__": "numpy.own"})).partition(" ")[0]
        ('', 'numpy')
    """
    package = kind.__module__.partition(".")[0]
    names = (_PROGRAM,) if package == __name__.partition(".")[0] else packages_distributions().get(package, ())
    return ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(names))


def public_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What may be copied out of a split's provenance: everything but the digests of its files and its salt.

    Args:
        provenance: as it stands in the split file.

    Example:
        >>> public_provenance({"seed": 0, "sha256": {"a.png": "00"}, "salt": "secret"})
        {'seed': 0}
    """
    return {name: value for name, value in provenance.items() if name not in _NOT_COPIED}
