"""Print the tables of docs/results/cost-and-depth.md and draw its figures, from what cost_and_depth.py makes.

python benchmarks/cost_and_depth_table.py OUT FIGURES lesions hippocampus ...
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from audit_table import number, row, spread, table, utility
from cost_and_depth import jobs
from scipy.stats import spearmanr

from mu_monai.audit import loss_membership
from mu_monai.audit.verdict_sentences import UNDER
from mu_monai.engine.stop_at_reference import loss_auc
from mu_monai.files import read_json
from mu_monai.keys import (
    AUDIT_JSON,
    CASE_ID,
    FORGET,
    LOSS,
    MODEL,
    PATIENT_ID,
    RETAIN,
    RETRAINED,
    STUDENT,
    SUBSET,
    TEACHER,
    TEST,
)
from mu_monai.runs import RunRecord, open_run, read_record
from mu_monai.runs.numbers import State

COLUMNS = (
    "share of training",
    "seconds",
    RETAIN,
    FORGET,
    TEST,
    "AUC, loss",
    "AUC, all signals",
    "comes back",
    "verdicts",
)
SUBSETS = (RETAIN, FORGET, TEST)
REWOUND = "retrained-0"  # the model that never saw the forgotten and is rewound like the teacher
ALIKE = (
    *("epoch", "test, teacher", TEST, "test, control", "AUC, loss", "AUC, loss, control", "memory"),
    *("comes back", "comes back, control"),
)
ALONE = (
    *("patients", "share of training", "test beside the teacher", "AUC, teacher", "AUC", "AUC, retrained"),
    *("AUC, control", "from the retrained", "from the control"),
)
_FEW, _RESAMPLES = 4, 1000


def comes_back(audit: dict[str, Any]) -> float:
    """How much further the worst attack moves the AUC of the student than that of the retrained model."""
    moves = [
        record["gap"]
        for record in audit["records"]
        if (record["model"], record["metric"], record["subset"]) == (STUDENT, "rebound", FORGET)
        and State.parse(record["attack"]).step != 0  # before the attack
        and record["gap"] is not None
    ]
    return max(moves, default=math.nan)


def rows(folders: list[Path]) -> Iterable[str]:
    """Teacher and retrained models, then every run that was audited, over the seeds."""
    for title, runs in {TEACHER: [TEACHER], "retrained": ["retrained-0", "retrained-1"]}.items():
        role = TEACHER if title == TEACHER else RETRAINED
        there = [(folder, run) for folder in folders for run in runs if (folder / run / "scores.csv").is_file()]
        cells = [spread(utility(folder, run, role, subset) for folder, run in there) for subset in SUBSETS]
        audits = [audit for folder in folders for audit in _audits(folder).values()]
        aucs = [spread(_first(audits, role, metric)) for metric in ("auc[loss]", "auc[logistic]")]
        yield row(title, ["", spread((read_record(f / r).seconds or 0.0 for f, r in there), 0), *cells, *aucs, "", ""])
    for job in jobs():
        audits_of = {folder: _audits(folder).get(job.name) for folder in folders}
        audited = {folder: audit for folder, audit in audits_of.items() if audit is not None}
        if audited:
            records = [read_record(folder / job.name) for folder in audited]
            labels = pd.Series([audit["verdict"]["label"] for audit in audited.values()]).value_counts()
            yield row(
                job.name,
                [
                    spread(map(_share, records)),
                    spread((record.seconds or math.nan for record in records), 0),
                    *(spread(utility(folder, job.name, STUDENT, subset) for folder in audited) for subset in SUBSETS),
                    *(
                        spread(number(audit, STUDENT, f"auc[{by}]") for audit in audited.values())
                        for by in ("loss", "logistic")
                    ),
                    spread(map(comes_back, audited.values())),
                    ", ".join(f"{count} {label}" for label, count in labels.items()),
                ],
            )


def _audits(folder: Path) -> dict[str, Any]:
    files = {job.name: folder / job.name / AUDIT_JSON for job in jobs() if not job.one and job.of == TEACHER}
    return {name: read_json(file) for name, file in files.items() if file.is_file()}


def alike(folders: list[Path]) -> Iterable[str]:
    """What `rewind` does to the teacher and to a model that never saw the forgotten, from the same epoch on."""
    for control in (job for job in jobs() if job.of == REWOUND):
        student = replace(control, of=TEACHER)
        for folder in folders:
            runs = [folder / job.name for job in (student, control)]
            if all((run / "scores.csv").is_file() for run in runs):
                aucs = [_loss_auc(run, STUDENT, _forgotten(run)) for run in runs]
                low, high = _memory_interval(*runs)
                audits = [read_json(run / AUDIT_JSON) if (run / AUDIT_JSON).is_file() else None for run in runs]
                yield row(
                    f"{folder.name}, {student.name}",
                    [
                        str(read_record(runs[0]).measurements["rewind"]["epoch"]),
                        f"{utility(folder, TEACHER, TEACHER, TEST):.3f}",
                        *(f"{utility(folder, run.name, STUDENT, TEST):.3f}" for run in runs),
                        *(f"{auc:.3f}" for auc in aucs),
                        f"{aucs[0] - aucs[1]:.3f} ({low:.3f} to {high:.3f})",
                        *("" if audit is None else f"{comes_back(audit):.3f}" for audit in audits),
                    ],
                )


def _memory_interval(student: Path, control: Path) -> tuple[float, float]:
    """The 95 % interval of the difference of the two AUCs, over patients: both models are asked about the same."""
    parts = []
    for subset in (FORGET, TEST):
        tables = [open_run(run).scores for run in (student, control)]
        asked = [scores[(scores[MODEL] == STUDENT) & (scores[SUBSET] == subset)] for scores in tables]
        both = [scores.groupby(PATIENT_ID)[LOSS].mean() for scores in asked]
        parts.append(pd.concat(both, axis=1).to_numpy())
    rng, gaps = np.random.default_rng(0), []
    for _ in range(_RESAMPLES):
        forgotten, unseen = (part[rng.integers(len(part), size=len(part))] for part in parts)
        gaps.append(loss_auc(forgotten[:, 0], unseen[:, 0]) - loss_auc(forgotten[:, 1], unseen[:, 1]))
    return tuple(np.percentile(gaps, [2.5, 97.5]))


def alone(folders: list[Path]) -> Iterable[str]:
    """Patients who are forgotten one at a time: the mean over them, beside models that saw neither them nor others."""
    for method, budget in dict.fromkeys((job.method, job.budget) for job in jobs() if job.one):
        own = [job for job in jobs() if job.one and (job.method, job.budget) == (method, budget)]
        runs = [folder / job.name for folder in folders for job in own if (folder / job.name / "scores.csv").is_file()]
        if runs:
            asked = [(run, _forgotten(run)) for run in runs]
            aucs = [_loss_auc(run, STUDENT, cases) for run, cases in asked]
            others = [_loss_auc(run.parent / REWOUND, RETRAINED, cases) for run, cases in asked]
            before = [_loss_auc(run, TEACHER, cases) for run, cases in asked]
            rewound = [
                math.nan if control is None else _loss_auc(control, STUDENT, cases)
                for run, cases in asked
                for control in [_control(run.parent)]
            ]
            moved = (
                utility(run.parent, run.name, STUDENT, TEST) - utility(run.parent, TEACHER, TEACHER, TEST)
                for run in runs
            )
            yield row(
                f"{method}-{budget:g}",
                [
                    str(len(runs)),
                    spread(_share(read_record(run)) for run in runs),
                    _mean(moved),
                    *map(_mean, (before, aucs, others, rewound)),
                    *(_mean(one - other for one, other in zip(aucs, by, strict=True)) for by in (others, rewound)),
                ],
            )


def _share(record: RunRecord) -> float:
    return math.nan if record.cost.share is None else record.cost.share


def _mean(values: Iterable[float]) -> str:
    """The mean over patients, and its standard error."""
    known = pd.Series(list(values), dtype=float).dropna()
    return "" if known.empty else f"{known.mean():.3f} ± {known.sem():.3f}" if len(known) > 1 else f"{known.mean():.3f}"


def _control(folder: Path) -> Path | None:
    """A model that saw none of the forgotten, rewound to the same epoch, with the least budget there is."""
    controls = [folder / job.name for job in jobs() if job.of == REWOUND and job.tolerance is None]
    return next((run for run in controls if (run / "scores.csv").is_file()), None)


def _forgotten(run: Path) -> list[str]:
    scores = open_run(run).scores
    return scores.loc[(scores[MODEL] == STUDENT) & (scores[SUBSET] == FORGET), CASE_ID].tolist()


def _loss_auc(run: Path, role: str, cases: list[str]) -> float:
    scores = open_run(run).scores
    return loss_membership(scores[scores[MODEL] == role], cases).value


def _first(audits: list[dict[str, Any]], role: str, metric: str) -> set[float]:
    """The numbers of a model that does not differ between audits, each once."""
    return {number(audit, role, metric) for audit in audits}


def figure(name: str, folders: list[Path], target: Path) -> None:
    """What every run costs, and what comes back under the worst attack; hollow if it has not forgotten before that."""
    picture, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    points = pd.DataFrame(
        [
            (job.method, _share(read_record(folder / job.name)), comes_back(audit), audit["verdict"]["label"])
            for folder in folders
            for job in jobs()
            if not job.one and job.of == TEACHER and (audit := _audits(folder).get(job.name)) is not None
        ],
        columns=["method", "share", "moved", "label"],
    ).dropna()
    for method, own in points.groupby("method", sort=False):
        color = axes.scatter([], [], label=method, s=28).get_facecolor()
        faces = [("none" if label == UNDER else color[0]) for label in own["label"]]
        axes.scatter(own["share"], own["moved"], s=28, facecolors=faces, edgecolors=color)
    axes.axhline(0.05, color="gray", linestyle="--", linewidth=1)
    axes.set(xlabel="share of the teacher's training", ylabel="AUC that comes back beyond retrained", title=name)
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(-0.002, 1.5)
    picture.legend(loc="outside lower center", fontsize=7, ncols=4)
    target.mkdir(parents=True, exist_ok=True)
    picture.savefig(target / f"cost-and-depth-{name}.svg")
    plt.close(picture)


def correlations(folders: list[Path]) -> Iterable[str]:
    """How depth and barrier go with what comes back, over all runs, as rank correlations."""
    audits = [audit for folder in folders for audit in _audits(folder).values()]
    moved = [comes_back(audit) for audit in audits]
    for metric in ("depth", "barrier", "auc[loss]"):
        pairs = pd.DataFrame({metric: [number(audit, STUDENT, metric) for audit in audits], "moved": moved}).dropna()
        if len(pairs) > _FEW:
            found = spearmanr(pairs[metric], pairs["moved"])
            yield f"{metric} against what comes back: {found.statistic:.2f}, p {found.pvalue:.3f}, {len(pairs)} runs"


def main() -> None:
    """All tables and figures."""
    out, target, *names = sys.argv[1:]
    for name in names:
        folders = sorted(Path(out).glob(f"{name}-[0-9]*"))
        print(f"## {name}: {len(folders)} seed{'' if len(folders) == 1 else 's'}\n")
        table(COLUMNS, rows(folders))
        print("Rewound alike:\n")
        table(ALIKE, alike(folders))
        print("One patient:\n")
        table(ALONE, alone(folders))
        print(*correlations(folders), "", sep="\n")
        figure(name, folders, Path(target))


if __name__ == "__main__":
    main()
