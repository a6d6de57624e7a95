"""The comparison of methods as files: a page, a CSV table and a LaTeX table, from `comparison.json`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.files import atomic_path
from mu_monai.keys import FORGET, RETAIN, RETRAINED, STUDENT, TEACHER, TEST, VALIDATION
from mu_monai.report.comparison_figure import Gaps, draw_pareto
from mu_monai.report.content import duration, forget_set
from mu_monai.report.page import render, write_figures
from mu_monai.report.plots import Plot
from mu_monai.report.sentences import count, listed, number, percent, signed
from mu_monai.report.tables import as_rows
from mu_monai.runs.scores import DICE, UTILITY
from mu_monai.tables import for_spreadsheets

COMPARISON_CSV, COMPARISON_TEX, INDEX_HTML, FIGURES_DIR = (
    "comparison.csv",
    "comparison.tex",
    "index.html",
    "figures",
)
_LEVELS = (RETAIN, FORGET, VALIDATION, TEST)
_AUCS = ("auc", "auc_logistic")
_GAPS = tuple(f"gap_{name}" for name in (*_LEVELS, *_AUCS))
_COMPARED = (*_GAPS, "average_gap", "tow")  # to the retrained model; for that model itself, to those of other seeds
_COSTS = ("seconds", "cpu_seconds", "peak_memory_mib", "ratio")
_NUMBERS = (*_LEVELS, *_AUCS, *_COMPARED, "auc_attacked", *_COSTS)
_FIRST = (TEACHER, RETRAINED)
_TOLERANCE = 0.05  # the largest gap of an AUC that counts as no gap, as in the audit's verdicts
Cells = dict[str, Any]


def write_comparison(content: Mapping[str, Any], out: str | Path) -> Path:
    """Write `index.html`, `comparison.csv`, `comparison.tex` and `figures/` of a comparison; earlier ones are replaced.

    Args:
        content: the content of `comparison.json`.
        out: the folder of the comparison; the links of the page are relative to it.

    Returns:
        the path of `index.html`.
    """
    out, table = Path(out), comparison_table(content["rows"])
    pictures = write_figures(_plots(content, table), out / FIGURES_DIR)
    texts = {
        COMPARISON_CSV: for_spreadsheets(table).to_csv(index=False),
        COMPARISON_TEX: comparison_tex(table, _metric(content), len(content["seeds"])),
        INDEX_HTML: render("comparison.html.j2", comparison_content(content, table) | {"pictures": pictures}),
    }
    for name, text in texts.items():
        with atomic_path(out / name) as path:
            path.write_text(text, encoding="utf-8")
    return out / INDEX_HTML


def comparison_table(rows: list[Cells]) -> pd.DataFrame:
    """One row per model: teacher, retrained model, then the methods; complete ones first, by average gap.

    Args:
        rows: the rows of `comparison.json`, one per model and seed.

    Returns:
        `label`, `model`, `paper`, `seeds` (how many are finished; for teacher and retrained model, how many models
        there are), `missing` (seeds that other methods have), `failed`, `reason`, `verdicts`; for each number its mean
        over the seeds (NaN without a finished seed), and `<number>_sd`, its standard deviation (NaN with fewer than two
        seeds, or fewer than three retrained models compared with each other). `size_forget` and `size_retain` are means
        of absolute gaps.

    Example:
        >>> numbers = {name: 0.5 for name in _NUMBERS}
        >>> table = comparison_table([{"label": "a", "model": "student", "paper": "", "seed": seed,
        ...     "run": f"a/seed-{seed}", "status": "finished", "reason": "", "verdict": "MATCHED", **numbers}
        ...     for seed in (0, 1)])
        >>> table[["label", "seeds", "forget", "forget_sd", "verdicts"]].to_dict("records")
        [{'label': 'a', 'seeds': 2, 'forget': 0.5, 'forget_sd': 0.0, 'verdicts': '2 MATCHED'}]
    """
    every = pd.DataFrame(rows)
    every = every.reindex(columns=list(dict.fromkeys([*every.columns, *_NUMBERS, "verdict"])))
    every[list(_NUMBERS)] = every[list(_NUMBERS)].astype(float)
    seeds = every["seed"].nunique()
    merged = [_line(str(label), group, seeds) for label, group in every.groupby("label", sort=False)]
    table = pd.DataFrame(merged)
    place = table["label"].map({name: order for order, name in enumerate(_FIRST)}).fillna(len(_FIRST))
    order = ["place", "partly", "average_gap"]
    ordered = table.assign(place=place, partly=table["missing"] > 0).sort_values(order, ignore_index=True)
    return ordered.drop(columns=["place", "partly"])


def _line(label: str, group: pd.DataFrame, seeds: int) -> Cells:
    """The seeds of one model in one row; a model shared by several seeds counts once."""
    finished, failed = group[group["status"] == "finished"], group[group["status"] != "finished"]
    missing, finished = seeds - len(finished), finished.drop_duplicates(["run", *_NUMBERS])
    verdicts = finished["verdict"].dropna().value_counts()
    line: Cells = {"label": label, "model": group["model"].iloc[0], "paper": group["paper"].iloc[0]}
    line |= {"seeds": finished["run"].nunique(), "missing": missing}
    line |= {"failed": len(failed), "reason": "; ".join(dict.fromkeys(failed["reason"]))}
    line |= {"verdicts": ", ".join(f"{number} {name}" for name, number in verdicts.items())}
    for name in _NUMBERS:
        known = len(finished) if name in _COMPARED else line["seeds"]
        least = 3 if line["model"] == RETRAINED and name in _COMPARED else 2  # two retrained models make a single pair
        line |= {name: finished[name].mean(), f"{name}_sd": finished[name].std() if known >= least else math.nan}
    return line | {f"size_{name}": finished[f"gap_{name}"].abs().mean() for name in (FORGET, RETAIN)}


def comparison_tex(table: pd.DataFrame, metric: str, seeds: int) -> str:
    r"""The LaTeX table for the package `booktabs`: mean and standard deviation over the seeds, the best in bold.

    Args:
        table: the table that `comparison_table` returns.
        metric: the name of the levels, such as `Dice`.
        seeds: how many seeds there are.
    """
    heads = {name: name.capitalize() for name in _LEVELS}
    heads |= {"average_gap": "Avg. gap", "tow": "ToW", "auc": "AUC", "auc_logistic": "AUC, all", "ratio": "Cost"}
    rows, near = as_rows(table), _near(table)
    best = near[0]["label"] if near else None
    lines = [
        {"Method": _part(row, seeds)}
        | {
            head: _tex_cell(row, name, bold=(row["label"], name) == (best, "average_gap"))
            for name, head in heads.items()
        }
        for row in rows
        if row["seeds"]
    ]
    failed = "".join(f"% failed: {row['label']}\n" for row in rows if not row["seeds"])
    if not lines:
        return f"\\textit{{No run finished.}}\n{failed}"
    style = pd.DataFrame(lines).style.hide(axis="index").format(escape="latex", subset=["Method"])
    numbers = "one seed" if seeds == 1 else f"mean $\\pm$ standard deviation over {seeds} seeds"
    caption = f"{metric} per subset, {numbers}. Cost: time as a share of retraining."
    text: str = style.to_latex(
        hrules=True,
        column_format="l" + "r" * len(heads),
        caption=caption if near else f"{caption} No method finished.",
        position_float="centering",
    )
    return text + failed


def _near(table: pd.DataFrame) -> list[Cells]:
    """The methods with all seeds finished, by average gap; if no method is complete, all with an average gap."""
    known = table[table["model"] == STUDENT].dropna(subset="average_gap")
    whole = known[known["missing"] == 0]
    return as_rows(known if whole.empty else whole)


def _part(row: Cells, seeds: int) -> str:
    """A label, with the number of seeds if some are missing."""
    partly = row["model"] == STUDENT and row["missing"]
    return f"{row['label']} ({row['seeds']} of {count(seeds, 'seed')})" if partly else str(row["label"])


def _tex_cell(row: Cells, name: str, *, bold: bool) -> str:
    if math.isnan(row[name]):
        return "--"
    mean, spread = f"{row[name]:.3f}", row[f"{name}_sd"]
    mean = rf"\textbf{{{mean}}}" if bold else mean
    return mean if math.isnan(spread) else rf"{mean} $\pm$ {spread:.3f}"


def comparison_content(content: Mapping[str, Any], table: pd.DataFrame) -> Cells:
    """The content of the page, by the template's names."""
    students = table[(table["model"] == STUDENT) & (table["seeds"] > 0)]
    retrained = table[table["model"] == RETRAINED]
    return {
        "bundle": content["identity"]["bundle"],
        "metric": _metric(content),
        "lead": _lead(table, len(content["seeds"])),
        "facts": _facts(content),
        "rows": [_row(row, content) for row in as_rows(table) if row["seeds"]],
        "costs": [_cost(row) for row in as_rows(table) if row["seeds"]],
        "failed": [row for row in as_rows(table) if row["failed"]],
        "attacked": bool(students["auc_attacked"].notna().any()),
        "left_out": content["left_out"],
        "trials": [_trial(trial) for trial in content["trials"]],
        "chances": _chances(content["trials"]),
        "runs": [{"warnings": []} | row for row in content["rows"] if row["model"] == STUDENT],
        "seeds": len(content["seeds"]),
        "n_retrained": int(retrained["seeds"].sum()),
        "floor": _floor(table) is not None,
        "unscored": TEACHER not in set(table["model"]),
        "given": bool(content.get("references")),
        "on_validation": listed(content.get("on_validation", [])),
        "phantom": content["provenance"].get("phantom") is True,
        "command": content["command"],
        "versions": content["versions"],
        "created": content["created"],
    }


