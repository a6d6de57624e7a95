"""Print a study's results: mean and spread over its experiments, for every model and subset.

python benchmarks/results_table.py RUNS/chase-1stHO-seed*/forget*

An experiment is a folder with the runs `retrained` and the students, each under its preset's name; the run `teacher` is
beside them or one folder up, where several choices of the forgotten patients share it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mu_monai.files import read_json
from mu_monai.keys import CASE_ID, FORGET, MODEL, RETRAINED, STUDENT, SUBSET, SUBSETS, TEACHER
from mu_monai.metrics import subset_means
from mu_monai.runs.scores import leading_metric, read_scores

STUDENTS = ("paper", "paper-code", "two-phase")


def read(folder: Path) -> Iterable[dict[str, float | str]]:
    """One row per model of an experiment: mean score per subset, seconds, and what restoration did."""
    for name in (TEACHER, RETRAINED, *STUDENTS):
        run = folder / name if (folder / name).is_dir() else folder.parent / name
        if not (run / "scores.csv").is_file():
            continue
        record, scores = read_json(run / "run.json"), read_scores(run / "scores.csv")
        own = scores[scores[MODEL] == (STUDENT if name in STUDENTS else name)]
        metric = leading_metric(scores)
        if name == TEACHER:
            own = as_divided(folder, own)
        means = subset_means(own, [metric]).set_index(SUBSET)[metric]
        row: dict[str, float | str] = {"experiment": str(folder), "model": name, "metric": metric}
        row |= {subset: float(means.get(subset, float("nan"))) for subset in SUBSETS}
        yield row | {"seconds": record["seconds"], "share": record["parameters"]["share"]} | restored(record)


def as_divided(folder: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """The teacher's scores with the subsets of this experiment, which may forget others than its own run's split."""
    retrained = read_scores(folder / RETRAINED / "scores.csv")
    subset_of = retrained.set_index(CASE_ID)[SUBSET]
    return scores.assign(**{SUBSET: scores[CASE_ID].map(subset_of)})


def restored(record: dict) -> dict[str, float | str]:
    restoration = (record.get("measurements") or {}).get("restoration")
    if not restoration:
        return {}
    return {"stopped": float(restoration["stopped"]), "restored_epochs": len(restoration["epochs"])}


def main(folders: list[Path]) -> None:
    rows = pd.DataFrame([row for folder in folders for row in read(folder)])
    metric = rows["metric"].iloc[0]
    reference = rows[rows["model"] == RETRAINED].set_index("experiment")
    for subset in SUBSETS:
        rows[f"{subset}_gap"] = rows[subset] - rows["experiment"].map(reference[subset])
    count = rows["experiment"].nunique()
    print(f"{metric} per case; mean ± standard deviation over {count} experiment(s)\n")
    print(f"| model | {' | '.join(SUBSETS)} | forget minus retrained | test minus retrained | seconds |")
    print("|---" * 8 + "|")
    for model in (TEACHER, RETRAINED, *STUDENTS):
        own = rows[rows["model"] == model]
        if own.empty:
            continue
        cells = [spread(own[subset]) for subset in SUBSETS]
        cells += ["" if model == RETRAINED else spread(own[f"{name}_gap"], "+") for name in (FORGET, "test")]
        number = f" (n={len(own)})" if len(own) != count else ""
        print(f"| {model}{number} | {' | '.join(cells)} | {own['seconds'].mean():.0f} |")
    print(f"\n| {metric} of the forgotten | {' | '.join((TEACHER, RETRAINED, *STUDENTS))} |")
    print("|---" * (2 + len(STUDENTS) + 1) + "|")
    table = rows.pivot_table(index="experiment", columns="model", values=FORGET)
    for name, row in table.iterrows():
        cells = [
            f"{row[model]:.3f}" if model in row and pd.notna(row[model]) else ""
            for model in (TEACHER, RETRAINED, *STUDENTS)
        ]
        print(f"| {'/'.join(Path(str(name)).parts[-2:])} | {' | '.join(cells)} |")
    two = rows[rows["model"] == "two-phase"]
    if "stopped" in two and len(two):
        print(f"\ntwo-phase: restoration was stopped in {two['stopped'].sum():.0f} of {len(two)} runs.")


def spread(values: pd.Series, sign: str = "") -> str:
    if len(values) < 2:
        return f"{values.mean():{sign}.3f}"
    return f"{values.mean():{sign}.3f} ± {values.std():.3f}"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:] if Path(argument).is_dir()])
