"""Make the runs behind docs/results/exact.md: what adapters per shard cost in quality, and what they protect from.

python benchmarks/exact.py DATA OUT [--experiments lesions classes hippocampus] [--seeds 0]

DATA holds isic_lesion/, isic9/, hippocampus/ and chase_db1/. Of the patients to train on, some are "public": the base
is trained on them alone, or on images of another kind. The others are "private", and are trained on jointly or in
shards. Everything is in OUT/EXPERIMENT-SEED; a step whose result is there is skipped, so the same command goes on where
it stopped. It prints the table of each experiment and writes OUT/exact.svg.
"""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from cost_and_depth import HIPPOCAMPUS
from torch import nn

from mu_monai import workflow
from mu_monai.adapters import load_student, load_weights
from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import built_network, read_config
from mu_monai.data import open_split, write_split
from mu_monai.data.shards import only
from mu_monai.engine.milestones import scores_auc
from mu_monai.files import atomic_path, read_json, write_json
from mu_monai.keys import BASE_PT, CONFIG_JSON, MODEL_PT, PATIENT_ID, RETAIN, SUBSET, TEST, VALIDATION
from mu_monai.runs import is_complete, open_run
from mu_monai.runs.scores import leading_metric
from mu_monai.runs.shards import adapter_folders, has_shards, read_shards, shard_folder, shard_split


@dataclass(frozen=True)
class Experiment:
    """Images, and how they are trained on.

    Args:
        bundle: a shipped bundle.
        data: the folder of the images.
        layout: their layout.
        public: the share of the patients to train on that the base is trained on.
        settings: of every training.
        overlays: of every training, by name.
        epochs: of the trainings on private patients.
        duplicates: what a split does with images that occur more than once.
        vessels: for the base, so many epochs on the vessels of CHASE_DB1 instead of public patients; 0 for none.
    """

    bundle: str
    data: str
    layout: str
    public: float
    settings: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    epochs: int = 15
    duplicates: str = "error"
    vessels: int = 0


_LESIONS = Experiment(
    bundle="isic",
    data="isic_lesion",
    layout="isic",
    public=150 / 326,
    settings=("image_size=[128, 128]", "score_interval=40"),
)
EXPERIMENTS = {
    "lesions": _LESIONS,
    "lesions-larger-base": replace(_LESIONS, public=0.75),
    "lesions-base-of-vessels": replace(_LESIONS, vessels=200),
    "classes": Experiment(
        bundle="isic_classification",
        data="isic9",
        layout="class-folders",
        public=0.5,
        settings=("score_interval=40",),
        duplicates="drop",
    ),
    "hippocampus": Experiment(
        bundle="volume3d",
        data="hippocampus",
        layout="volumes",
        public=0.5,
        settings=HIPPOCAMPUS,
        overlays=("mr",),
    ),
}
SHARDS = (1, 4, 8, 16)
RECOVERED = 8  # of so many shards it is tried to recover what their average costs
SCALES = (1.5, 2.0, 3.0)  # of the average change, chosen by validation
_JOINT, _ONE, _AUC = "all weights", "one LoRA", "AUC private / test"