def _floor(table: pd.DataFrame) -> Gaps | None:
    """How far retrained models are from each other on forget and on retain; None with a single one."""
    sizes = table.loc[table["model"] == RETRAINED, [f"size_{FORGET}", f"size_{RETAIN}"]].dropna().to_numpy(float)
    return (float(sizes[0, 0]), float(sizes[0, 1])) if len(sizes) else None


def _metric(content: Mapping[str, Any]) -> str:
    metric = next((row["metric"] for row in content["rows"] if row.get("metric")), DICE)
    return UTILITY[metric].label


def _lead(table: pd.DataFrame, seeds: int) -> str:
    """Which method came closest, and how certain that is."""
    near = _near(table)
    if not near:
        return "No method finished."
    first = near[0]
    text = f"{_part(first, seeds)} came closest to the retrained model, with an average gap of"
    text = f"{text} {number(first['average_gap'])}"
    if len(near) > 1:
        text += f"; next is {_part(near[1], seeds)} with {number(near[1]['average_gap'])}"
    return " ".join([f"{text}.", *_doubts(first, table)])


def _doubts(first: Cells, table: pd.DataFrame) -> Iterator[str]:
    """Why even the closest method may not be good."""
    others = table.dropna(subset="average_gap").set_index("model")["average_gap"]
    if TEACHER in others and first["average_gap"] >= others[TEACHER]:
        yield f"That is not closer than the original model, with {number(others[TEACHER])}."
    if RETRAINED in others and first["average_gap"] <= others[RETRAINED]:
        yield f"That is within the difference between retrained models of other seeds, {number(others[RETRAINED])}."
    if first["gap_auc_logistic"] > _TOLERANCE:
        yield (
            f"Its forgotten patients can still be recognized by all signals together: an AUC of "
            f"{number(first['auc_logistic'])}, {signed(first['gap_auc_logistic'])} from the retrained model's."
        )
    if first["seeds"] == 1:
        yield "It was run with one seed, so the order may be chance."


