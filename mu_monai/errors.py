"""The one error that a user can cause: a list of problems, each with its value, what is allowed and what to do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """Everything that is wrong with an input, reported at once.

    Args:
        problems: one sentence each: what is wrong, the value, what is allowed, what to do.

    Example:
        >>> raise InputError(["image 'a.png' is missing", "label 'b.png' is missing"])
        Traceback (most recent call last):
        mu_monai.errors.InputError: 2 problems:
          - image 'a.png' is missing
          - label 'b.png' is missing
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(self._text())

    def __reduce__(self) -> tuple[type[InputError], tuple[list[str]]]:
        """Every problem, for another process."""
        return type(self), (self.problems,)

    def _text(self) -> str:
        problems = [problem.replace("\n", "\\n") for problem in self.problems]  # a name must not start a new line
        if len(problems) == 1:
            return problems[0]
        return "\n  - ".join([f"{len(problems)} problems:", *problems])


class RunError(RuntimeError):
    """What ended a run and is not wrong input: one sentence with what, which case or file, and what to do.

    Args:
        sentence: the reason.
        log: the file with the traceback, if there is one.

    Example:
        >>> str(RunError("case 'a': the file cannot be read"))
        "case 'a': the file cannot be read"
    """

    def __init__(self, sentence: str, log: str | os.PathLike[str] | None = None) -> None:
        self.log = log
        super().__init__(sentence.replace("\n", "\\n"))

    def __reduce__(self) -> tuple[type[RunError], tuple[str, str | os.PathLike[str] | None]]:
        """The sentence and the file, for another process."""
        return type(self), (str(self), self.log)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing clause that suggests the known name closest to `name`; empty if none is close.

    Example:
        >>> did_you_mean("isicc", ["chase", "isic"])
        "; did you mean 'isic'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def raise_if_any(problems: Iterable[str]) -> None:
    """Raise one `InputError` with all problems; do nothing if there are none."""
    sentences = list(problems)
    if sentences:
        raise InputError(sentences)


def collect(*steps: Callable[[], Iterable[str] | None]) -> list[str]:
    """Run every step and collect the problems of all, so that a user sees them at once, and each of them once."""
    problems: list[str] = []
    for step in steps:
        try:
            problems += step() or ()
        except InputError as error:
            problems += error.problems
    return list(dict.fromkeys(problems))


def unless_raised(_result: object) -> list[str]:
    """An empty list: the call in the argument raised nothing. For use in `collect`.

    Example:
        >>> collect(lambda: unless_raised(raise_if_any([])))
        []
    """
    return []
