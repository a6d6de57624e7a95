"""What a method's settings may be, declared once, beside their defaults, and checked and listed from there."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Literal

_ALLOWED = "allowed"  # the key of a field's metadata


class Allowed(ABC):
    """What a setting may be: it can tell whether a value is, and say so in words."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether a value is allowed."""

    @abstractmethod
    def __str__(self) -> str: ...

    def problems(self, place: str, value: Any) -> Iterator[str]:
        """Why a value is not allowed, as sentences.

        Args:
            place: what is set, such as `method#forget_weight`.
            value: what it is set to.
        """
        if not self.fits(value):
            yield f"{place}={value} is not allowed; use {self}"


@dataclass(frozen=True)
class Interval(Allowed):
    """The finite numbers from one to another; what is not a number, such as text or `true`, is not among them.

    Args:
        low: the lower end.
        high: the upper end; none for no end.
        closed: which of the ends belong to it.
        whole: whether only whole numbers do.

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
    """A choice.

    Args:
        choices: the values that there are; `None` is null, `True` is true.

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
    """What something else allows, or nothing at all.

    Example:
        >>> print(OrNull(Interval(1, whole=True)))
        a whole number of 1 or more, or null
    """

    inner: Allowed

    def fits(self, value: Any) -> bool:
        """Whether it is null, or fits."""
        return value is None or self.inner.fits(value)

    def __str__(self) -> str:
        return f"{self.inner}, or null"


@dataclass(frozen=True)
class Text(Allowed):
    """A text, such as the name of something.

    Args:
        words: what it is.
    """

    words: str

    def fits(self, value: Any) -> bool:
        """Whether it is a text."""
        return isinstance(value, str)

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Several(Allowed):
    """A list, of any length, of what something else allows.

    Args:
        inner: what each of them may be.
        words: what they are.

    Example:
        >>> list(Several(Interval(1, whole=True), "channels from 1 on").problems("method#forget_classes", [0, 1]))
        ['method#forget_classes=[0, 1] is not allowed; use channels from 1 on']
    """

    inner: Allowed
    words: str

    def fits(self, value: Any) -> bool:
        """Whether it is a list of what fits."""
        return isinstance(value, list | tuple) and all(map(self.inner.fits, value))

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Range(Allowed):
    """A pair of finite numbers, of which the first is the lower one.

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
        names: the names that there are. Whether a name is one of them is not looked at here: it can depend on more.

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
        """Which weights are not allowed, or that there is none."""
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
    """A field of a method that is one of its settings.

    Args:
        default: its value where nobody sets it.
        allowed: what it may be.

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
    """What the settings of a dataclass may be, by name, as far as they were made by `setting`."""
    return {item.name: item.metadata[_ALLOWED] for item in fields(kind) if _ALLOWED in item.metadata}