class Study:
    """One experiment with one seed, in a folder."""

    def __init__(self, name: str, data: Path, out: Path, seed: int) -> None:
        self.experiment, self.seed = EXPERIMENTS[name], seed
        self.folder = out / f"{name}-{seed}"
        self._data, self._vessels = data / self.experiment.data, data / "chase_db1"

    def run(self) -> pd.DataFrame:
        """Make what is missing; returns the table."""
        public, private = self._splits()
        epochs = self.experiment.vessels
        base = self._trained("base", self._split_of_vessels() if epochs else public, epochs=epochs)
        joint = self._trained("joint", private, overlay=self._from_base(base), epochs=self.experiment.epochs)
        runs = {number: self._sharded(base, private, number) for number in SHARDS}
        bundle = self.experiment.bundle
        alone = _scored(runs[1], bundle, _base, "base.csv")
        rows = [_row("base alone", alone), _row(_JOINT, open_run(joint).scores)]
        rows[-1]["seconds"] = open_run(joint).record.seconds
        for number, run in runs.items():
            name = f"{number} shards" if number > 1 else _ONE
            rows.append(_row(name, open_run(run).scores) | {"seconds": _seconds(run)})
            if number > 1:
                rows.append(_row(f"{name}, outputs averaged", _scored(run, bundle, _merged, "outputs.csv")))
        return pd.DataFrame([*rows, *self._recovered(runs[RECOVERED], private)])

    def _recovered(self, run: Path, private: Path) -> Iterator[dict[str, Any]]:
        """What may recover the quality of one joint training: weights by cases, larger changes, a head trained on."""
        bundle, name = self.experiment.bundle, f"{RECOVERED} shards"
        for scale in (1.0, *SCALES):
            scored = _scored(run, bundle, partial(_weighted, scale=scale), f"scaled-{scale:g}.csv")
            yield _row(f"{name}, weighted by cases, {scale:g} x", scored)
        head = self._head(run, private) / MODEL_PT
        scored = _scored(run, bundle, lambda network, _: [load_weights(network, head)], "head.csv")
        yield _row(f"{name}, head trained on with the first", scored)

    def _head(self, run: Path, private: Path) -> Path:
        """The average, whose head alone was trained on with the cases of the first shard."""
        split, first = self.folder / "head.json", read_shards(run).shards[0]
        if not split.is_file():
            cases = open_split(shard_split(run, first)).located[RETAIN]
            whole = open_split(private)
            write_split(
                split, only(whole, {RETAIN: cases, **{name: whole.located[name] for name in (VALIDATION, TEST)}})
            )
        bundle = open_bundle(self.experiment.bundle)
        unlearning, training = read_config(bundle.files("unlearn")), read_config(bundle.files("train"))
        overlay = {
            "teacher": str((run / MODEL_PT).resolve()),
            "network": {**unlearning.get("network"), "scope": "head", "lora_dropout": 0.0, "bn_mode": "eval"},
            "optimizer": unlearning.get("optimizer"),
            "handlers": [{"_target_": "mu_monai.engine.OneCycle"}, *training.get("handlers")],
        }
        return self._trained("head", split, overlay=overlay, epochs=self.experiment.epochs)

    def _splits(self) -> tuple[Path, Path]:
        whole, parts = self.folder / "split.json", [self.folder / f"{name}.json" for name in ("public", "private")]
        if not all(part.is_file() for part in parts):
            self.folder.mkdir(parents=True, exist_ok=True)
            workflow.split(
                self._data,
                layout=self.experiment.layout,
                on_duplicates=self.experiment.duplicates,
                seed=self.seed,
                out=whole,
                force=True,
            )
            split = open_split(whole)
            people = np.random.default_rng(self.seed).permutation(sorted(split.patients(RETAIN)))
            chosen = set(people[: round(self.experiment.public * len(people))])
            unseen = {name: split.located[name] for name in (VALIDATION, TEST)}
            for part, inside in zip(parts, (True, False), strict=True):
                cases = [case for case in split.located[RETAIN] if (case[PATIENT_ID] in chosen) is inside]
                write_split(part, only(split, {RETAIN: cases, **unseen}))
        return parts[0], parts[1]

    def _split_of_vessels(self) -> Path:
        file = self.folder / "vessels.json"
        if not file.is_file():
            workflow.split(self._vessels, layout="chase", label_set="1stHO", seed=self.seed, out=file)
        return file

    def _trained(self, name: str, split: Path, overlay: Mapping[str, Any] | None = None, epochs: int = 0) -> Path:
        run = self.folder / name
        if not is_complete(run):
            file = self.folder / f"{name}-overlay.json"
            write_json(file, overlay or {})
            settings = [f"seed={self.seed}", "milestones=0", *self.experiment.settings]
            settings += [f"max_epochs={epochs}"] if epochs else []
            workflow.train(
                self.experiment.bundle,
                split=split,
                out=run,
                subsets=[RETAIN],
                settings=settings,
                overlays=[*self.experiment.overlays, str(file)],
                resume=(run / "checkpoints").is_dir(),
                quiet=True,
            )
        return run

    def _from_base(self, base: Path) -> dict[str, Any]:
        """All weights train, from the base on, in one cycle."""
        config = read_config(open_bundle(self.experiment.bundle).files("train"))
        start = f"$mu_monai.adapters.load_weights(@network_def, '{base.resolve()}/model.pt').to(@device)"
        return {"network": start, "handlers": [{"_target_": "mu_monai.engine.OneCycle"}, *config.get("handlers")]}

    def _sharded(self, base: Path, split: Path, number: int) -> Path:
        run = self.folder / f"shards-{number}"
        if not is_complete(run):
            workflow.train_shards(
                self.experiment.bundle,
                split=split,
                base=base,
                out=run,
                shards=number,
                overlays=self.experiment.overlays,
                settings=[f"seed={self.seed}", f"max_epochs={self.experiment.epochs}", *self.experiment.settings],
                resume=has_shards(run),
                quiet=True,
            )
        return run


