"""The content of the page: the runs and records in words and formatted cells, ready for the template."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pandas as pd

from mu_monai.keys import CASE_ID, CLASSIFICATION, FORGET, PATIENT_ID, RETAIN, RETRAINED, ROLES, STUDENT, SUBSETS, TEST
from mu_monai.report import forgotten, sentences
from mu_monai.report.audited import audit_content
from mu_monai.report.classwise import class_content
from mu_monai.report.composed import composed_content
from mu_monai.report.measured import measured_content
from mu_monai.report.paper import PAPER_CASES, PAPER_SIZES, SOURCE
from mu_monai.report.tables import ReportTables, as_rows
from mu_monai.runs.record import AUDIT, GONE
from mu_monai.runs.run import Runs
from mu_monai.runs.scores import Column

Cells = dict[str, Any]
_SHOWN_PAIRS = 20
_COPIES = "copies of"  # how the coverage of a run begins that trains all weights


def page_content(tables: ReportTables) -> Cells:
    """Everything except the figures, by the template's names."""
    runs, checks, pairs = tables.runs, tables.checks, tables.near_duplicates
    return {
        "bundle": bundle_name(runs),
        "lead": _lead(tables),
        "facts": _facts(runs),
        "grouping": _grouping(tables),
        "phantom": runs.provenance.get("phantom") is True,
        "failed": checks[~checks["passed"].astype(bool)].to_dict("records"),
        "warnings": [(role, text) for role, run in runs.by_role.items() for text in run.record.warnings],
        "pairs": pairs.head(_SHOWN_PAIRS).to_dict("records"),
        "n_pairs": 0 if runs.forget_classes else len(pairs),
        "counts": [row | {"meaning": _meaning(runs, row["subset"])} for row in as_rows(tables.counts)],
        "tiles": _tiles(tables),
        "sizes": [_size(row) for row in as_rows(tables.size)],
        "task": runs.main.task,
        "volumes": runs.volumes,
        "label": tables.metrics[0].label,
        "utility": [_utility(tables, metric) for metric in tables.metrics],
        "by_class": class_content(tables.classes, runs.forget_classes),
        "forget_classes": sentences.listed(runs.forget_classes),
        "kept_classes": sentences.listed(runs.kept_classes),
        "has_student": STUDENT in runs.by_role,
        "has_frozen": any(row["model"] == STUDENT and _is_adapted(row) for row in as_rows(tables.size)),
        "has_retrained": RETRAINED in set(tables.records["model"]),
        "paper": None if tables.paper.empty else _paper(tables),
        "checks": as_rows(checks),
        "roles": list(runs.by_role),
        "provenance": as_rows(tables.provenance),
        "audit": audit_content(tables),
        "composed": composed_content(tables),
        **measured_content(tables),
    }


def bundle_name(runs: Runs) -> str:
    """The name of the bundle for the page's title."""
    return runs.main.record.bundle.name or "a bundle without a name"


def _lead(tables: ReportTables) -> str:
    runs, counts = tables.runs, tables.counts.set_index("subset")
    sizes = {
        str(name): f"{sentences.count(int(row['patients']), 'patient')} ({sentences.count(int(row['cases']), 'case')})"
        for name, row in counts.iterrows()
    }
    if STUDENT not in runs.by_role:
        return "This report shows trained models; nothing has been unlearned."
    if runs.forget_classes:
        return forgotten.lead(runs, sentences.listed([f"{size} of {name}" for name, size in sizes.items()]))
    forget, retain = (sizes.get(name, "cases that were not scored") for name in (FORGET, RETAIN))
    if runs.main.record.forget_images == GONE:
        forget = f"{_requested(runs)}, whose images were gone so that nothing was measured on them,"
    return f"A trained model was asked to forget {forget} and to keep what it learned from {retain}."


def _requested(runs: Runs) -> str:
    """How many forget cases the split has, scored or not."""
    counts = runs.provenance.get("counts", {}).get(FORGET, {})
    if not {"patients", "cases"} <= set(counts):
        return "the forget cases"
    return f"{sentences.count(counts['patients'], 'patient')} ({sentences.count(counts['cases'], 'case')})"


def _group_by(provenance: dict[str, Any]) -> str:
    """The column whose groups are never divided between subsets."""
    return str(provenance.get("group_by") or PATIENT_ID)


def _grouping(tables: ReportTables) -> Cells:
    """What the subsets are divided by, and how many scored cases count as a patient each."""
    cases = tables.scores.drop_duplicates(CASE_ID)
    column, unknown = _group_by(tables.runs.provenance), int((cases[PATIENT_ID] == cases[CASE_ID]).sum())
    if column != PATIENT_ID:
        divided = f"by {column}, not by patient"
    elif unknown:
        divided = "by image" if unknown == len(cases) else "by patient, or by image where no patient id is known"
    else:
        divided = "by patient"
    return {
        "column": column,
        "by_patient": column == PATIENT_ID,
        "divided": divided,
        "unknown": unknown,
        "cases": sentences.count(len(cases), "case"),
    }


