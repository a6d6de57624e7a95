"""The summary of an audit on the command line: the verdict, the main numbers, the most exposed patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mu_monai.keys import LOSS, RETRAINED, ROLES, STUDENT
from mu_monai.report import metric_name, metric_sentence, patient_sentence
from mu_monai.report.audit_sentences import attack_name
from mu_monai.report.sentences import between, number
from mu_monai.runs import read_stamped
from mu_monai.runs.numbers import (
    AUC,
    AUC_OF_LOSS,
    BARRIER,
    DEPTH,
    LIRA,
    LOGISTIC,
    TPR,
    U_LIRA,
    Metric,
    at_worst_rate,
    worst_rates,
)

_MAIN = (
    AUC_OF_LOSS,
    str(Metric(TPR, LOSS, 0.01)),
    *(str(Metric(AUC, attack)) for attack in (LOGISTIC, LIRA, U_LIRA)),
    "average_gap",
    "tow",
    DEPTH,
    BARRIER,
)
_WORST = 3
_SHAPE = {
    "verdict": dict.fromkeys(("label", "sentence", "but", "rule"), str),
    "records": [{"metric": str, "model": str, "attack": str}],
    "patients": [{"patient_id": str}],
    "subgroups": [dict],
    "notes": [str],
}


def audit_summary(file: str | Path) -> str:
    """The verdict in words, the main numbers with their ideals, the three most exposed patients, and flagged groups.

    Args:
        file: an `audit.json`.
    """
    return "\n".join(_lines(read_stamped(file, _SHAPE)))


def attack_summary(file: str | Path) -> str:
    """The AUC of the loss after each attack, of the student and of the retrained model; empty without attacks.

    Args:
        file: an `audit.json`.
    """
    return "\n".join(_after_attacks(read_stamped(file, _SHAPE)["records"]))


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    said = content["verdict"]
    yield f"{said['label']}: {said['sentence']}"
    yield f"  {said['but']}"
    yield f"  rule: {said['rule']}"
    for metric in _MAIN:
        yield from _number(metric, content["records"])
    yield from _after_attacks(content["records"])
    yield f"most exposed of {len(content['patients'])} forgotten patients"
    for row in content["patients"][:_WORST]:
        yield f"  {row['patient_id']}: {patient_sentence(row)}"
    flagged = [row for row in content["subgroups"] if row["flag"]]
    yield f"groups that lost more than 0.02: {len(flagged)} of {len(content['subgroups'])}"
    for row in flagged[:_WORST]:
        yield f"  {row['column']} {row['group']}, {row['subset']}: {number(row['change'])}"
    yield from (f"note: {note}" for note in content["notes"])


def _after_attacks(records: list[dict[str, Any]]) -> Iterator[str]:
    worst = worst_rates(records)
    after = [
        row for row in records if row["attack"] and row["metric"] == AUC_OF_LOSS and at_worst_rate(row["attack"], worst)
    ]
    if after:
        yield "after attacks, each at its worst: AUC of the loss, student (retrained)"
        for attack in dict.fromkeys(row["attack"] for row in after):
            values = {row["model"]: row["value"] for row in after if row["attack"] == attack}
            yield f"  {attack_name(attack)}: {number(values.get(STUDENT))} ({number(values.get(RETRAINED))})"


def _number(metric: str, records: list[dict[str, Any]]) -> Iterator[str]:
    found = {row["model"]: row for row in records if row["metric"] == metric and not row["attack"]}
    if STUDENT not in found:
        return
    yield f"{metric_name(metric)}: {metric_sentence(metric)}"
    for model in (role for role in ROLES if role in found):
        row = {name: float("nan") if value is None else value for name, value in found[model].items()}
        ends = between(row["low"], row["high"])
        aim = f"  should be {number(row['ideal'])}" if model == STUDENT else ""
        yield f"  {model:<9} {number(row['value'])}{f' ({ends})' if ends else ''}{aim}"