def _row(name: str, scores: pd.DataFrame) -> dict[str, Any]:
    metric = leading_metric(scores)
    means = {part: scores[scores[SUBSET] == part][metric].mean() for part in (RETAIN, VALIDATION, TEST)}
    auc = scores_auc(*(scores[scores[SUBSET] == part] for part in (RETAIN, TEST)))
    return {"model": name, "private": means.pop(RETAIN), **means, _AUC: auc}


def _seconds(run: Path) -> float:
    """What all shards took together."""
    return sum(open_run(shard_folder(run, shard)).record.seconds or 0 for shard in read_shards(run).shards)


Networks = Callable[[nn.Module, Path], list[nn.Module]]  # from a network of the bundle, and a run of shards


def _base(network: nn.Module, run: Path) -> list[nn.Module]:
    return [load_weights(network, run / BASE_PT)]


def _merged(network: nn.Module, run: Path) -> list[nn.Module]:
    """The base with each shard's adapters."""
    folders = adapter_folders(run, read_shards(run).shards)
    return [load_student(load_weights(copy.deepcopy(network), run / BASE_PT), folder).merged() for folder in folders]


def _weighted(network: nn.Module, run: Path, scale: float) -> list[nn.Module]:
    """The base with the changes of all shards, each weighted by its cases, times a factor."""
    base = load_weights(copy.deepcopy(network), run / BASE_PT).state_dict()
    cases = [shard.cases for shard in read_shards(run).shards]
    parts = [part.state_dict() for part in _merged(network, run)]
    for name, value in base.items():
        if value.is_floating_point():
            changes = [number / sum(cases) * (part[name] - value) for number, part in zip(cases, parts, strict=True)]
            base[name] = value + scale * torch.stack(changes).sum(0)
    network.load_state_dict(base)
    return [network]


def _scored(run: Path, bundle: str, make: Networks, name: str) -> pd.DataFrame:
    """The scores of one network, or of the mean of several networks' outputs, on the cases of a run of shards."""
    file = run / name
    if not file.is_file():
        parser, config = read_config(open_bundle(bundle).files("train")), read_json(run / CONFIG_JSON)
        parser.update({key: value for key, value in config.items() if key not in ("handlers", "run")})
        networks = [network.eval() for network in make(built_network(parser), run)]
        scorer = parser.get_parsed_content("scorer")

        def predict(image: torch.Tensor) -> torch.Tensor:
            return torch.stack([network(image) for network in networks]).mean(0)

        tables = [
            scorer.score(predict, scorer.loaders[part], measure=False).assign(**{SUBSET: part})
            for part in (RETAIN, VALIDATION, TEST)
        ]
        with atomic_path(file) as path:
            pd.concat(tables).to_csv(path, index=False)
    return pd.read_csv(file, dtype={PATIENT_ID: str})


def draw(tables: Mapping[str, pd.DataFrame], file: Path) -> None:
    """What each model has on unseen cases, against how well its losses tell private from unseen patients."""
    mpl.use("svg")
    import matplotlib.pyplot as plt

    rows = (len(tables) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(8, 3.4 * rows), squeeze=False, layout="constrained")
    names = ["base alone", _JOINT, _ONE, *(f"{number} shards" for number in SHARDS if number > 1)]
    for axis in axes.flat[len(tables) :]:
        axis.set_axis_off()
    for axis, (title, table) in zip(axes.flat, tables.items(), strict=False):
        for name, marker in zip(names, "os^DPX", strict=True):
            row = table[table["model"] == name].iloc[0]
            axis.scatter(row[_AUC], row[TEST], marker=marker, label=name)
        axis.set(title=title, xlabel="AUC of the loss, private against test", ylabel="test")
        axis.margins(0.15)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
    with atomic_path(file) as path:
        figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--experiments", nargs="+", default=list(EXPERIMENTS), choices=EXPERIMENTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("mu_monai").setLevel(logging.INFO)
    torch.set_num_threads(1)
    tables = {}
    for name in options.experiments:
        for seed in options.seeds:
            table = tables[f"{name}, seed {seed}"] = Study(name, options.data, options.out, seed).run()
            print(f"{name}, seed {seed}")
            print(table.to_string(index=False, float_format="{:.3f}".format))
    draw(tables, options.out / "exact.svg")


if __name__ == "__main__":
    main()
