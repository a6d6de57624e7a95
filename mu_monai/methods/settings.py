"""The allowed values of a method's settings, declared once next to their defaults, for checks and listings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Literal

_ALLOWED = "allowed"  # the key of a field's metadata


class Allowed(ABC):
    """The allowed values of a setting: checks a value, and describes itself in words."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether a value is allowed."""

    @abstractmethod
    def __str__(self) -> str: ...

    def problems(self, place: str, value: Any) -> Iterator[str]:
        """Why a value is not allowed, as sentences.

        Args:
            place: the setting, such as `method#forget_weight`.
            value: its value.
        """
        if not self.fits(value):
            yield f"{place}={value} is not allowed; use {self}"


@dataclass(frozen=True)
class Interval(Allowed):
    """The finite numbers between two ends; text or `true` are not numbers.

    Args:
        low: the lower end.
        high: the upper end; `None` if there is none.
        closed: which of the ends are included.
        whole: whether only whole numbers are allowed.

    Example:
        >>> print(Interval(0), "|", Interval(0, closed="neither"), "|", Interval(0.5, 1, closed="left"))
        a number of 0 or more | a number above 0 | a number in [0.5, 1)
        >>> list(Interval(1, whole=True).problems("method#k", 1.5))
        ['method#k=1.5 is not allowed; use a whole number of 1 or more']
    """

    low: float
    high: float | None = None
    closed: Literal["both", "left", "right", "neither"] = "both"
    whole: bool = False

    def fits(self, value: Any) -> bool:
        """Whether it is a number between the ends."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        above = value >= self.low if self.closed in ("both", "left") else value > self.low
        if self.high is None:
            return above and value < math.inf
        return above and (value <= self.high if self.closed in ("both", "right") else value < self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high is None:
            return f"{kind} of {self.low} or more" if self.closed in ("both", "left") else f"{kind} above {self.low}"
        left, right = "[" if self.closed in ("both", "left") else "(", "]" if self.closed in ("both", "right") else ")"
        return f"{kind} in {left}{self.low}, {self.high}{right}"


class OneOf(Allowed):
    """One of a few values.

    Args:
        choices: the allowed values; `None` is written as null, `True` as true.

    Example:
        >>> list(OneOf(None, "reference").problems("method#stop_at", "retrained"))
        ["method#stop_at='retrained' is not known; use one of null, reference"]
    """

    def __init__(self, *choices: Any) -> None:
        self.choices = choices

    def fits(self, value: Any) -> bool:
        """Whether it is one of the choices."""
        return value in self.choices

    def __str__(self) -> str:
        return "one of " + ", ".join("null" if choice is None else str(choice).lower() for choice in self.choices)

    def problems(self, place: str, value: Any) -> Iterator[str]:
        """Why a value is not one of the choices."""
        if not self.fits(value):
            yield f"{place}={value!r} is not known; use {self}"


@dataclass(frozen=True)
class OrNull(Allowed):
    """What another rule allows, or null.

    Example:
        >>> print(OrNull(Interval(1, whole=True)))
        a whole number of 1 or more, or null
    """

    inner: Allowed

    def fits(self, value: Any) -> bool:
        """Whether it is null, or allowed by the inner rule."""
        return value is None or self.inner.fits(value)

    def __str__(self) -> str:
        return f"{self.inner}, or null"


@dataclass(frozen=True)
class Text(Allowed):
    """Text, such as a name.

    Args:
        words: what the text is.
    """

    words: str

    def fits(self, value: Any) -> bool:
        """Whether it is text."""
        return isinstance(value, str)

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Several(Allowed):
    """A list, of any length, of values that another rule allows.

    Args:
        inner: what each value may be.
        words: what the values are.

    Example:
        >>> list(Several(Interval(1, whole=True), "channels from 1 up").problems("method#forget_classes", [0, 1]))
        ['method#forget_classes=[0, 1] is not allowed; use channels from 1 up']
    """

    inner: Allowed
    words: str

    def fits(self, value: Any) -> bool:
        """Whether it is a list whose values are all allowed."""
        return isinstance(value, list | tuple) and all(map(self.inner.fits, value))

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Range(Allowed):
    """A pair of finite numbers, the lower one first.

    Example:
        >>> Range().fits([-1, 1]), Range().fits([1, 1])
        (True, False)
    """

    def fits(self, value: Any) -> bool:
        """Whether it is such a pair."""
        if not isinstance(value, list | tuple) or len(value) != 2:
            return False
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in value)
        return numbers and all(map(math.isfinite, value)) and bool(value[0] < value[1])

    def __str__(self) -> str:
        return "[lowest, highest]"


class Weights(Allowed):
    """Weights of 0 or more by name, at least one.

    Args:
        names: the allowed names, for the message; names are not checked here, since that can depend on other settings.

    Example:
        >>> list(Weights(["entropy"]).problems("method#forget_terms", {"entropy": -1}))
        ['method#forget_terms#entropy=-1 is not allowed; use a number of 0 or more']
    """

    def __init__(self, names: Collection[str]) -> None:
        self.names, self.weight = names, Interval(0)

    def fits(self, value: Any) -> bool:
        """Whether it is such a mapping."""
        return isinstance(value, Mapping) and bool(value) and all(map(self.weight.fits, value.values()))

    def __str__(self) -> str:
        return f"weights of 0 or more for some of {', '.join(self.names)}"

    def problems(self, place: str, value: Any) -> Iterator[str]:
        """Which weights are not allowed, or that there are no weights."""
        if not isinstance(value, Mapping):
            yield from super().problems(place, value)
        elif not value:
            yield f"{place} is empty; name at least one of {', '.join(self.names)}"
        else:
            for name, weight in value.items():
                yield from self.weight.problems(f"{place}#{name}", weight)


POSITIVE = Interval(0, closed="neither")
COUNT = Interval(1, whole=True)
SHARE = Interval(0, 1)
FLAG = OneOf(True, False)


def setting(default: Any, allowed: Allowed) -> Any:
    """A dataclass field that is a setting of a method.

    Args:
        default: its default value.
        allowed: its allowed values.

    Example:
        >>> @dataclass
        ... class Method:
        ...     forget_weight: float = setting(3.0, Interval(0))
        >>> print(Method().forget_weight, declared(Method)["forget_weight"])
        3.0 a number of 0 or more
    """
    metadata = {_ALLOWED: allowed}
    if isinstance(default, dict | list):
        return field(default_factory=lambda: copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def declared(kind: Any) -> dict[str, Allowed]:
    """The allowed values of a dataclass's settings, by name, for fields made by `setting`."""
    return {item.name: item.metadata[_ALLOWED] for item in fields(kind) if _ALLOWED in item.metadata}
