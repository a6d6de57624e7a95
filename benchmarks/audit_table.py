"""Print the tables of docs/results/audit.md from the runs and audits that benchmarks/audit.sh makes.

python benchmarks/audit_table.py RUNS/isic-seed*

An experiment is a folder with the runs `teacher`, `retrained`, `calibrated` ... of one seed, where unlearning runs are
audited.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.files import read_json
from mu_monai.keys import AUDIT_JSON, FORGET, MODEL, RETAIN, RETRAINED, RUN_JSON, STUDENT, SUBSET, TEACHER, TEST
from mu_monai.runs.numbers import State, worst_rates
from mu_monai.runs.scores import leading_metric, read_scores

STUDENTS = ("calibrated", "median", "unsettled", "paper", "two-phase", "one")
ATTACKS = ("retain-finetuning", "relearning", "int8", "int4", "pruning-30")
Audit = dict[str, Any]


def number(audit: Audit, model: str, metric: str, attack: str = "", field: str = "value") -> float:
    """One number of an audit, of an attack at its worst learning rate; NaN where it has none."""
    state = str(State(attack, rate=worst_rates(audit["records"]).get(attack)))
    for record in audit["records"]:
        if (record[MODEL], record["metric"], record["attack"]) == (model, metric, state):
            return math.nan if record[field] is None else float(record[field])
    return math.nan


def utility(folder: Path, run: str, model: str, subset: str) -> float:
    """The mean Dice, or accuracy, of a model of a run on a subset."""
    scores = read_scores(folder / run / "scores.csv")
    return float(scores.loc[(scores[MODEL] == model) & (scores[SUBSET] == subset), leading_metric(scores)].mean())


def spread(values: Iterable[float], digits: int = 3) -> str:
    """Mean and standard deviation over the experiments that have the number."""
    known = pd.Series(list(values)).dropna()
    if known.empty:
        return ""
    mean = f"{known.mean():.{digits}f}"
    return f"{mean} ± {known.std():.{digits}f}" if len(known) > 1 else mean


def row(name: str, cells: Iterable[str]) -> str:
    """One line of a table."""
    return f"| {name} | {' | '.join(cells)} |"


def table(head: Iterable[str], rows: Iterable[str]) -> None:
    """A table with its first column for names."""
    columns = list(head)
    print(row("", columns), "|---" * (len(columns) + 1) + "|", *rows, "", sep="\n")


def audits(folders: list[Path], run: str) -> dict[Path, Audit]:
    """The audits of a run, by experiment."""
    return {folder: read_json(folder / run / AUDIT_JSON) for folder in folders if (folder / run / AUDIT_JSON).is_file()}


def main_rows(folders: list[Path]) -> Iterable[str]:
    """Utility, membership and closeness of every model."""
    subsets = (RETAIN, FORGET, TEST)
    first = {
        folder: audit for run in reversed(STUDENTS) if run != "one" for folder, audit in audits(folders, run).items()
    }
    for role in (TEACHER, RETRAINED):
        cells = [spread(utility(folder, role, role, subset) for folder in first) for subset in subsets]
        cells += [spread(number(audit, role, f"auc[{s}]") for audit in first.values()) for s in ("loss", "logistic")]
        yield row(role, [*cells, spread(number(audit, role, "tow") for audit in first.values()), ""])
    for run in STUDENTS:
        found = audits(folders, run)
        if found:
            cells = [spread(utility(folder, run, STUDENT, subset) for folder in found) for subset in subsets]
            cells += [
                spread(number(audit, STUDENT, metric) for audit in found.values())
                for metric in ("auc[loss]", "auc[logistic]", "tow")
            ]
            labels = pd.Series([audit["verdict"]["label"] for audit in found.values()]).value_counts()
            verdicts = ", ".join(f"{count} {label}" for label, count in labels.items())
            yield row(f"{run} (n={len(found)})", [*cells, verdicts])


def attack_rows(folders: list[Path]) -> Iterable[str]:
    """The AUC after every attack, and how much further it moved than the retrained model's."""
    for run in STUDENTS:
        found = list(audits(folders, run).values())
        cells: Mapping[str, Callable[[Audit, str], float]] = {
            "": lambda audit, attack: number(audit, STUDENT, "auc[loss]", attack),
            ", beyond retrained": lambda audit, attack: number(audit, STUDENT, "rebound", attack, "gap"),
        }
        for name, cell in cells.items():
            shown = [spread(cell(audit, attack) for audit in found) for attack in ATTACKS]
            if any(shown):
                index = spread((number(audit, STUDENT, "anamnesis", "relearning") for audit in found), 2)
                probe = spread(number(audit, STUDENT, "auc[probe]", "linear-probe") for audit in found)
                yield row(f"{run}{name}", [*shown, *(("", "") if name else (index, probe))])


def cost_rows(folders: list[Path]) -> Iterable[str]:
    """Epochs and wall seconds of every run, as its record has them."""
    for run in (TEACHER, RETRAINED, *STUDENTS):
        records = [read_json(folder / run / RUN_JSON) for folder in folders if (folder / run / RUN_JSON).is_file()]
        curves = [
            len(pd.read_csv(folder / run / "curve.csv")) for folder in folders if (folder / run / "curve.csv").is_file()
        ]
        if records:
            yield row(run, [spread(map(float, curves), 1), spread((record["seconds"] for record in records), 0)])


def main(folders: list[Path]) -> None:
    """All tables."""
    table(["retain", "forget", "test", "AUC, loss", "AUC, logistic", "ToW", "verdicts"], main_rows(folders))
    table([*ATTACKS, "anamnesis index", "AUC, linear probe"], attack_rows(folders))
    table(["epochs", "wall seconds"], cost_rows(folders))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
