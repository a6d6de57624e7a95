"""Where a method comes from: the full name of its class, and the package that provides it."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution, entry_points, packages_distributions
from typing import TypedDict

GROUP = "mu_monai.methods"  # the entry points under which packages register methods
_OURS = "mu_monai"


def target_of(kind: type) -> str:
    """The full name of a class, as in a config's `_target_`.

    Example:
        >>> from fractions import Fraction
        >>> target_of(Fraction)
        'fractions.Fraction'
    """
    return f"{kind.__module__}.{kind.__qualname__}"


class Origin(TypedDict):
    """Where a class comes from."""

    target: str
    package: str | None
    version: str | None


def origin_of(kind: type) -> Origin:
    """The origin of a method, which may share its name with others: its full name, and the package with its version.

    The package is the distribution that registers methods from the same top-level module, or else the one that contains
    that module. It is None if the module was not installed, such as a file next to a bundle.

    Example:
        >>> from fractions import Fraction
        >>> origin_of(Fraction)
        {'target': 'fractions.Fraction', 'package': None, 'version': None}
    """
    provider = _distribution_of(kind.__module__.partition(".")[0])
    package, version = (None, None) if provider is None else (provider.name, provider.version)
    return {"target": target_of(kind), "package": package, "version": version}


def _distribution_of(module: str) -> Distribution | None:
    if module == _OURS:
        return distribution("mu-monai")
    for entry in entry_points(group=GROUP):
        if entry.dist is not None and entry.module.partition(".")[0] == module:
            return entry.dist
    names = packages_distributions().get(module)
    return distribution(names[0]) if names else None
