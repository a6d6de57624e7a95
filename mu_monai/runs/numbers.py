"""The names of numbers: what is measured, on what, compared with what, after which step; made and parsed only here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

AUC, TPR, F1 = "auc", "tpr", "f1"
LOGISTIC, LIRA, U_LIRA, PROBE = "logistic", "lira", "u-lira", "probe"  # signals that are not columns of scores
DROP, TO_TEACHER = "_drop", "_to_teacher"  # ends of quantities: teacher minus student, and against the teacher
_METRIC = re.compile(
    r"(?P<quantity>[^\[]*?)(@(?P<rate>\d*\.?\d+(e-?\d+)?))?(\[(?P<of>.*)\])?", re.DOTALL
)  # the name of a class or layer may hold anything


@dataclass(frozen=True)
class Metric:
    """The name of a number of the audit, or of a column of scores: `dice`, `dice[liver]`, `tpr@0.01[loss]`.

    Args:
        quantity: what is measured.
        of: the class, signal or layer; None for all.
        rate: the false-positive rate, in (0, 1); None for metrics without one.

    Example:
        >>> str(Metric("tpr", of="loss", rate=0.01)), Metric.parse("dice[left [1/2]]").of
        ('tpr@0.01[loss]', 'left [1/2]')
    """

    quantity: str
    of: str | None = None
    rate: float | None = None

    def __str__(self) -> str:
        rate = "" if self.rate is None else f"@{self.rate!r}"
        return f"{self.quantity}{rate}" + ("" if self.of is None else f"[{self.of}]")

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Parse a name; a name without this form is a quantity as a whole."""
        parts = _METRIC.fullmatch(text)
        if parts is None:
            return cls(text)
        return cls(parts["quantity"], parts["of"], None if parts["rate"] is None else float(parts["rate"]))


AUC_OF_LOSS = str(Metric(AUC, of="loss"))  # the number that verdicts are based on
AUC_OF_ALL = str(Metric(AUC, of=LOGISTIC))


@dataclass(frozen=True)
class State:
    """A model after an attack, `relearning`, or during it, `relearning@5`.

    Args:
        attack: the name of the attack.
        step: the number of steps done; 0 is before the attack, None is its end.

    Example:
        >>> str(State("relearning", 5)), State.parse("int8").step is None
        ('relearning@5', True)
    """

    attack: str
    step: int | None = None

    def __str__(self) -> str:
        return self.attack if self.step is None else f"{self.attack}@{self.step}"

    @classmethod
    def parse(cls, text: str) -> State:
        """Parse the name of a state."""
        attack, _, step = text.rpartition("@")
        return cls(attack, int(step)) if attack and step.isdecimal() else cls(text)


class Group(NamedTuple):
    """One model on one subset, or on all subsets if the subset is empty: `retrained/forget`, `teacher`.

    Example:
        >>> str(Group("retrained", "forget")), Group.parse("teacher")
        ('retrained/forget', Group(model='teacher', subset=''))
    """

    model: str
    subset: str = ""

    def __str__(self) -> str:
        return f"{self.model}/{self.subset}" if self.subset else self.model

    @classmethod
    def parse(cls, text: str) -> Group:
        """Parse the reference of a record; for an empty text, both parts are empty."""
        model, _, subset = text.partition("/")
        return cls(model, subset)
