"""Print a Markdown table of Dice per subset and model from the run folders of an experiment, with intervals.

python benchmarks/results_table.py RUNS/chase-1stHO-seed0 [STUDENT ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from mu_monai.audit import records_table, utility_records
from mu_monai.files import read_json
from mu_monai.keys import RETRAINED, STUDENT, SUBSETS, TEACHER
from mu_monai.report import read_runs


def main(folder: Path, students: list[str]) -> None:
    students = students or ["paper", "alternate", "gentle"]
    tables = {}
    for name in students:
        if (folder / name / "scores.csv").is_file():
            runs = read_runs([folder / TEACHER, folder / RETRAINED, folder / name])
            tables[name] = records_table(utility_records(runs.scores)).query("metric == 'dice'")
    first = next(iter(tables.values()))
    columns = {role: first[first["model"] == role] for role in (TEACHER, RETRAINED)}
    columns |= {name: table[table["model"] == STUDENT] for name, table in tables.items()}
    print(f"| Dice | {' | '.join(columns)} | {' | '.join(f'{name} minus retrained' for name in tables)} |")
    print("|---" * (1 + len(columns) + len(tables)) + "|")
    for subset in SUBSETS:
        rows = {name: table[table["subset"] == subset].iloc[0] for name, table in columns.items()}
        cells = [_interval(row["value"], row["low"], row["high"]) for row in rows.values()]
        cells += [_interval(rows[name]["gap"], rows[name]["gap_low"], rows[name]["gap_high"], "+") for name in tables]
        one = rows[TEACHER]
        print(f"| {subset} ({one['n_patients']} patients, {one['n_cases']} cases) | {' | '.join(cells)} |")
    seconds = {name: read_json(folder / name / "run.json")["seconds"] for name in columns}
    print(f"\nSeconds: {', '.join(f'{name} {value:.0f}' for name, value in seconds.items())}.")


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    if pd.isna(low):
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
