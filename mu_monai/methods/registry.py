"""The registry of methods: ours, and those that installed packages register under the methods' entry point group."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from monai.utils import optional_import

from mu_monai.keys import RETRAINED, STUDENT, TASKS, TEACHER
from mu_monai.methods import METHODS, UnlearningMethod
from mu_monai.methods.method import COSTS, NEEDS
from mu_monai.runs.origin import GROUP, target_of

_CLASSES = "forget_classes"  # the setting that a method with forgets_classes must have
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RESERVED = ("all", TEACHER, STUDENT, RETRAINED)  # these names mean something else in a comparison
logger = logging.getLogger(__name__)


def registered() -> dict[str, type[UnlearningMethod]]:
    """Every method by its name on the command line: ours, then those of other packages, which are imported.

    A method that a package registers incorrectly is left out, with a warning.

    Example:
        >>> list(registered())[:2]
        ['erase-to-retain', 'calibrated-erase-to-retain']
    """
    return METHODS | {entry.name: kind for entry, kind in _of_other_packages()}


def method_named(name: str | None) -> type[UnlearningMethod] | None:
    """A method by its name on the command line, or `None` if unknown. For one of ours, no other package is imported.

    Example:
        >>> method_named("scrub").__name__, method_named("scrubb")
        ('Scrub', None)
    """
    return None if name is None else METHODS.get(name) or registered().get(name)


def method_at(target: str) -> type[UnlearningMethod] | None:
    """A method by the full name of its class, or `None` if no method is registered under it.

    The name is only compared and never imported: it may come from an untrusted file.

    Example:
        >>> method_at("mu_monai.methods.Scrub") is method_at("mu_monai.methods.scrub.Scrub")
        True
        >>> method_at("os.system")
    """
    known = {f"mu_monai.methods.{kind.__name__}": kind for kind in METHODS.values()}
    known |= {entry.value.replace(":", "."): kind for entry, kind in _of_other_packages()}
    return known.get(target) or next((kind for kind in registered().values() if target_of(kind) == target), None)


def imported(target: object) -> type[UnlearningMethod] | None:
    """Import the method that a trusted config names; `None` if it is not a method or cannot be imported.

    Args:
        target: the `_target_` of a bundle's config.

    Example:
        >>> imported("mu_monai.methods.Scrub").__name__, imported("os.system")
        ('Scrub', None)
    """
    if not isinstance(target, str) or "." not in target:
        return None
    module, _, name = target.rpartition(".")
    kind, _ = optional_import(module, name=name)
    return kind if isinstance(kind, type) and issubclass(kind, UnlearningMethod) else None


def defaults(kind: type[UnlearningMethod]) -> dict[str, Any]:
    """The settings of a method where nobody sets them, by name; what has no default is left out."""
    given = {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(kind)
        if item.repr
    }
    return {name: value for name, value in given.items() if value is not MISSING} | {"task": kind.tasks[0]}


def declaration_problems(kind: Any) -> Iterator[str]:
    """What is wrong with the declarations of a method's class, as sentences.

    Args:
        kind: what was registered as a method.

    Example:
        >>> list(declaration_problems(METHODS["scrub"])), list(declaration_problems(dict))
        ([], ['it is not a class that extends mu_monai.methods.UnlearningMethod'])
    """
    if not (isinstance(kind, type) and issubclass(kind, UnlearningMethod)) or kind is UnlearningMethod:
        yield "it is not a class that extends mu_monai.methods.UnlearningMethod"
        return
    if imported(target_of(kind)) is not kind:
        yield f"it cannot be imported as '{target_of(kind)}'; define it at the top of its module"
    if not all(isinstance(each, Mapping) for each in (kind.recipe, *kind.trials)):
        yield "its recipe and each of its trials must map config ids to values"
    problems = list(_word_problems(kind))
    yield from problems or _setting_problems(kind)


def _word_problems(kind: type[UnlearningMethod]) -> Iterator[str]:
    if not kind.tasks or not set(kind.tasks) <= set(TASKS):
        yield f"its tasks are {kind.tasks}; use some of {', '.join(TASKS)}"
    if not set(kind.needs) <= set(NEEDS):
        yield f"its needs are {kind.needs}; use some of {', '.join(NEEDS)}"
    if kind.cost not in COSTS:
        yield f"its cost is {kind.cost!r}; use one of {', '.join(COSTS)}"


def _setting_problems(kind: type[UnlearningMethod]) -> Iterator[str]:
    settings, names = defaults(kind), [item.name for item in fields(kind) if item.repr]
    yield from (f"its setting '{name}' has no default" for name in names if name not in settings)
    for name, allowed in kind.allowed().items():
        if name in settings:
            yield from allowed.problems(f"the default of method#{name}", settings[name])
    if kind.forgets_classes != (_CLASSES in names):
        yield f"it must have a setting '{_CLASSES}' if forgets_classes is true, and only then"


@functools.cache
def _of_other_packages() -> tuple[tuple[EntryPoint, type[UnlearningMethod]], ...]:
    """The methods that other packages register, with their entry points, each imported once."""
    methods: dict[str, tuple[EntryPoint, type[UnlearningMethod]]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda each: (each.name, _package(each))):
        kind, reasons = _loaded(entry, [*METHODS, *methods, *_RESERVED])
        if reasons:
            logger.warning(
                "the method '%s' of the package %s is left out: %s", entry.name, _package(entry), "; ".join(reasons)
            )
        else:
            methods[entry.name] = entry, kind
    return tuple(methods.values())


def _loaded(entry: EntryPoint, taken: Collection[str]) -> tuple[Any, list[str]]:
    """What an entry point refers to, and why it cannot be used as a method."""
    if not _NAME.fullmatch(entry.name):
        return None, ["its name must consist of lowercase letters and digits, with hyphens between words"]
    if entry.name in taken:
        return None, ["its name is taken; its package must register it under another name"]
    try:
        kind = entry.load()
        return kind, list(declaration_problems(kind))
    except (Exception, SystemExit) as error:  # whatever a package raises must not break other methods
        return None, [f"it cannot be used ({type(error).__name__}: {error})"]


def _package(entry: EntryPoint) -> str:
    return "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