def _chances(trials: Sequence[Cells]) -> str:
    """How many settings were tried per method; empty if no method had more than one."""
    numbers = Counter(trial["label"] for trial in trials)
    if max(numbers.values(), default=1) == 1:
        return ""
    usual = Counter(numbers.values()).most_common(1)[0][0]
    fewer = [f"{label} {number}" for label, number in numbers.items() if number != usual]
    text = f"Settings tried per method: {usual}"
    why = "settings fixed for all methods are not varied, or --trials was different"
    return f"{text}, except {listed(fewer)} ({why})." if fewer else f"{text}."


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    provenance = content["provenance"]
    sizes = [f"{name} {count(size['patients'], 'patient')}" for name, size in provenance.get("counts", {}).items()]
    return [
        ("Bundle", content["identity"]["bundle"]),
        ("Split", content["split"]),
        ("Subsets", ", ".join(sizes) or "not known"),
        ("Forget set", forget_set(provenance)),
        ("Teacher", content["teacher"]),
        ("Seeds", listed([str(seed) for seed in content["seeds"]])),
        ("Attacks", listed(content["attacks"]) or "none"),
        ("Date", content["created"]),
    ]


def _row(row: Cells, content: Mapping[str, Any]) -> Cells:
    known = row["model"] != RETRAINED  # gaps between retrained models have no sign; the average gap covers them
    return {
        "label": row["label"],
        "model": row["model"],
        "notes": ", ".join(filter(None, _notes(row, content))),
        "levels": {name: _cell(row, name) for name in (*_LEVELS, *_AUCS, "average_gap", "tow", "auc_attacked")},
        "gaps": {name: _gap(row, name) if known else "" for name in (*_LEVELS, *_AUCS)},
        "verdicts": row["verdicts"],
    }


