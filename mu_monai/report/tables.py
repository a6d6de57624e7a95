"""The tables of the report as data frames, numbers unrounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.errors import InputError
from mu_monai.keys import MODEL, PATIENT_ID, RETRAINED, STUDENT, SUBSET, SUBSETS, TEACHER
from mu_monai.report.paper import paper_table
from mu_monai.runs import RunRecord, open_run
from mu_monai.runs.examples import Examples
from mu_monai.runs.numbers import DROP, Metric
from mu_monai.runs.run import Runs
from mu_monai.runs.scores import LEADING_PER_CLASS, PER_CLASS, UTILITY, Column, leading_metric

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
COMPOSED_OF = {"good_retain": "retains well", "good_forget": "forgets well"}


@dataclass(frozen=True, eq=False)
class ReportTables:
    """The tables behind a report's page, plots and files; each is built once, on first use.

    Args:
        runs: the runs of the report.
        records: the audit records of their scores, one row per record with the columns `RECORD_COLUMNS`.
    """

    runs: Runs
    records: pd.DataFrame

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The score tables of all runs in one."""
        return self.runs.scores

    @cached_property
    def examples(self) -> Examples:
        """The examples of the main run, with the other models' answers."""
        return self.runs.examples

    @cached_property
    def metrics(self) -> tuple[Column, ...]:
        """The metrics in the records that get a table on the page, the leading one first."""
        recorded = set(self.records["metric"])
        return tuple(column for column in UTILITY.values() if column.label and column.name in recorded)

    @cached_property
    def utility(self) -> dict[str, pd.DataFrame]:
        """The `utility_table` of each metric, by the metric's name."""
        return {metric.name: utility_table(self.records, metric.name) for metric in self.metrics}

    @cached_property
    def classes(self) -> pd.DataFrame:
        """The `class_table` of the records."""
        return class_table(self.records)

    @cached_property
    def counts(self) -> pd.DataFrame:
        """The numbers of scored patients and cases per subset: `subset`, `patients`, `cases`."""
        scores = self.runs.main.scores
        rows = scores[scores[MODEL] == self.runs.main.role]
        table = rows.groupby(SUBSET).agg(patients=(PATIENT_ID, "nunique"), cases=(PATIENT_ID, "size"))
        return table.reindex([name for name in SUBSETS if name in table.index]).rename_axis(SUBSET).reset_index()

    @cached_property
    def size(self) -> pd.DataFrame:
        """Parameter counts per model: `model`, `trainable`, `total`, `share` in [0, 1], `coverage` of the adapters."""
        names = ("trainable", "total", "share", "coverage")
        rows = [
            {"model": role} | {name: getattr(run.record.parameters, name) for name in names}
            for role, run in self.runs.by_role.items()
        ]
        return pd.DataFrame(rows)

    @cached_property
    def paper(self) -> pd.DataFrame:
        """What the paper reports on the task; empty for volumes, which it does not cover."""
        return pd.DataFrame() if self.runs.volumes else paper_table(self.runs.main.task)

    @cached_property
    def checks(self) -> pd.DataFrame:
        """The self-checks of the runs: `model`, `name`, `passed`, `detail`."""
        rows = [
            {"model": role, "name": check.name, "passed": check.passed, "detail": check.detail}
            for role, run in self.runs.by_role.items()
            for check in run.record.checks
        ]
        return pd.DataFrame(rows, columns=["model", "name", "passed", "detail"])

    @cached_property
    def near_duplicates(self) -> pd.DataFrame:
        """Forgotten cases that look like a case of another subset: `forget`, `other`, `subset`, `distance` in bits."""
        pairs = self.runs.provenance.get("near_duplicates") or []
        return pd.DataFrame(pairs, columns=["forget", "other", "subset", "distance"])

    @cached_property
    def provenance(self) -> pd.DataFrame:
        """The provenance of the runs: `item`, and one column of text per run."""
        columns = {role: _flat(run.record) for role, run in self.runs.by_role.items()}
        items = dict.fromkeys(item for column in columns.values() for item in column)
        return pd.DataFrame(
            [{"item": item} | {role: columns[role].get(item, "") for role in columns} for item in items]
        )

    @property
    def measurements(self) -> Mapping[str, Any]:
        """The unlearning run's own measurements; empty if there are none."""
        return self.runs.by_role[STUDENT].record.measurements if STUDENT in self.runs.by_role else {}

    @cached_property
    def layers(self) -> pd.DataFrame:
        """How far each layer moved: `layer`, `rank`, `norm`, `spectral_norm`, `bound`; rank 0 is without an adapter."""
        layers = (self.measurements.get("drift") or {}).get("layers") or []
        return pd.DataFrame(layers, columns=["layer", "rank", "norm", "spectral_norm", "bound"])

    @property
    def has_adapters(self) -> bool:
        """Whether `layers` are those with adapters, or else those whose own weights trained."""
        return bool((self.layers["rank"] > 0).any())

    @property
    def every_layer(self) -> str:
        """What `layers` are, in words."""
        return "Every adapted layer" if self.has_adapters else "Every layer with a matrix of weights"

    @cached_property
    def restoration(self) -> pd.DataFrame:
        """The watchdog's losses: `epoch`, `forget_loss`, `retain_loss` (nats), `returned` (1: the teacher's level)."""
        epochs = (self.measurements.get("restoration") or {}).get("epochs") or []
        return pd.DataFrame(epochs, columns=["epoch", "forget_loss", "retain_loss", "returned"])

    @cached_property
    def parents(self) -> dict[str, pd.DataFrame]:
        """The scores of the two runs that the student was composed of, if they are still in their folders."""
        composition = self.measurements.get("composition") or {}
        scores = {key: _parent_scores(composition[key]) for key in COMPOSED_OF if composition}
        return {key: table for key, table in scores.items() if table is not None}

    @cached_property
    def composed(self) -> pd.DataFrame:
        """Mean Dice or accuracy per subset of both parents and the composed model: `model`, `method`, and the subsets.

        Teacher and retrained model are included if they were scored. A run that was moved or now has other weights has
        no row; without a composition the table is empty.
        """
        composition = self.measurements.get("composition")
        if not composition:
            return pd.DataFrame()
        by_role = {role: self.scores[self.scores[MODEL] == role] for role in (TEACHER, RETRAINED, STUDENT)}
        tables = {role: by_role[role] for role in (TEACHER, RETRAINED)}
        tables |= {COMPOSED_OF[key]: table for key, table in self.parents.items()}
        methods = {name: composition[key]["method"] for key, name in COMPOSED_OF.items()}
        metric = leading_metric(self.scores)
        rows = [
            {"model": name, "method": methods.get(name, "")} | table.groupby(SUBSET)[metric].mean().to_dict()
            for name, table in (tables | {"composed": by_role[STUDENT]}).items()
            if len(table)
        ]
        return pd.DataFrame(rows)

    @cached_property
    def audit_records(self) -> pd.DataFrame:
        """The records of `audit.json`, one row each; missing numbers are NaN."""
        table = pd.DataFrame(self.runs.audit.get("records") or [], columns=[*RECORD_COLUMNS, "attack"])
        words = ("model", "metric", "subset", "reference", "attack")
        return table.astype({name: float if name not in words else str for name in table.columns})

    @cached_property
    def patients(self) -> pd.DataFrame:
        """The forgotten patients of `audit.json`, most exposed first."""
        return pd.DataFrame(self.runs.audit.get("patients") or [])

    @cached_property
    def subgroups(self) -> pd.DataFrame:
        """The subgroups of retained and unseen cases in `audit.json`, flagged ones first."""
        table = pd.DataFrame(self.runs.audit.get("subgroups") or [])
        return table.astype({"low": float, "high": float}) if len(table) else table

    def files(self) -> dict[str, pd.DataFrame]:
        """The tables written beside the page, by file name; optional tables without rows are left out."""
        always = {
            "records": self.records,
            "scores": self.scores,
            "size": self.size,
            "checks": self.checks,
            "near_duplicates": self.near_duplicates,
            "provenance": self.provenance,
            **self.utility,
            **{f"curve_{role}": run.curve for role, run in self.runs.by_role.items() if len(run.curve)},
        }
        optional = {
            "paper": self.paper,
            "classes": self.classes,
            "layers": self.layers,
            "restoration": self.restoration,
            "audit_records": self.audit_records,
            "composed": self.composed,
            "patients": self.patients,
            "subgroups": self.subgroups,
        }
        return always | {name: table for name, table in optional.items() if len(table)}


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts by column name."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def utility_table(records: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of every model, one row per subset.

    Args:
        records: the audit records.
        metric: `dice`, `iou`, `accuracy` or `loss`.

    Returns:
        `subset`, `patients`, `cases`; per model `<model>`, `<model>_low`, `<model>_high`; for the student `reference`,
        `gap`, `gap_low`, `gap_high`, `ideal` and, if the teacher is known, `drop`, `drop_low`, `drop_high`.
    """
    rows: dict[str, dict[str, Any]] = {}
    for record in records[records["metric"] == metric].to_dict("records"):
        subset, model = record["subset"], record["model"]
        row = rows.setdefault(subset, {"subset": subset, "patients": record["n_patients"], "cases": record["n_cases"]})
        row |= {model: record["value"], f"{model}_low": record["low"], f"{model}_high": record["high"]}
        if model == STUDENT:
            row |= {name: record[name] for name in ("reference", "gap", "gap_low", "gap_high", "ideal")}
    for record in records[records["metric"] == f"{metric}{DROP}"].to_dict("records"):
        rows[record["subset"]] |= {"drop": record["value"], "drop_low": record["low"], "drop_high": record["high"]}
    return pd.DataFrame([rows[subset] for subset in SUBSETS if subset in rows])


def class_table(records: pd.DataFrame) -> pd.DataFrame:
    """The records of every class, one row per model and subset: `quantity`, `class`, and the columns of the records.

    A classifier's classes have an `f1`; classes of masks have a `dice` and, if they are known, `hd95`, `volume` and
    `volume_error`.

    Example:
        >>> table = class_table(pd.DataFrame({"metric": ["accuracy", "f1[nevus]"], "value": [0.9, 0.8]}))
        >>> table[["quantity", "class", "value"]].to_dict("records")
        [{'quantity': 'f1', 'class': 'nevus', 'value': 0.8}]
    """
    metrics = [Metric.parse(str(name)) for name in records["metric"]]
    columns: dict[str, Any] = {"quantity": [m.quantity for m in metrics], "class": [m.of for m in metrics]}
    named = records.assign(**columns)
    return named[named["quantity"].isin(PER_CLASS) & named["class"].notna()].reset_index(drop=True)


def leading(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a class table about its leading quantity, `f1` or `dice`."""
    return table[table["quantity"].isin(LEADING_PER_CLASS)]


