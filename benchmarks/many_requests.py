"""Make the runs behind docs/results/requests.md: requests one after the other, against training anew for each of them.

python benchmarks/many_requests.py DATA OUT [--experiments phantoms lesions] [--requests 50] [--seeds 0]

DATA holds isic_lesion/; phantoms are drawn. A teacher is trained, and a ledger answers requests of one patient each by
the first route that is possible. For each, a model is also trained without all who asked so far. Everything is in
OUT/EXPERIMENT-SEED; what is there is not made again, so the same command goes on where it stopped. It writes
requests.csv (a row per request and model), membership.csv (a row per request, model and earlier request) and
requests.svg.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from mu_monai import workflow
from mu_monai.audit import loss_membership
from mu_monai.data import phantom_split, read_split
from mu_monai.files import atomic_path
from mu_monai.keys import CASE_ID, FORGET, MODEL, PATIENT_ID, RETAIN, RETRAINED, STUDENT, SUBSET, TEST, TRAINING_SUBSETS
from mu_monai.record import Answer, is_ledger, read_ledger
from mu_monai.runs import is_complete, open_run
from mu_monai.runs.record import training_passes
from mu_monai.runs.scores import leading_metric


@dataclass(frozen=True)
class Experiment:
    """Images, and how a model is trained on them.

    Args:
        data: the folder of the images in DATA; None for phantoms.
        requests: how many are answered by default.
        settings: of every training.
        budget: the most that an answer may cost, as a share of the teacher's training.
    """

    data: str | None
    requests: int
    settings: tuple[str, ...]
    budget: float


EXPERIMENTS = {
    "phantoms": Experiment(
        data=None,
        requests=50,
        settings=("image_size=[64, 64]", "max_epochs=60", "score_interval=60", "network_def#channels=[8, 16, 32, 64]",
                  "network_def#strides=[2, 2, 2]"),
        budget=0.2,
    ),
    "lesions": Experiment(
        data="isic_lesion",
        requests=10,
        settings=("image_size=[128, 128]", "score_interval=40"),
        budget=0.05,
    ),
}  # fmt: skip
MODELS = {STUDENT: "ledger", RETRAINED: "trained anew"}


class Study:
    """One experiment with one seed, in a folder."""

    def __init__(self, name: str, data: Path, out: Path, seed: int, requests: int | None, settings: list[str]) -> None:
        self.experiment, self.seed = EXPERIMENTS[name], seed
        self.settings = [*self.experiment.settings, *settings, f"seed={seed}"]
        self.folder, self._data = out / f"{name}-{seed}", data
        self.number = requests or self.experiment.requests

    def run(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Answer what is not answered yet; gives the row of each request and model, and those of its membership."""
        self._trained("teacher", self.split, TRAINING_SUBSETS)
        for number in range(1, self.number + 1):
            answers = self._answered(number)
            run = self.ledger / answers[-1].version.run
            refused = sum(bool(answer.came_back) for answer in answers)
            costs = {"share": sum(answer.share or 0.0 for answer in answers), "refused": refused}
            yield self._row(number, STUDENT, run, {**costs, "route": answers[-1].route})
            anew = self._trained(f"retrained-{number}", run.with_suffix(".json"), (RETAIN,))
            passes, whole = training_passes(anew), training_passes(self.folder / "teacher")
            share = passes / whole if passes and whole else float("nan")
            yield self._row(number, RETRAINED, anew, {"share": share, "refused": 0, "route": "retraining"})

    @property
    def ledger(self) -> Path:
        """The folder of the ledger."""
        return self.folder / "ledger"

    @cached_property
    def split(self) -> Path:
        """The split, in which nobody is to be forgotten yet."""
        file, data = self.folder / "split.json", self.experiment.data
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            source = self.folder / "phantoms" / "manifest.csv" if data is None else self._data / data
            if data is None:
                phantom_split("lesions", self.folder / "phantoms", patients=140, images_per_patient=1, size=64)
            workflow.split(source, layout=None if data is None else "isic", seed=self.seed, out=file)
        return file

    @cached_property
    def victims(self) -> list[str]:
        """Who asks, in the order of the requests."""
        people = sorted(read_split(self.split).patients(RETAIN))
        order = np.random.default_rng(self.seed).permutation(len(people))
        return [people[place] for place in order[: self.number]]

    def _trained(self, name: str, split: Path, subsets: tuple[str, ...]) -> Path:
        run = self.folder / name
        if not is_complete(run):
            workflow.train(
                "isic",
                split=split,
                out=run,
                subsets=subsets,
                settings=self.settings if name == "teacher" else [*self.settings, "milestones=0"],
                resume=(run / "checkpoints").is_dir(),
                quiet=True,
            )
        return run

    def _answered(self, number: int) -> list[Answer]:
        """The answers to a request: the last one, and those that were refused before."""
        if not is_ledger(self.ledger) or number not in read_ledger(self.ledger).requests:
            workflow.add_request(self.ledger, run=self.folder / "teacher", ids=[self.victims[number - 1]])
        options = workflow.RequestOptions(budget=self.experiment.budget, quiet=True)
        while number in read_ledger(self.ledger).waiting:
            began = time.monotonic()
            answer = workflow.answer_requests(self.ledger, options=options)
            if answer.came_back:  # what is left is training anew, which has no budget
                options = workflow.RequestOptions(quiet=True)
            logging.info("request %d: version %d, %.0f s", number, answer.version.number, time.monotonic() - began)
        return [answer for answer in read_ledger(self.ledger).answers if number in answer.requests]

    def _row(
        self, number: int, role: str, run: Path, costs: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        opened = open_run(run)
        scores = opened.scores[opened.scores[MODEL] == opened.role]
        metric = leading_metric(scores)
        means = {part: scores[scores[SUBSET] == part][metric].mean() for part in (RETAIN, FORGET, TEST)}
        asked = {place: scores[scores[PATIENT_ID] == name] for place, name in enumerate(self.victims[:number], start=1)}
        whole = loss_membership(scores, pd.concat(asked.values())[CASE_ID].tolist())
        each = {place: loss_membership(scores, rows[CASE_ID].tolist()) for place, rows in asked.items()}
        study = {"study": self.folder.name, "requests": number, "model": MODELS[role]}
        row = {
            **study,
            **means,
            "auc": whole.value if whole else float("nan"),
            **costs,
            "seconds": opened.record.seconds,
        }
        return row, [{**study, "request": place, "auc": found.value} for place, found in each.items() if found]


def draw(table: pd.DataFrame, membership: pd.DataFrame, file: Path) -> None:
    """Utility, membership and cost after each request; a column for each study.

    Points are of single requests: after each, one for every patient who had asked so far.
    """
    mpl.use("svg")
    import matplotlib.pyplot as plt

    studies = list(table["study"].unique())
    figure, axes = plt.subplots(3, len(studies), figsize=(4.2 * len(studies), 7), sharex="col", squeeze=False)
    for column, study in zip(axes.T, studies, strict=True):
        for model, rows in table[table["study"] == study].groupby("model"):
            values = {
                "Dice on test": rows[TEST],
                "AUC of all who asked": rows["auc"],
                "trainings": rows["share"].cumsum(),
            }
            for axis, (title, series) in zip(column, values.items(), strict=True):
                axis.plot(rows["requests"], series, label=model)
                axis.set_ylabel(title)
            each = membership[(membership["study"] == study) & (membership["model"] == model)]
            color = column[1].lines[-1].get_color()
            column[1].scatter(each["requests"], each["auc"], s=4, color=color, alpha=0.25, rasterized=True)
        column[0].set_title(study)
        column[1].axhline(0.5, color="gray", linewidth=0.8)
        column[2].set_yscale("log")
        column[2].set_xlabel("requests")
    axes[0, 0].legend()
    figure.tight_layout()
    with atomic_path(file) as path:
        figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--requests", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", dest="settings", action="append", default=[], help="of every training, KEY=VALUE")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows: list[dict[str, Any]] = []
    membership: list[dict[str, Any]] = []
    for name in arguments.experiments:
        for seed in arguments.seeds:
            study = Study(name, arguments.data, arguments.out, seed, arguments.requests, arguments.settings)
            for row, each in study.run():
                rows.append(row)
                membership += each
                for file, content in (("requests.csv", rows), ("membership.csv", membership)):
                    with atomic_path(arguments.out / file) as path:
                        pd.DataFrame(content).round(4).to_csv(path, index=False)
    draw(pd.DataFrame(rows), pd.DataFrame(membership), arguments.out / "requests.svg")
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
