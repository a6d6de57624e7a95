"""What stands on the page: the runs and records in words and formatted cells, ready for the template."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pandas as pd

from mu_monai.keys import CASE_ID, FORGET, PATIENT_ID, RETAIN, ROLES, STUDENT, SUBSETS, TEST
from mu_monai.report import sentences
from mu_monai.report.folder import Run, Runs
from mu_monai.report.paper import PAPER_SIZES, SOURCE, paper_utility
from mu_monai.report.tables import checks_table, counts_table, provenance_table, size_table, utility_table

Cells = dict[str, Any]
METRIC_LABELS = {"dice": "Dice", "iou": "IoU"}
_SHOWN_PAIRS = 20


def page_content(runs: Runs, records: pd.DataFrame) -> dict[str, Any]:
    """Everything but the figures, by the names that the template uses."""
    checks = checks_table(runs)
    provenance = provenance_table(runs)
    return {
        "bundle": bundle_name(runs),
        "lead": _lead(runs),
        "facts": _facts(runs),
        "grouping": _grouping(runs),
        "phantom": runs.provenance.get("phantom") is True,
        "failed": checks[~checks["passed"].astype(bool)].to_dict("records"),
        "warnings": [(role, text) for role, run in runs.by_role.items() for text in run.record.get("warnings") or []],
        "pairs": near_duplicates(runs).head(_SHOWN_PAIRS).to_dict("records"),
        "n_pairs": len(near_duplicates(runs)),
        "counts": [row | {"meaning": sentences.MEANING[row["subset"]]} for row in _rows(counts_table(runs))],
        "tiles": _tiles(runs, records),
        "sizes": [_size(row) for row in _rows(size_table(runs))],
        "utility": [_utility(records, metric) for metric in METRIC_LABELS],
        "has_student": STUDENT in runs.by_role,
        "has_retrained": "retrained" in set(records["model"]),
        "paper_rows": [_paper_row(row) for row in _rows(paper_utility())],
        "paper_source": SOURCE,
        "checks": _rows(checks),
        "roles": list(runs.by_role),
        "provenance": _rows(provenance),
    }


def bundle_name(runs: Runs) -> str:
    """The name of the bundle, as the page's title has it."""
    return str((runs.main.record.get("bundle") or {}).get("name", "a bundle without a name"))


def near_duplicates(runs: Runs) -> pd.DataFrame:
    """Forgotten cases that look like a case of another subset: `forget`, `other`, `subset`, `distance` in bits."""
    pairs = runs.provenance.get("near_duplicates") or []
    return pd.DataFrame(pairs, columns=["forget", "other", "subset", "distance"])


def _rows(table: pd.DataFrame) -> list[Cells]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _lead(runs: Runs) -> str:
    counts = counts_table(runs).set_index("subset")
    sizes = {
        str(name): f"{sentences.count(int(row['patients']), 'patient')} ({sentences.count(int(row['cases']), 'case')})"
        for name, row in counts.iterrows()
    }
    if STUDENT not in runs.by_role:
        return "This report shows models as they were trained; nothing has been unlearned in it."
    forget, retain = (sizes.get(name, "cases that were not scored") for name in (FORGET, RETAIN))
    return f"A trained model was asked to forget {forget} and to keep what it learned from {retain}."


def _group_by(provenance: dict[str, Any]) -> str:
    """The column whose groups the split keeps whole."""
    return str(provenance.get("group_by") or PATIENT_ID)


def _grouping(runs: Runs) -> Cells:
    """What the subsets are divided by, and how many scored cases stand for a patient of their own."""
    cases = runs.scores.drop_duplicates(CASE_ID)
    column, unknown = _group_by(runs.provenance), int((cases[PATIENT_ID] == cases[CASE_ID]).sum())
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


