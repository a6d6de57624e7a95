"""The tables of the report as data frames, numbers unrounded."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mu_monai.keys import MODEL, PATIENT_ID, STUDENT, SUBSET, SUBSETS
from mu_monai.report.folder import Runs

RECORD_COLUMNS = (
    "model",
    "metric",
    "subset",
    "value",
    "low",
    "high",
    "n_patients",
    "n_cases",
    "reference",
    "gap",
    "gap_low",
    "gap_high",
    "ideal",
)


def counts_table(runs: Runs) -> pd.DataFrame:
    """Patients and cases that were scored, per subset: `subset`, `patients`, `cases`."""
    scores = runs.main.scores
    own = scores[scores[MODEL] == runs.main.role]
    table = own.groupby(SUBSET).agg(patients=(PATIENT_ID, "nunique"), cases=(PATIENT_ID, "size"))
    return table.reindex([name for name in SUBSETS if name in table.index]).rename_axis(SUBSET).reset_index()


def size_table(runs: Runs) -> pd.DataFrame:
    """Parameter counts per model: `model`, `trainable`, `total`, `share` in [0, 1] and `coverage` of the adapters."""
    rows = []
    for role, run in runs.by_role.items():
        found: dict[str, Any] = run.record.get("parameters") or {}
        rows.append({"model": role} | {name: found.get(name) for name in ("trainable", "total", "share", "coverage")})
    return pd.DataFrame(rows)


def utility_table(records: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of every model, one row per subset.

    Args:
        records: the audit records.
        metric: `dice`, `iou` or `loss`.

    Returns:
        `subset`, `patients`, `cases`; per model `<model>`, `<model>_low`, `<model>_high`; for the student `reference`,
        `gap`, `gap_low`, `gap_high`, `ideal` and, where the teacher is known, `drop`, `drop_low`, `drop_high`.
    """
    rows: dict[str, dict[str, Any]] = {}
    for record in records[records["metric"] == metric].to_dict("records"):
        subset, model = record["subset"], record["model"]
        row = rows.setdefault(subset, {"subset": subset, "patients": record["n_patients"], "cases": record["n_cases"]})
        row |= {model: record["value"], f"{model}_low": record["low"], f"{model}_high": record["high"]}
        if model == STUDENT:
            row |= {name: record[name] for name in ("reference", "gap", "gap_low", "gap_high", "ideal")}
    for record in records[records["metric"] == f"{metric}_drop"].to_dict("records"):
        rows[record["subset"]] |= {"drop": record["value"], "drop_low": record["low"], "drop_high": record["high"]}
    return pd.DataFrame([rows[subset] for subset in SUBSETS if subset in rows])


def checks_table(runs: Runs) -> pd.DataFrame:
    """What the runs proved about themselves: `model`, `name`, `passed`, `detail`."""
    rows = [
        {"model": role, "name": check["name"], "passed": bool(check["passed"]), "detail": check.get("detail", "")}
        for role, run in runs.by_role.items()
        for check in run.record.get("checks") or []
    ]
    return pd.DataFrame(rows, columns=["model", "name", "passed", "detail"])


def provenance_table(runs: Runs) -> pd.DataFrame:
    """Where everything comes from: `item`, and one column of text per run."""
    columns = {role: _flat(run.record) for role, run in runs.by_role.items()}
    items = list(dict.fromkeys(item for column in columns.values() for item in column))
    return pd.DataFrame([{"item": item} | {role: columns[role].get(item, "") for role in columns} for item in items])


def _flat(record: dict[str, Any]) -> dict[str, str]:
    """The lines of `run.json` that are worth a row, as `group: name` and text."""
    lines: dict[str, Any] = {name: record.get(name) for name in ("verb", "started", "seconds", "peak_memory_mib")}
    lines |= {name: record.get(name) for name in ("device", "seed", "max_epochs", "subsets")}
    for group in ("bundle", "versions", "sha256"):
        lines |= {f"{group}: {name}": value for name, value in (record.get(group) or {}).items()}
    method = record.get("method") or {}
    lines["method"] = method.get("name")
    lines |= {f"method: {name}": value for name, value in (method.get("settings") or {}).items()}
    lines |= {"teacher": record.get("teacher"), "split": (record.get("split") or {}).get("file")}
    lines["command"] = record.get("command")
    return {name: _text(value) for name, value in lines.items() if value not in (None, "")}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