def _epochs(planned: int | None, taken: int) -> str | None:
    """How many epochs a run took, and how many were planned if it stopped early."""
    if planned is None or not 0 < taken < planned:
        return None if planned is None else str(planned)
    return f"{taken} of {planned}, stopped early"


def _facts(runs: Runs) -> list[tuple[str, str]]:
    record, provenance = runs.main.record, runs.provenance
    bundle, method = record.bundle, record.method
    facts = [
        ("Bundle", " ".join(filter(None, (bundle.name, bundle.version)))),
        ("Task", bundle.task),
        ("Method", method and method.name),
        ("Preset", record.preset),
        ("Forget set", None if runs.forget_classes else forget_set(provenance)),
        ("Forgotten", sentences.listed(runs.forget_classes)),
        ("Split", _split(record.split.file, provenance)),
        ("Source", provenance.get("source")),
        ("Seed", record.seed),
        ("Epochs", _epochs(record.max_epochs, len(runs.main.curve))),
        ("Date", _date(record.started)),
        ("Device", record.device),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def forget_set(provenance: dict[str, Any]) -> str:
    """How the forget cases of a split were chosen, in words."""
    if "selector" not in provenance:
        return "not recorded"
    selector = provenance["selector"] or {}
    value = selector.get("value")
    match selector.get("kind"):
        case "fraction":
            column = _group_by(provenance)
            groups = "training patients" if column == PATIENT_ID else f"groups by {column} in training"
            return f"{100 * float(value or 0):g} % of the {groups}, drawn at random"
        case "ids":
            return sentences.count(len(value or []), "id") + " of patients or cases, as given"
        case "where":
            share = selector.get("share")
            drawn = f"{100 * float(share or 0):g} % of the training patients, drawn at random,"
            return f"{'all cases' if share is None else drawn} where {value}"
    return "none chosen"


def _split(file: str, provenance: dict[str, Any]) -> str:
    settings = [f"{name.replace('_', ' ')} {provenance[name]}" for name in ("group_by", "seed") if name in provenance]
    return f"{file or 'file not recorded'}" + (f" ({', '.join(settings)})" if settings else "")


def _date(started: str | None) -> str:
    try:
        return datetime.fromisoformat(started or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return ""


def _tiles(tables: ReportTables) -> list[Cells]:
    runs, records, metric = tables.runs, tables.records, tables.metrics[0]
    values = records[records["metric"] == metric.name].set_index(["model", "subset"])["value"].to_dict()
    names = {
        FORGET: ("Forgotten cases", f"{metric.label}; the target is the retrained or unseen level, not 0."),
        RETAIN: ("Retained cases", f"{metric.label}; it should not drop."),
        TEST: ("Unseen cases", f"{metric.label}; it should not drop."),
    }
    if STUDENT not in runs.by_role:  # nothing was forgotten, so nothing can have dropped
        names = {subset: (title, f"{metric.label}.") for subset, (title, _) in names.items()}
        names[FORGET] = ("Cases to forget", f"{metric.label}.")
    tiles: list[Cells] = forgotten.tiles(runs, records) if runs.forget_classes else []
    for subset, (title, aim) in names.items() if not runs.forget_classes else ():
        levels = [(model, sentences.number(values[model, subset], 2)) for model in ROLES if (model, subset) in values]
        if levels:
            tiles.append({"title": title, "values": levels, "aim": aim})
    times = [
        (role, duration(run.record.seconds))
        for role, run in runs.by_role.items()
        if run.record.seconds is not None and run.record.verb != AUDIT  # that only scored it
    ]
    if times:
        tiles.append(
            {"title": "Time", "values": times, "aim": f"Wall time of each run, on its own device.{_cost(runs)}"}
        )
    return tiles


def _cost(runs: Runs) -> str:
    """What unlearning took as a share of the teacher's training; empty if that is not known."""
    student = runs.by_role.get(STUDENT)
    if student is None or student.record.cost.share is None:
        return ""
    return f" Unlearning took {sentences.percent(student.record.cost.share)} of the teacher's sample passes."


def duration(seconds: float) -> str:
    """A duration in a suitable unit.

    Example:
        >>> duration(7.24), duration(412.5), duration(7384)
        ('7.2 s', '6.9 min', '2.1 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _size(row: Cells) -> Cells:
    paper = PAPER_SIZES.get(row["model"])
    return {
        "model": row["model"],
        "trainable": _integer(row["trainable"]),
        "total": _integer(row["total"]),
        "share": sentences.percent(row["share"], 2),
        "trained": _trained(row),
        "coverage": row["coverage"] or "",
        "paper": f"{paper.trainable:.2f}M of {paper.total:.2f}M = {sentences.percent(paper.share, 2)}" if paper else "",
    }


def _trained(row: Cells) -> str:
    """What of a model its run changed."""
    share = row["share"]
    if share is None or math.isnan(share):
        return "It was not made here, so what of it was trained is not known."
    if _is_adapted(row):
        return "Adapters over frozen weights; all weights count the adapters too."
    if row["model"] != STUDENT:
        return "All weights are trained, so the share is 100 %."
    return "Copies of the weights are trained; the teacher's are kept beside them until they are merged."


def _is_adapted(row: Cells) -> bool:
    """Whether a model's run trained adapters alone; a teacher's does if it was trained in shards."""
    share = row["share"]
    known = share is not None and not math.isnan(share)
    return known and share < 1 and not (row["coverage"] or "").startswith(_COPIES)


def _integer(value: float | None) -> str:
    return "\N{EN DASH}" if value is None or math.isnan(value) else f"{int(value):,}"


def _meaning(runs: Runs, subset: str) -> str:
    return forgotten.meaning(subset) if runs.forget_classes else sentences.MEANING[subset]


def _utility(tables: ReportTables, metric: Column) -> Cells:
    runs, table = tables.runs, tables.utility[metric.name]
    return {
        "label": metric.label,
        "meaning": _metric_meaning(runs, metric.meaning),
        "models": [model for model in ROLES if model in table],
        "has_gap": STUDENT in table,
        "has_drop": "drop" in table,
        "rows": [_utility_row(runs, row) for row in as_rows(table)],
    }


def _metric_meaning(runs: Runs, meaning: str) -> str:
    if runs.forget_classes and runs.kept_classes:
        return meaning.replace(
            "over cases", f"over cases and the classes that stay ({sentences.listed(runs.kept_classes)})"
        )
    return meaning.replace("over cases", "over cases and classes") if len(runs.kept_classes) > 1 else meaning


def _utility_row(runs: Runs, row: Cells) -> Cells:
    models = [model for model in ROLES if not pd.isna(row.get(model, math.nan))]
    cells: Cells = {
        "subset": row["subset"],
        "note": [_meaning(runs, row["subset"])],
        "gap": ("", "", ""),
        "drop": "",
    }
    cells["size"] = f"{sentences.count(row['patients'], 'patient')}, {sentences.count(row['cases'], 'case')}"
    cells["models"] = {
        model: (sentences.number(row[model]), sentences.between(row[f"{model}_low"], row[f"{model}_high"]))
        for model in models
    }
    if STUDENT in models:
        gap, ends = sentences.signed(row["gap"]), (row["gap_low"], row["gap_high"])
        cells["gap"] = (
            gap,
            sentences.between(*ends, show=sentences.signed),
            sentences.reference_name(row["reference"]),
        )
        cells["drop"] = sentences.signed(row.get("drop", math.nan))
        reading = row | {"subset": RETAIN} if runs.forget_classes else row  # no case was to be forgotten
        cells["note"] = [
            sentences.target_sentence(reading),
            sentences.gap_sentence(reading),
            sentences.drop_sentence(reading),
        ]
    return cells


def _paper(tables: ReportTables) -> Cells:
    """The paper's table with this report's models above it."""
    runs, records, table = tables.runs, tables.records, tables.paper
    shown = [column for column in tables.metrics if any(f"{subset}_{column.name}" in table for subset in SUBSETS)]
    metrics = [column.name for column in shown]
    subsets = [subset for subset in SUBSETS if f"{subset}_{metrics[0]}" in table]
    own_records = records[records["metric"].isin(metrics)]
    values = {(row["model"], f"{row['subset']}_{row['metric']}"): row["value"] for row in as_rows(own_records)}
    rows: list[Cells] = [
        {"data": "this report", "table": bundle_name(runs), "model": model}
        | {name: value for (owner, name), value in values.items() if owner == model}
        for model in ROLES
        if model in set(own_records["model"])
    ]
    return {
        "source": SOURCE,
        "place": "section 6.6" if runs.main.task == CLASSIFICATION else "Tables 2 to 4",
        "cases": PAPER_CASES if runs.main.task == CLASSIFICATION else {},
        "metrics": " / ".join(column.label for column in shown),
        "subsets": subsets,
        "rows": [_paper_row(row, subsets, metrics) for row in [*rows, *as_rows(table)]],
    }


def _paper_row(row: Cells, subsets: list[str], metrics: list[str]) -> Cells:
    cells = [[row.get(f"{subset}_{metric}", math.nan) for metric in metrics] for subset in subsets]
    shown = ["" if pd.isna(cell).any() else " / ".join(sentences.number(value, 4) for value in cell) for cell in cells]
    return {"table": row["table"], "data": row["data"], "model": row["model"], "cells": shown}
