"""The names of numbers: what is measured, on what, compared with what, after which step; made and parsed only here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mu_monai.keys import STUDENT

AUC, TPR, F1 = "auc", "tpr", "f1"
LOGISTIC, LIRA, U_LIRA, PROBE = "logistic", "lira", "u-lira", "probe"  # signals that are not columns of scores
REBOUND = "rebound"
RESIDUAL = "residual_knowledge"
DEPTH, BARRIER = "depth", "barrier"  # of the student's weights, by the measure of the retrained model
DROP, TO_TEACHER = "_drop", "_to_teacher"  # ends of quantities: teacher minus student, and against the teacher
_METRIC = re.compile(
    r"(?P<quantity>[^\[]*?)(@(?P<rate>\d*\.?\d+(e-?\d+)?))?(\[(?P<of>.*)\])?", re.DOTALL
)  # the name of a class or layer may hold anything
_STATE = re.compile(
    r"(?P<attack>.+?)(\[lr=(?P<rate>[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?)\])?(@(?P<step>[0-9]+))?", re.DOTALL
)  # a name without a rate or step is that of an attack as a whole


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
    """A model after an attack, `int8` or `relearning[lr=0.001]`, or during it, `relearning[lr=0.001]@5`.

    Args:
        attack: the name of the attack.
        step: the number of steps done; 0 is before the attack, None is its end.
        rate: the attacker's learning rate, above 0; None if it does not train, and in audits of earlier versions, which
            tried a single one.

    Example:
        >>> str(State("relearning", 5, 1e-3)), State.parse("int8").step is None
        ('relearning[lr=0.001]@5', True)
    """

    attack: str
    step: int | None = None
    rate: float | None = None

    def __str__(self) -> str:
        rate = "" if self.rate is None else f"[lr={self.rate!r}]"
        return f"{self.attack}{rate}" + ("" if self.step is None else f"@{self.step}")

    @classmethod
    def parse(cls, text: str) -> State:
        """Parse the name of a state; a name without this form is an attack as a whole."""
        parts = _STATE.fullmatch(text)
        if parts is None:
            return cls(text)
        step, rate = parts["step"], parts["rate"]
        return cls(parts["attack"], None if step is None else int(step), None if rate is None else float(rate))

    @property
    def in_words(self) -> str:
        """The state as sentences and tables name it.

        Example:
            >>> State.parse("relearning[lr=0.001]@5").in_words
            'relearning@5 (learning rate 0.001)'
        """
        return str(replace(self, rate=None)) + ("" if self.rate is None else f" (learning rate {self.rate:g})")


def worst_rates(records: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """The learning rate of each attack at which it brought back most of the student: the worst case.

    What counts is how far the attack moved the student's AUC of the loss beyond what it did to the retrained model at
    the same rate, after any of its steps, and first of all whether it raised it, as in a verdict. An attack that does
    not train has the rate None.

    Args:
        records: audit records as mappings; those of the student's rebound count.

    Example:
        >>> names = ["relearning[lr=0.001]@5", "relearning[lr=0.1]", "int8"]
        >>> worst_rates({"model": "student", "metric": "rebound", "attack": name, "value": value, "ideal": 0.1}
        ...     for name, value in zip(names, [0.3, 0.2, 0.0]))
        {'relearning': 0.001, 'int8': None}
    """
    most: dict[str, tuple[tuple[bool, float], float | None]] = {}
    for record in records:
        if (record["model"], record["metric"]) == (STUDENT, REBOUND):
            state, moved = State.parse(record["attack"]), (record["value"] > 0, record["value"] - record["ideal"])
            if state.step != 0 and (state.attack not in most or moved > most[state.attack][0]):
                most[state.attack] = (moved, state.rate)
    return {attack: rate for attack, (_, rate) in most.items()}


def at_worst_rate(name: str, worst: Mapping[str, float | None]) -> bool:
    """Whether a state is one of its attack's worst case, as `worst_rates` gives it.

    Example:
        >>> at_worst_rate("relearning[lr=0.1]@5", {"relearning": 0.001}), at_worst_rate("linear-probe", {})
        (False, True)
    """
    state = State.parse(name)
    return worst.get(state.attack) == state.rate


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
