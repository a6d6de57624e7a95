"""The tables of the report as data frames, numbers unrounded."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mu_monai.keys import MODEL, PATIENT_ID, STUDENT, SUBSET, SUBSETS
from mu_monai.runs import RunRecord
from mu_monai.runs.run import Runs

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


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


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
        found = run.record.parameters
        rows.append(
            {"model": role} | {name: getattr(found, name) for name in ("trainable", "total", "share", "coverage")}
        )
    return pd.DataFrame(rows)


def utility_table(records: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of every model, one row per subset.

    Args:
        records: the audit records.
        metric: `dice`, `iou`, `accuracy` or `loss`.

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


def class_table(records: pd.DataFrame) -> pd.DataFrame:
    """What is known of every class, one row per model and subset: `quantity`, `class`, and the columns of the records.

    A classifier's classes have an `f1`; classes of masks have a `dice` and, where they are known, `hd95`, `volume` and
    `volume_error`.

    Example:
        >>> table = class_table(pd.DataFrame({"metric": ["accuracy", "f1[nevus]"], "value": [0.9, 0.8]}))
        >>> table[["quantity", "class", "value"]].to_dict("records")
        [{'quantity': 'f1', 'class': 'nevus', 'value': 0.8}]
    """
    found = records["metric"].astype(str).str.extract(r"^(?P<quantity>\w+)\[(?P<class>.*)\]$")
    return records.assign(**found)[found["class"].notna()].reset_index(drop=True)


def leading(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a class table about its leading quantity, `f1` or `dice`."""
    return table[table["quantity"].isin(("f1", "dice"))]


def measurements(runs: Runs) -> dict[str, Any]:
    """What the unlearning run measured on itself; empty where it did not."""
    return dict(runs.by_role[STUDENT].record.measurements) if STUDENT in runs.by_role else {}


def layers_table(runs: Runs) -> pd.DataFrame:
    """How far each adapted layer moved: `layer`, `rank`, `norm`, `spectral_norm`, `bound`."""
    layers = (measurements(runs).get("drift") or {}).get("layers") or []
    return pd.DataFrame(layers, columns=["layer", "rank", "norm", "spectral_norm", "bound"])


def restoration_table(runs: Runs) -> pd.DataFrame:
    """What the watchdog saw: `epoch`, `forget_loss`, `retain_loss` (nats) and `returned`, 1 at the teacher's level."""
    epochs = (measurements(runs).get("restoration") or {}).get("epochs") or []
    return pd.DataFrame(epochs, columns=["epoch", "forget_loss", "retain_loss", "returned"])


def checks_table(runs: Runs) -> pd.DataFrame:
    """What the runs proved about themselves: `model`, `name`, `passed`, `detail`."""
    rows = [
        {"model": role, "name": check.name, "passed": check.passed, "detail": check.detail}
        for role, run in runs.by_role.items()
        for check in run.record.checks
    ]
    return pd.DataFrame(rows, columns=["model", "name", "passed", "detail"])


def provenance_table(runs: Runs) -> pd.DataFrame:
    """Where everything comes from: `item`, and one column of text per run."""
    columns = {role: _flat(run.record) for role, run in runs.by_role.items()}
    items = list(dict.fromkeys(item for column in columns.values() for item in column))
    return pd.DataFrame([{"item": item} | {role: columns[role].get(item, "") for role in columns} for item in items])


def _flat(record: RunRecord) -> dict[str, str]:
    """The lines of `run.json` that are worth a row, as `group: name` and text."""
    said = record.to_json()
    names = ("verb", "started", "seconds", "peak_memory_mib", "device", "seed", "max_epochs", "subsets")
    lines: dict[str, Any] = {name: said.get(name) for name in names}
    lines["forget_classes"] = said["forget_classes"] or None
    for group in ("bundle", "versions", "sha256"):
        lines |= {f"{group}: {name}": value for name, value in said[group].items()}
    method = said["method"] or {}
    lines |= {"preset": record.preset, "method": method.get("name")}
    lines |= {f"method: {name}": value for name, value in method.get("settings", {}).items()}
    lines |= {"teacher": record.teacher, "split": record.split.file}
    lines["command"] = record.command
    return {name: _text(value) for name, value in lines.items() if value not in (None, "")}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