def _parent_scores(parent: Mapping[str, Any]) -> pd.DataFrame | None:
    """The scores of one of the two runs; None if it is gone or was replaced by another run."""
    folder = Path(parent["run"])
    try:
        run = open_run(folder)
        scores = run.scores
    except (OSError, InputError):
        return None
    return scores[scores[MODEL] == STUDENT] if run.record.sha256.weights == parent["weights"] else None


def _flat(record: RunRecord) -> dict[str, str]:
    """The entries of `run.json` for the provenance table, as `group: name` and text."""
    content = record.to_json()
    names = ("verb", "started", "seconds", "peak_memory_mib", "device", "seed", "max_epochs", "subsets")
    lines: dict[str, Any] = {name: content.get(name) for name in names}
    lines["forget_classes"] = content["forget_classes"] or None
    lines["forget_images"] = record.forget_images
    for group in ("bundle", "versions", "sha256"):
        lines |= {f"{group}: {name}": value for name, value in content[group].items()}
    method = content["method"] or {}
    lines |= {"preset": record.preset, "method": method.get("name")}
    lines |= {f"method: {name}": value for name, value in method.get("settings", {}).items()}
    lines |= {"teacher": record.teacher, "split": record.split.file}
    lines["command"] = record.command
    return {name: _text(value) for name, value in lines.items() if value not in (None, "")}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
