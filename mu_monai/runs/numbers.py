"""The names of numbers: what is measured, of what, against whom and after which step; built and read here alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

AUC, TPR, F1 = "auc", "tpr", "f1"
LOGISTIC, LIRA, U_LIRA, PROBE = "logistic", "lira", "u-lira", "probe"  # signals that are not a column
DROP, TO_TEACHER = "_drop", "_to_teacher"  # ends of quantities: teacher minus student, and against the teacher
_METRIC = re.compile(
    r"(?P<quantity>[^\[]*?)(@(?P<rate>\d*\.?\d+(e-?\d+)?))?(\[(?P<of>.*)\])?", re.DOTALL
)  # the name of a class or layer may hold anything


@dataclass(frozen=True)
class Metric:
    """The name of a number of the audit, or of a column of scores: `dice`, `dice[liver]`, `tpr@0.01[loss]`.

    Args:
        quantity: what is measured.
        of: of which class, by which signal or in which layer; none where it is of all.
        rate: at which false-positive rate, in (0, 1); none where there is nothing to choose.

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
        """Read a name; one that is not of this form is a quantity as a whole."""
        found = _METRIC.fullmatch(text)
        if found is None:
            return cls(text)
        return cls(found["quantity"], found["of"], None if found["rate"] is None else float(found["rate"]))


AUC_OF_LOSS = str(Metric(AUC, of="loss"))  # the number that verdicts rest on
AUC_OF_ALL = str(Metric(AUC, of=LOGISTIC))


@dataclass(frozen=True)
class State:
    """A model after an attack, `relearning`, or on the way, `relearning@5`.

    Args:
        attack: the name of the attack.
        step: after how many of its steps; 0 is before it. None at its end.

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
        """Read the name of a state."""
        attack, _, step = text.rpartition("@")
        return cls(attack, int(step)) if attack and step.isdecimal() else cls(text)


class Group(NamedTuple):
    """One model on one subset, or on all where the subset is empty: `retrained/forget`, `teacher`.

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
        """Read what a record is compared with; of an empty text both are empty."""
        model, _, subset = text.partition("/")
        return cls(model, subset)