def _notes(row: Cells, content: Mapping[str, Any]) -> Iterator[str]:
    """The notes below a label: its paper, how many seeds, and settings that failed."""
    seeds = len(content["seeds"])
    yield row["paper"]
    if seeds > 1 and row["model"] == STUDENT:
        yield f"{row['seeds']} of {seeds} seeds" if row["missing"] else count(seeds, "seed")
    if seeds > 1 and row["model"] == RETRAINED:
        yield count(row["seeds"], "model")
    trials = [trial for trial in content["trials"] if trial["label"] == row["label"]]
    broken = sum(bool(trial["reason"]) for trial in trials)
    if broken:
        yield f"{broken} of {count(len(trials), 'setting')} failed"


def _gap(row: Cells, name: str) -> str:
    gap, spread = row[f"gap_{name}"], row[f"gap_{name}_sd"]
    if math.isnan(gap):
        return ""
    return signed(gap) if math.isnan(spread) else f"{signed(gap)} ± {number(spread)}"


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
    criterion = {name: trial.get(name) for name in ("score", "auc", "retain_drop", "validation_drop")}
    return trial | {
        "settings": ", ".join(trial["settings"]) or "unchanged",
        "seconds": "" if trial["seconds"] is None else duration(trial["seconds"]),
        "found": ["" if value is None else number(value) for value in criterion.values()],
    }


def _plots(content: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Plot]:
    """The figure of the gaps; None if no method has them."""
    shown = table.dropna(subset=[f"size_{FORGET}", f"size_{RETAIN}"])
    shown = shown[shown["label"] != RETRAINED]
    shown = shown.assign(label=[_part(row, len(content["seeds"])) for row in as_rows(shown)])
    if not (shown["model"] == STUDENT).any():
        return {}
    floor, metric = _floor(table), _metric(content)
    values = "; ".join(
        f"{row['label']}: {number(row[f'size_{FORGET}'])} on forget, {number(row[f'size_{RETAIN}'])} on retain"
        for row in as_rows(shown)
    )
    mean = ", as the mean absolute gap over the seeds" if len(content["seeds"]) > 1 else ""
    seeds = "" if floor is None else " Dotted lines: how far retrained models of different seeds are from each other."
    plot = Plot(
        draw=partial(draw_pareto, shown, metric, floor),
        alt=f"Size of the {metric} gap on forget and on retain cases per method. {values}.",
        caption=f"How far each method is from the retrained model on forgotten (x axis) and retained cases (y axis)"
        f"{mean}; lower left is better. The line joins the methods that no other beats on both. Axes are logarithmic, "
        f"and gaps below 0.001 are drawn at the edge.{seeds}",
    )
    return {"pareto": plot}
