"""Print the tables of docs/results/comparison.md from what benchmarks/compare.sh makes.

python benchmarks/comparison_table.py OUT/lesions/comparison

What benchmarks/comparison_attacks.py found is shown as well.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from audit_table import ATTACKS, number, spread

from mu_monai.files import read_json
from mu_monai.keys import STUDENT
from mu_monai.report import comparison_table

ATTACKED_JSON = "attacked.json"
LEVELS = {
    "retain": "retain",
    "forget": "forget",
    "test": "test",
    "average_gap": "average gap",
    "tow": "ToW",
    "auc": "AUC, loss",
    "auc_logistic": "AUC, all signals",
}
Cells = dict[str, Any]


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
    head(["", *LEVELS.values(), "share of retraining", "verdicts"])
    for _, row in table.iterrows():
        if row["seeds"]:
            partly = f" ({row['seeds']} of {row['seeds'] + row['missing']})" if row["missing"] else ""
            cells = [cell(row, name) for name in LEVELS]
            line([f"{row['label']}{partly}", *cells, cell(row, "ratio", 2), row["verdicts"]])
    for _, row in table[table["failed"] > 0].iterrows():
        print(f"failed {row['failed']}: {row['label']}: {row['reason']}")
    print()


def chosen_table(content: Cells) -> None:
    """The settings that were chosen on validation cases, where there was a choice."""
    trials = pd.DataFrame(content["trials"])
    if "score" not in trials:  # there was no choice
        return
    head(["", "chosen", "scores of its settings, on validation"])
    for label, own in trials.groupby("label", sort=False):
        settings = [", ".join(setting) or "its own" for setting in own.loc[own["chosen"], "settings"]]
        scores = [f"{score:.2f}" for score in own.sort_values("number")["score"]]
        line([str(label), *(settings or [""]), ", ".join(scores)])
    print()


def attack_table(out: Path, content: Cells) -> None:
    """The AUC before and after every attack, and how much further it moved than the retrained model's."""
    audits: dict[str, list[Cells]] = {}
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


def main(out: Path) -> None:
    """All tables."""
    content = read_json(out / "comparison.json")
    main_table(comparison_table(content["rows"]))
    chosen_table(content)
    attack_table(out, content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
