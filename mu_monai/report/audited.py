"""The section about the audit: the content of `audit.json` in words and formatted cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from mu_monai.keys import FORGET, LOSS, MODEL, RETRAINED, ROLES, STUDENT, SUBSET, SUBSETS, TEST
from mu_monai.report.audit_sentences import (
    attack_name,
    is_depth,
    is_membership,
    is_utility,
    metric_name,
    metric_sentence,
    patient_sentence,
)
from mu_monai.report.sentences import between, count, number, signed
from mu_monai.report.tables import ReportTables, as_rows
from mu_monai.runs.numbers import AUC_OF_LOSS, LIRA, LOGISTIC, U_LIRA, Metric, at_worst_rate, worst_rates

KINDS = {"MATCHED": "", "UNDER-FORGOTTEN": "fail", "OVER-FORGOTTEN": "fail", "SHALLOW": "fail"}  # the banner's style
_LEADING = (LOSS, LOGISTIC, LIRA, U_LIRA)  # the other signals are shown in a collapsed table
_SHOWN_PATIENTS, _SHOWN_GROUPS = 10, 20


def audit_content(tables: ReportTables) -> dict[str, Any] | None:
    """The section's content by the template's names; None if no patient was to be forgotten."""
    runs = tables.runs
    if STUDENT not in runs.by_role or runs.forget_classes:
        return None
    audit = runs.audit
    if not audit:
        return {"verdict": None, "stale": runs.main.stale_audit}
    records = tables.audit_records
    now, after = records[records["attack"] == ""], records[records["attack"] != ""]
    membership = now["metric"].map(is_membership).astype(bool)
    others = now[~membership & ~now["metric"].map(is_utility).astype(bool)]
    deep = others["metric"].map(is_depth).astype(bool)
    depths, distances = others[deep], others[~deep]
    leading = now["metric"].map(lambda metric: Metric.parse(metric).of in _LEADING).astype(bool)
    of_layers = distances["metric"].map(lambda metric: Metric.parse(metric).of is not None).astype(bool)
    groups, patients = tables.subgroups, tables.patients
    return {
        "stale": False,
        "verdict": audit["verdict"] | {"kind": KINDS.get(audit["verdict"]["label"], "warn")},
        "membership": _table(now[membership & leading], ["metric"]),
        "signals": _table(now[membership & ~leading], ["metric"]),
        "attacks": _table(after, ["attack", "metric", SUBSET]),
        "distances": _table(distances[~of_layers], ["metric", SUBSET]),
        "layers": _table(distances[of_layers], ["metric", SUBSET]),
        "depths": _table(depths, ["metric"]),
        "patients": [_patient(row) for row in as_rows(patients.head(_SHOWN_PATIENTS))],
        "n_patients": len(patients),
        "patient_models": [model for model in ROLES if model in patients],
        "groups": [_group(row) for row in as_rows(groups.head(_SHOWN_GROUPS))],
        "n_groups": len(groups),
        "flagged": int(groups["flag"].sum()) if len(groups) else 0,
        "searched": audit["searched"],
        "notes": audit["notes"],
    }


def attack_values(records: pd.DataFrame) -> pd.DataFrame:
    """The AUC of the loss before and after attacks: `attack` (empty: before), `model`, `value`, `low`, `high`.

    Of attacks that ran at several learning rates, only the worst case is there.

    Args:
        records: the records of `audit.json`.
    """
    aucs = records[
        (records["metric"] == AUC_OF_LOSS) & (records[SUBSET] == FORGET) & records[MODEL].isin((RETRAINED, STUDENT))
    ]
    worst = worst_rates(as_rows(records))
    aucs = aucs[aucs["attack"].map(lambda name: at_worst_rate(name, worst)).astype(bool)]
    aucs = aucs[["attack", "model", "value", "low", "high"]].dropna(subset="value")
    aucs["attack"] = aucs["attack"].map(attack_name)
    return aucs if (aucs["attack"] != "").any() else aucs.iloc[:0]


def has_losses(tables: ReportTables) -> bool:
    """Whether there are losses of forgotten and unseen patients to draw."""
    return bool(tables.runs.audit) and {FORGET, TEST} <= set(tables.scores[SUBSET])


def _table(records: pd.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    """A table with a row per value of `keys` and a column per model."""
    models = [model for model in ROLES if model in set(records["model"])]
    rows = [_row(part, keys) for _, part in records.groupby(list(keys), sort=False)]
    return {"models": models, "has_gap": STUDENT in models, "rows": rows}


def _row(records: pd.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    rows = {row["model"]: row for row in as_rows(records)}
    first = next(iter(rows.values()))
    shown = rows.get(STUDENT, first)
    subset = first["subset"] if SUBSET in keys and first["subset"] in SUBSETS else ""
    name = ", ".join(filter(None, (metric_name(first["metric"]), subset if subset != FORGET else "")))
    return {
        "attack": attack_name(first["attack"]),
        "name": name,
        "size": count(int(first["n_patients"]), "patient"),
        "models": {model: _cell(row["value"], row["low"], row["high"]) for model, row in rows.items()},
        "gap": _cell(shown["gap"], shown["gap_low"], shown["gap_high"], show=signed),
        "ideal": number(shown["ideal"]),
        "note": metric_sentence(first["metric"]),
    }


def _cell(value: float, low: float, high: float, show: Callable[[float], str] = number) -> tuple[str, str]:
    return (show(value), between(low, high, show=show)) if not math.isnan(value) else ("", "")


def _patient(row: dict[str, Any]) -> dict[str, Any]:
    ranks = {model: f"{number(100 * row[model], 0)} %" for model in ROLES if model in row and not pd.isna(row[model])}
    return {"name": row["patient_id"], "size": count(int(row["n_cases"]), "case"), "models": ranks} | {
        "gap": signed(row["gap"], 2),
        "note": patient_sentence(row),
    }


def _group(row: dict[str, Any]) -> dict[str, Any]:
    size = f"{count(int(row['n_patients']), 'patient')}, {count(int(row['n_cases']), 'case')}"
    return {name: row[name] for name in ("column", "group", "subset", "flag")} | {
        "size": size,
        "models": {model: number(row[model]) for model in ("teacher", "student")},
        "change": _cell(row["change"], row["low"], row["high"], show=signed),
    }
