"""Print the tables of docs/results/comparison.md from what benchmarks/compare.sh makes.

python benchmarks/comparison_table.py RUNS/lesions-seed*

A folder holds the `comparison` of one seed; several of them are put together. What benchmarks/comparison_attacks.py
found is shown as well.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.files import read_json
from mu_monai.keys import MODEL, STUDENT
from mu_monai.report import comparison_table

ATTACKED_JSON = "attacked.json"
LEVELS = ("retain", "forget", "test", "auc", "average_gap", "tow")
ATTACKS = ("retain-finetuning", "relearning", "int8", "int4", "pruning-30")
Cells = dict[str, Any]


def read(folders: Iterable[Path]) -> dict[Path, Cells]:
    """The comparisons, by their folder."""
    return {folder / "comparison": read_json(folder / "comparison" / "comparison.json") for folder in folders}


def together(comparisons: dict[Path, Cells]) -> pd.DataFrame:
    """One row per model over all comparisons, the nearest to the retrained model first."""
    rows = [row | {"run": str(out / row["run"])} for out, content in comparisons.items() for row in content["rows"]]
    return comparison_table(rows)


def cell(row: pd.Series, name: str, digits: int = 3) -> str:
    """A mean and its spread over the seeds."""
    if math.isnan(row[name]):
        return ""
    spread = row[f"{name}_sd"]
    return f"{row[name]:.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}")


def line(cells: Iterable[str]) -> None:
    """One line of a table."""
    print(f"| {' | '.join(cells)} |")


def head(cells: Iterable[str]) -> None:
    """The first line of a table."""
    cells = list(cells)
    line(cells)
    print("|---" * len(cells) + "|")


def main_table(table: pd.DataFrame) -> None:
    """Utility, membership, closeness and cost of every model."""
    head(["", *LEVELS, "share of retraining", "verdicts"])
    for _, row in table.iterrows():
        if row["seeds"]:
            partly = f" ({row['seeds']} of {row['seeds'] + row['missing']})" if row["missing"] else ""
            cells = [cell(row, name) for name in LEVELS]
            line([f"{row['label']}{partly}", *cells, cell(row, "ratio", 2), row["verdicts"]])
    for _, row in table[table["failed"] > 0].iterrows():
        print(f"failed {row['failed']}: {row['label']}: {row['reason']}")
    print()


def chosen_table(comparisons: dict[Path, Cells]) -> None:
    """The settings that were chosen on validation cases, and among how many."""
    trials = pd.DataFrame([trial for content in comparisons.values() for trial in content["trials"]])
    head(["", "chosen", "scores of its settings, on validation"])
    for label, own in trials.groupby("label", sort=False):
        settings = own.loc[own["chosen"], "settings"].map(lambda setting: ", ".join(setting) or "its own")
        counts = settings.value_counts()
        scores = own.groupby("number")["score"].mean() if "score" in own else pd.Series(dtype=float)
        chosen = ", ".join(f"{name} ({number})" if len(counts) > 1 else name for name, number in counts.items())
        line([str(label), chosen, ", ".join(f"{score:.2f}" for score in scores)])
    print()


def number(audit: Cells, model: str, metric: str, attack: str = "", field: str = "value") -> float:
    """One number of an audit; NaN where it has none."""
    for record in audit["records"]:
        if (record[MODEL], record["metric"], record["attack"]) == (model, metric, attack):
            return math.nan if record[field] is None else float(record[field])
    return math.nan


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation."""
    known = pd.Series(list(values)).dropna()
    if known.empty:
        return ""
    return f"{known.mean():.3f}" + (f" ± {known.std():.3f}" if len(known) > 1 else "")


def attack_table(comparisons: dict[Path, Cells]) -> None:
    """The AUC before and after every attack, and how much further it moved than the retrained model's."""
    audits: dict[str, list[Cells]] = {}
    for out, content in comparisons.items():
        for row in content["rows"]:
            file = out / row["run"] / ATTACKED_JSON
            if row["model"] == STUDENT and file.is_file():
                audits.setdefault(row["label"], []).append(read_json(file))
    if not audits:
        return
    head(["", "before", *ATTACKS, "anamnesis index", "AUC, linear probe"])
    for label, found in audits.items():
        rows: dict[str, Callable[[Cells, str], float]] = {
            label: lambda audit, attack: number(audit, STUDENT, "auc[loss]", attack),
            f"{label}, beyond retrained": lambda audit, attack: number(audit, STUDENT, "rebound", attack, "gap"),
        }
        for name, value in rows.items():
            first = spread(value(audit, "") for audit in found) if name == label else ""
            shown = [spread(value(audit, attack) for audit in found) for attack in ATTACKS]
            index = spread(number(audit, STUDENT, "anamnesis", "relearning") for audit in found)
            probe = spread(number(audit, STUDENT, "auc[probe]", "linear-probe") for audit in found)
            line([name, first, *shown, *((index, probe) if name == label else ("", ""))])
    print()


def main(folders: list[Path]) -> None:
    """All tables."""
    comparisons = read(folders)
    main_table(together(comparisons))
    chosen_table(comparisons)
    attack_table(comparisons)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