def _facts(runs: Runs) -> list[tuple[str, str]]:
    record, provenance = runs.main.record, runs.provenance
    bundle, split = record.get("bundle") or {}, record.get("split") or {}
    method = record.get("method") or {}
    facts = [
        ("Bundle", " ".join(str(bundle[name]) for name in ("name", "version") if name in bundle)),
        ("Task", bundle.get("task")),
        ("Method", method.get("name")),
        ("Forget set", _selector(provenance)),
        ("Split", _split(split.get("file"), provenance)),
        ("Source", provenance.get("source")),
        ("Seed", record.get("seed")),
        ("Epochs", record.get("max_epochs")),
        ("Date", _date(record.get("started"))),
        ("Device", record.get("device")),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _selector(provenance: dict[str, Any]) -> str:
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
            return f"all cases where {value}"
    return "none chosen"


def _split(file: str | None, provenance: dict[str, Any]) -> str:
    settings = [f"{name.replace('_', ' ')} {provenance[name]}" for name in ("group_by", "seed") if name in provenance]
    return f"{file or 'file not recorded'}" + (f" ({', '.join(settings)})" if settings else "")


def _date(started: str | None) -> str:
    try:
        return datetime.fromisoformat(started or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return ""


def _tiles(runs: Runs, records: pd.DataFrame) -> list[Cells]:
    values = records[records["metric"] == "dice"].set_index(["model", "subset"])["value"].to_dict()
    names = {
        FORGET: ("Forgotten cases", "Dice; the aim is the retrained or unseen level, not 0."),
        RETAIN: ("Retained cases", "Dice; it should not drop."),
        TEST: ("Unseen cases", "Dice; it should not drop."),
    }
    tiles: list[Cells] = []
    for subset, (title, aim) in names.items():
        found = [(model, sentences.number(values[model, subset], 2)) for model in ROLES if (model, subset) in values]
        if found:
            tiles.append({"title": title, "values": found, "aim": aim})
    times = [(role, duration(run.record["seconds"])) for role, run in runs.by_role.items() if _timed(run)]
    if times:
        tiles.append({"title": "Time", "values": times, "aim": "Wall time of each run, on its own device."})
    return tiles


def _timed(run: Run) -> bool:
    return isinstance(run.record.get("seconds"), int | float)


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

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
        "share": _percent(row["share"]),
        "coverage": row["coverage"] or "",
        "paper": f"{paper.trainable:.2f}M of {paper.total:.2f}M = {_percent(paper.share)}" if paper else "",
    }


def _integer(value: float | None) -> str:
    return "\N{EN DASH}" if value is None or math.isnan(value) else f"{int(value):,}"


def _percent(share: float | None) -> str:
    return "\N{EN DASH}" if share is None or math.isnan(share) else f"{100 * share:.2f} %"


def _utility(records: pd.DataFrame, metric: str) -> Cells:
    table = utility_table(records, metric)
    return {
        "label": METRIC_LABELS[metric],
        "metric": metric,
        "models": [model for model in ROLES if model in table],
        "has_gap": STUDENT in table,
        "has_drop": "drop" in table,
        "rows": [_utility_row(row) for row in _rows(table)],
    }


def _utility_row(row: Cells) -> Cells:
    models = [model for model in ROLES if not pd.isna(row.get(model, math.nan))]
    cells: Cells = {
        "subset": row["subset"],
        "note": [sentences.MEANING[row["subset"]]],
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
        cells["note"] = [sentences.target_sentence(row), sentences.gap_sentence(row), sentences.drop_sentence(row)]
    return cells


def _paper_row(row: Cells) -> Cells:
    shown = {
        f"{subset}_{metric}": sentences.number(row[f"{subset}_{metric}"], 4) if f"{subset}_{metric}" in row else ""
        for subset in SUBSETS
        for metric in METRIC_LABELS
    }
    blank = {name: "" if value == "\N{EN DASH}" else value for name, value in shown.items()}
    return {"table": row["table"], "data": row["data"], "model": row["model"]} | blank
