"""The comparison of methods as files: one page, a table for programs and one for papers, from `comparison.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.files import atomic_path
from mu_monai.keys import FORGET, RETAIN, RETRAINED, STUDENT, TEACHER, TEST, VALIDATION
from mu_monai.report.comparison_figure import draw_pareto, seed_gaps
from mu_monai.report.content import METRIC_LABELS, duration, forget_set
from mu_monai.report.page import render, write_figures
from mu_monai.report.plots import Plot
from mu_monai.report.sentences import count, listed, number, percent, signed
from mu_monai.report.tables import as_rows

COMPARISON_CSV, COMPARISON_TEX, INDEX_HTML, FIGURES_DIR = (
    "comparison.csv",
    "comparison.tex",
    "index.html",
    "figures",
)
_LEVELS = (RETAIN, FORGET, VALIDATION, TEST)
_GAPS = tuple(f"gap_{name}" for name in (*_LEVELS, "auc"))
_COSTS = ("seconds", "cpu_seconds", "peak_memory_mib", "ratio")
_NUMBERS = (*_LEVELS, "auc", *_GAPS, "average_gap", "tow", "auc_attacked", *_COSTS)
_FIRST = (TEACHER, RETRAINED)
Cells = dict[str, Any]


def write_comparison(content: Mapping[str, Any], out: str | Path) -> Path:
    """Write `index.html`, `comparison.csv`, `comparison.tex` and `figures/` of a comparison; earlier ones are replaced.

    Args:
        content: what `comparison.json` holds.
        out: the folder of the comparison, which the links of the page are relative to.

    Returns:
        the path of `index.html`.
    """
    out, table = Path(out), comparison_table(content["rows"])
    pictures = write_figures(_plots(content, table), out / FIGURES_DIR)
    texts = {
        COMPARISON_CSV: table.to_csv(index=False),
        COMPARISON_TEX: comparison_tex(table, _metric(content)),
        INDEX_HTML: render("comparison.html.j2", comparison_content(content, table) | {"pictures": pictures}),
    }
    for name, text in texts.items():
        with atomic_path(out / name) as path:
            path.write_text(text, encoding="utf-8")
    return out / INDEX_HTML


def comparison_table(rows: list[Cells]) -> pd.DataFrame:
    """One row per model: teacher, retrained model, then the methods, the smallest average gap first.

    Args:
        rows: the rows of `comparison.json`, one per model and seed.

    Returns:
        `label`, `model`, `paper`, `seeds` (how many were finished), `failed`, `reason`, `verdicts`; for each number its
        mean over the seeds, and `<number>_sd`, its standard deviation; NaN where there are none, or fewer than two.

    Example:
        >>> numbers = {name: 0.5 for name in _NUMBERS}
        >>> table = comparison_table([{"label": "a", "model": "student", "paper": "", "seed": seed, "run": "a",
        ...     "status": "finished", "reason": "", "verdict": "MATCHED", **numbers} for seed in (0, 1)])
        >>> table[["label", "seeds", "forget", "forget_sd", "verdicts"]].to_dict("records")
        [{'label': 'a', 'seeds': 2, 'forget': 0.5, 'forget_sd': 0.0, 'verdicts': '2 MATCHED'}]
    """
    every = pd.DataFrame(rows)
    every = every.reindex(columns=list(dict.fromkeys([*every.columns, *_NUMBERS, "verdict"])))
    every[list(_NUMBERS)] = every[list(_NUMBERS)].astype(float)
    lines = [_line(str(label), own) for label, own in every.groupby("label", sort=False)]
    table = pd.DataFrame(lines)
    place = table["label"].map({name: order for order, name in enumerate(_FIRST)}).fillna(len(_FIRST))
    return table.assign(place=place).sort_values(["place", "average_gap"], ignore_index=True).drop(columns="place")


def _line(label: str, own: pd.DataFrame) -> Cells:
    """The seeds of one model in one row."""
    finished, failed = own[own["status"] == "finished"], own[own["status"] != "finished"]
    verdicts = finished["verdict"].dropna().value_counts()
    line: Cells = {"label": label, "model": own["model"].iloc[0], "paper": own["paper"].iloc[0]}
    line |= {"seeds": len(finished), "failed": len(failed), "reason": "; ".join(dict.fromkeys(failed["reason"]))}
    line |= {"verdicts": ", ".join(f"{number} {name}" for name, number in verdicts.items())}
    for name in _NUMBERS:
        line |= {name: finished[name].mean(), f"{name}_sd": finished[name].std()}
    return line


def comparison_tex(table: pd.DataFrame, metric: str) -> str:
    r"""The table for a paper, for the package `booktabs`: mean and standard deviation over the seeds, the best bold.

    Args:
        table: what `comparison_table` gives.
        metric: the name of the levels, such as `Dice`.
    """
    heads = {name: name.capitalize() for name in _LEVELS}
    heads |= {"average_gap": "Avg. gap", "tow": "ToW", "auc": "AUC", "ratio": "Cost"}
    gaps = table.loc[table["model"] == STUDENT, "average_gap"]
    best = gaps.idxmin() if gaps.notna().any() else None
    lines = [
        {"Method": row["label"]}
        | {head: _tex_cell(row, name, bold=(place, name) == (best, "average_gap")) for name, head in heads.items()}
        for place, row in enumerate(as_rows(table))
        if row["seeds"]
    ]
    failed = [row["label"] for row in as_rows(table) if not row["seeds"]]
    style = (
        pd.DataFrame(lines, columns=["Method", *heads.values()])
        .style.hide(axis="index")
        .format(escape="latex", subset=["Method"])
    )
    text: str = style.to_latex(
        hrules=True,
        column_format="l" + "r" * len(heads),
        caption=f"{metric} per subset, mean $\\pm$ standard deviation over seeds. Cost: time as a share of retraining.",
        position_float="centering",
    )
    return text + "".join(f"% failed: {name}\n" for name in failed)


def _tex_cell(row: Cells, name: str, *, bold: bool) -> str:
    if math.isnan(row[name]):
        return "--"
    mean, spread = f"{row[name]:.3f}", row[f"{name}_sd"]
    mean = rf"\textbf{{{mean}}}" if bold else mean
    return mean if math.isnan(spread) else rf"{mean} $\pm$ {spread:.3f}"


def comparison_content(content: Mapping[str, Any], table: pd.DataFrame) -> Cells:
    """What stands on the page, by the names that its template uses."""
    students = table[(table["model"] == STUDENT) & (table["seeds"] > 0)]
    seeds, bundle = content["seeds"], content["identity"]["bundle"]
    floor = seed_gaps(content["rows"])
    return {
        "bundle": bundle,
        "metric": _metric(content),
        "lead": _lead(students),
        "facts": _facts(content),
        "rows": [_row(row) for row in as_rows(table) if row["seeds"]],
        "costs": [_cost(row) for row in as_rows(table) if row["seeds"]],
        "failed": [row for row in as_rows(table) if row["failed"]],
        "attacked": bool(students["auc_attacked"].notna().any()),
        "left_out": content["left_out"],
        "trials": [_trial(trial) for trial in content["trials"]],
        "chosen_among": max((trial["number"] for trial in content["trials"]), default=1),
        "runs": [{"warnings": []} | row for row in content["rows"] if row["model"] == STUDENT],
        "several": len(seeds) > 1,
        "floor": floor is not None,
        "phantom": content["provenance"].get("phantom") is True,
        "command": content["command"],
        "versions": content["versions"],
        "created": content["created"],
    }


def _metric(content: Mapping[str, Any]) -> str:
    metric = next((row["metric"] for row in content["rows"] if row.get("metric")), "dice")
    return METRIC_LABELS[metric]


def _lead(students: pd.DataFrame) -> str:
    """Which method came nearest, and how sure that is."""
    near = students.dropna(subset="average_gap")
    if near.empty:
        return "No method was finished."
    first = as_rows(near)[0]
    text = (
        f"{first['label']} came nearest to the retrained model, with an average gap of {number(first['average_gap'])}"
    )
    if len(near) > 1:
        second = as_rows(near)[1]
        text += f"; next is {second['label']} with {number(second['average_gap'])}"
    return f"{text}."


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    provenance = content["provenance"]
    sizes = [f"{name} {count(size['patients'], 'patient')}" for name, size in provenance["counts"].items()]
    return [
        ("Bundle", content["identity"]["bundle"]),
        ("Split", content["split"]),
        ("Subsets", ", ".join(sizes)),
        ("Forget set", forget_set(provenance)),
        ("Teacher", content["teacher"]),
        ("Seeds", listed([str(seed) for seed in content["seeds"]])),
        ("Attacks", listed(content["attacks"]) or "none"),
        ("Date", content["created"]),
    ]


def _row(row: Cells) -> Cells:
    known = row["model"] != RETRAINED  # among retrained models the signs cancel, and the average gap says it
    of_retrained = {name: row[f"gap_{name}"] if known else math.nan for name in (*_LEVELS, "auc")}
    return {
        "label": row["label"],
        "model": row["model"],
        "paper": row["paper"],
        "seeds": row["seeds"],
        "levels": {name: _cell(row, name) for name in (*_LEVELS, "auc", "average_gap", "tow", "auc_attacked")},
        "gaps": {name: "" if math.isnan(gap) else signed(gap) for name, gap in of_retrained.items()},
        "verdicts": row["verdicts"],
    }


def _cost(row: Cells) -> Cells:
    memory = row["peak_memory_mib"]
    return {
        "label": row["label"],
        "model": row["model"],
        "seconds": _duration(row["seconds"]),
        "cpu": _duration(row["cpu_seconds"]),
        "memory": "" if math.isnan(memory) else f"{memory:,.0f}",
        "ratio": percent(row["ratio"]) if not math.isnan(row["ratio"]) else "",
    }


def _cell(row: Cells, name: str) -> tuple[str, str]:
    """A mean and its spread over the seeds."""
    spread = row[f"{name}_sd"]
    return number(row[name]), "" if math.isnan(spread) else f"± {number(spread)}"


def _duration(seconds: float) -> str:
    return "" if math.isnan(seconds) else duration(seconds)


def _trial(trial: Cells) -> Cells:
    found = {name: trial.get(name) for name in ("score", "auc", "retain_drop", "validation_drop")}
    return trial | {
        "settings": ", ".join(trial["settings"]) or "as they are",
        "seconds": "" if trial["seconds"] is None else duration(trial["seconds"]),
        "found": ["" if value is None else number(value) for value in found.values()],
    }


def _plots(content: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Plot]:
    """The figure of the gaps; none where no method has them."""
    shown = table.dropna(subset=[f"gap_{FORGET}", f"gap_{RETAIN}"])
    shown = shown[shown["label"] != RETRAINED]
    if not (shown["model"] == STUDENT).any():
        return {}
    floor, metric = seed_gaps(content["rows"]), _metric(content)
    values = "; ".join(
        f"{row['label']}: {number(abs(row[f'gap_{FORGET}']))} on forget, {number(abs(row[f'gap_{RETAIN}']))} on retain"
        for row in as_rows(shown)
    )
    seeds = "" if floor is None else " Dotted lines: how far retrained models of different seeds are from one another."
    plot = Plot(
        draw=partial(draw_pareto, shown, metric, floor),
        alt=f"Size of the {metric} gap on forget and on retain cases per method. {values}.",
        caption="How far each method is from the retrained model on forgotten cases (across) and on retained ones "
        "(up); lower left is better. The line joins the methods that no other beats on both. Axes are logarithmic, and "
        f"gaps below 0.001 stand at the edge.{seeds}",
    )
    return {"pareto": plot}
