"""Print the tables of docs/results/volumes.md from the runs that benchmarks/volumes.sh makes.

python benchmarks/volumes_table.py RUNS/hippocampus-seed*

An experiment is a folder with the runs `teacher`, `retrained`, `paper` ... of one seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from mu_monai.files import read_json
from mu_monai.keys import FORGET, MODEL, RETAIN, RETRAINED, SCORES_CSV, STUDENT, SUBSET, SUBSETS, TEACHER, TEST
from mu_monai.runs.scores import read_scores

PATIENTS = (TEACHER, RETRAINED, "paper", "two-phase", "weight-0.3")
STRUCTURE = (TEACHER, "retrained-without-anterior", "forget-anterior")
CLASSES = ("anterior", "posterior")
Cell = Callable[[pd.DataFrame], float]


def scores_of(folder: Path, run: str) -> pd.DataFrame:
    """The score table of the model that a run made."""
    scores = read_scores(folder / run / SCORES_CSV)
    return scores[scores[MODEL] == (STUDENT if STUDENT in set(scores[MODEL]) else scores[MODEL].iloc[0])]


def seen_from_unseen(scores: pd.DataFrame, seen: str) -> float:
    """AUC of the per-case loss in telling the cases of a subset from the test cases; 0.5 where it cannot."""
    pair = scores[scores[SUBSET].isin([seen, TEST])]
    return float(roc_auc_score(pair[SUBSET] == seen, -pair["loss"]))


def spread(values: pd.Series, digits: int = 3) -> str:
    """Mean and standard deviation over the experiments."""
    mean = f"{values.mean():.{digits}f}"
    return f"{mean} ± {values.std():.{digits}f}" if len(values) > 1 else mean


def table(folders: list[Path], runs: tuple[str, ...], cells: Mapping[str, Cell]) -> None:
    """One row per model: each cell is a function of its score table."""
    print(f"| model | {' | '.join(cells)} |")
    print("|---" * (len(cells) + 1) + "|")
    for run in runs:
        found = [scores_of(folder, run) for folder in folders if (folder / run / SCORES_CSV).is_file()]
        if found:
            number = f" (n={len(found)})" if len(found) < len(folders) else ""
            shown = [spread(pd.Series([cell(scores) for scores in found])) for cell in cells.values()]
            print(f"| {run}{number} | {' | '.join(shown)} |")
    print()


def mean_of(column: str, subset: str) -> Cell:
    """The mean of a score column over the cases of a subset."""
    return lambda scores: scores.loc[scores[SUBSET] == subset, column].mean()


def main(folders: list[Path]) -> None:
    """Print every table of the results page."""
    print(f"mean ± standard deviation over {len(folders)} seeds\n\nDice, mean of both structures\n")
    table(folders, PATIENTS, {subset: mean_of("dice", subset) for subset in SUBSETS})
    print("Telling cases from unseen ones by their loss (AUC)\n")
    auc = {f"{s} / test": lambda scores, s=s: seen_from_unseen(scores, s) for s in (FORGET, RETAIN, "validation")}
    table(folders, PATIENTS, auc | {"loss, forget": mean_of("loss", FORGET), "loss, test": mean_of("loss", TEST)})
    for runs, title in ((PATIENTS, "patients"), (STRUCTURE, "a structure")):
        for column, unit in (("dice", ""), ("hd95", ", mm")):
            print(f"Forgetting {title}: {column} per structure{unit}\n")
            pairs = [(name, subset) for name in CLASSES for subset in (FORGET, RETAIN, TEST)]
            table(folders, runs, {f"{n}, {s}": mean_of(f"{column}[{n}]", s) for n, s in pairs})
    print("One run (seconds depend on what else the machine did)\n")
    print("| run | seconds | peak memory, MiB | trained weights |\n|---|---|---|---|")
    for run in dict.fromkeys((*PATIENTS, *STRUCTURE)):
        finished = [folder / run for folder in folders if (folder / run / SCORES_CSV).is_file()]
        records = [read_json(path / "run.json") for path in finished]
        if records:
            seconds, memory = (pd.Series([r[k] for r in records]) for k in ("seconds", "peak_memory_mib"))
            share = 100 * records[0]["parameters"]["share"]
            print(f"| {run} | {spread(seconds, 0)} | {memory.max():.0f} | {share:.2f} % |")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:] if Path(argument).is_dir()])
