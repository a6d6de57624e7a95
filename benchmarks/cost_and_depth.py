"""Make the runs and audits behind docs/results/cost-and-depth.md: what forgetting costs, and what comes back.

python benchmarks/cost_and_depth.py DATA OUT [--experiments lesions hippocampus ...] [--seeds 0 1 2] [--methods ...]

DATA holds isic_lesion/, isic9/, hippocampus/ and chase_db1/. Every seed of an experiment has a split, a teacher with
its milestones, and two retrained models, in OUT/EXPERIMENT-SEED. A step whose result is there is skipped, so the same
command goes on where it stopped. benchmarks/cost_and_depth_table.py prints the tables.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from mu_monai.files import read_json, write_json
from mu_monai.keys import RETRAINED
from mu_monai.runs import RunRecord, read_record
from mu_monai.workflow.auditing.attacking import ATTACKS_DIR

ATTACKS = "retain-finetuning,relearning,mirrored,upside-down,turned,axes-swapped"


@dataclass(frozen=True)
class Experiment:
    """Images, the cases to forget, and how the model is trained.

    Args:
        bundle: a shipped bundle.
        data: the folder of the images.
        split: options of `mu-monai split`.
        training: options of `mu-monai train`.
        unlearning: options of every `mu-monai unlearn`.
        rewinding: further ones of every `rewind`.
    """

    bundle: str
    data: str
    split: tuple[str, ...]
    training: tuple[str, ...] = ()
    unlearning: tuple[str, ...] = ()
    rewinding: tuple[str, ...] = ()


def _settings(*values: str) -> tuple[str, ...]:
    return tuple(word for value in values for word in ("--set", value))


_LESIONS = Experiment(
    bundle="isic",
    data="isic_lesion",
    split=("--layout", "isic", "--forget", "0.1"),
    training=_settings("image_size=[128, 128]", "score_interval=40"),
)


def _augmented(cases: str) -> str:
    """A setting that gives a network the cases with flips and quarter turns, of which a swap of axes is made up."""
    flips = [
        {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": axis} for axis in (0, 1)
    ]
    turns = {"_target_": "RandRotate90d", "keys": ["image", "label"], "prob": 0.75, "max_k": 3}
    transform = {"_target_": "Compose", "transforms": [*flips, turns]}
    return "train#dataset=" + json.dumps({"_target_": "Dataset", "data": cases, "transform": transform})


_NINE = ("--layout", "class-folders", "--on-duplicates", "drop")
_NINE_TRAINING = _settings("score_interval=20")
HIPPOCAMPUS = (
    'classes=["background", "anterior", "posterior"]',
    "spacing=[1, 1, 1]",
    "patch_size=[40, 56, 40]",
    "patches_per_volume=1",
    "score_interval=40",
    "network_def#channels=[16, 32, 64, 128]",
    "network_def#strides=[2, 2, 2]",
)
_HIPPOCAMPUS = Experiment(
    bundle="volume3d",
    data="hippocampus",
    split=("--layout", "volumes", "--forget", "0.1"),
    training=(
        *("--overlay", "mr"),
        *_settings(*HIPPOCAMPUS, "max_epochs=40"),
    ),
    unlearning=_settings("patches_per_volume=1"),
    rewinding=_settings("learning_rate=2e-3"),
)
EXPERIMENTS = {
    "lesions": _LESIONS,
    "lesions-augmented": replace(
        _LESIONS,
        training=(
            *_LESIONS.training,
            *_settings(_augmented("$torch.utils.data.ConcatDataset([@datasets[subset] for subset in @subsets])")),
        ),
        unlearning=_settings(_augmented("$@datasets['retain']")),
    ),
    "hippocampus": _HIPPOCAMPUS,
    "classes-patients": Experiment("isic_classification", "isic9", (*_NINE, "--forget", "0.1"), _NINE_TRAINING),
    "classes-device": Experiment(
        "isic_classification", "isic9", (*_NINE, "--forget-where", "source == 'vidir_molemax'"), _NINE_TRAINING
    ),
    "classes-half": Experiment(
        "isic_classification",
        "isic9",
        (*_NINE, "--forget-where", "label == 'melanoma'", "--forget-fraction-of", "0.5"),
        _NINE_TRAINING,
    ),
    "chase": Experiment(
        "chase",
        "chase_db1",
        ("--layout", "chase", "--label-set", "1stHO", "--forget", "0.2"),
        _settings("image_size=[192, 192]", "score_interval=100"),
    ),
}
BUDGETS = (0.025, 0.05, 0.1, 0.25)
ALIKE = (0.05, 0.1, 0.143)  # budgets of `rewind` at which a model that never saw the forgotten is rewound alike
LOOSE = 0.08  # a tolerance of `rewind` that goes back less far than its default
BUDGETED = ("rewind", "kernel-swap", "shrink-and-restore")  # what is tried at every budget
PUBLISHED = ("undo", "msg", "negation", "weight-distortion", "distance-regularization", "rurk")
BEST_SO_FAR = ("amnesiac", "gradient-ascent", "gradient-difference", "perturbed-sign-gradient")
ONES = range(1, 9)  # of the patients to forget, those who are forgotten alone as well


@dataclass(frozen=True)
class Job:
    """One unlearning run: a method, what it may cost, which patient alone it forgets, if so, and of which model.

    What a method does to a model that never saw the forgotten shows how hard they are for such a model, by itself.
    """

    method: str
    budget: float | None = None
    tolerance: float | None = None  # of `rewind`; the method's own by default
    one: int = 0  # the place of the patient who is forgotten alone; 0 for all
    of: str = "teacher"  # the model that it starts from

    @property
    def name(self) -> str:
        """The name of its folder."""
        parts = [f"one-{self.one}"] if self.one else []
        parts += [] if self.of == "teacher" else [self.of]
        parts += [self.method, "own" if self.budget is None else f"{self.budget:g}"]
        parts += [] if self.tolerance is None else [f"tolerance-{self.tolerance:g}"]
        return "-".join(parts)


def jobs() -> list[Job]:
    """Every run of an experiment and seed, the most telling first."""
    own = [*(Job(method, 0.05) for method in BUDGETED), Job("rewind", 0), Job("kernel-swap"), Job("rewind", 0.143)]
    own += [Job(method, budget) for budget in BUDGETS for method in BUDGETED if budget != 0.05]
    first_form = [Job("calibrated-erase-to-retain", budget) for budget in (*BUDGETS, None)]
    one = [Job(method, 0.02, one=place) for method in BUDGETED for place in ONES]
    published = [Job(method, budget) for method in PUBLISHED for budget in (0.05, 0.1, None)]
    loose = [Job("rewind", budget, tolerance=LOOSE) for budget in ALIKE]
    alike = [
        Job("rewind", budget, of=f"retrained-{number}", tolerance=tolerance)
        for budget in ALIKE
        for number in (0, 1)
        for tolerance in (None, LOOSE)
    ]
    return [*own, *loose, *alike, *one, *first_form, *(Job(method) for method in BEST_SO_FAR), *published]


class Study:
    """One experiment with one seed, in a folder."""

    def __init__(self, name: str, data: Path, out: Path, seed: int) -> None:
        self.experiment, self.seed = EXPERIMENTS[name], seed
        self.folder = out / f"{name}-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.split = self.folder / "split.json"
        self._data = data / self.experiment.data

    def prepare(self) -> None:
        """Make split, teacher and retrained models."""
        if not self.split.is_file():
            _run("split", str(self._data), *self.experiment.split, "--seed", str(self.seed), "--out", str(self.split))
        self._train("teacher", self.split, self.seed)
        for number in (0, 1):
            self._train(f"retrained-{number}", self.split, self.seed + 100 * number, "--subsets", "retain")

    def _forget_one(self, place: int) -> Path:
        """A split that forgets one of the patients to forget; the others are retained."""
        file = self.folder / f"one-{place}.json"
        if not file.is_file():
            split = read_json(self.split, dict)
            patient = list(dict.fromkeys(case["patient_id"] for case in split["forget"]))[place - 1]
            split["retain"] += [case for case in split["forget"] if case["patient_id"] != patient]
            split["forget"] = [case for case in split["forget"] if case["patient_id"] == patient]
            write_json(file, split)
        return file

    def _train(self, name: str, split: Path, seed: int, *options: str) -> None:
        options = (*options, *self.experiment.training, "--set", f"seed={seed}")
        _once("train", self.experiment.bundle, self.folder / name, "--split", str(split), *options)

    def _original(self, job: Job) -> tuple[str, ...]:
        """What a run starts from, and what it may cost."""
        original = self.folder / job.of
        if job.of == "teacher":
            cost = () if job.budget is None else ("--budget", f"{job.budget:g}")
            tolerance = () if job.tolerance is None else _settings(f"method#tolerance={job.tolerance:g}")
            return ("--teacher", str(original), *cost, *tolerance)
        student = read_record(self.folder / replace(job, of="teacher").name)
        length = f"epoch_length={student.cost.steps}"
        milestones = self._same_epoch(job, student)
        shutil.copyfile(original / "model.pt", milestones / "last.pt")  # the run is refused: it never saw the forgotten
        settings = _settings(length, "method#tolerance=0.49")  # whatever its epoch has memorized
        return (
            "--teacher",
            str(milestones / "last.pt"),
            "--milestones",
            str(milestones),
            *self._as_trained(),
            *settings,
        )

    def _as_trained(self) -> tuple[str, ...]:
        """What a run takes over from its teacher's run, which weights alone do not tell; not how long it trained."""
        words, taken = iter(self.experiment.training), []
        for option, value in zip(words, words, strict=True):
            if not value.startswith(("score_interval=", "max_epochs=", "train#", "patches_per_volume=")):
                taken += [option, value]
        return tuple(taken)

    def _same_epoch(self, job: Job, student: RunRecord) -> Path:
        """The milestone of a retrained model after as many epochs as the one that the student was taken back to."""
        epoch = student.measurements["rewind"]["epoch"]
        folder = self.folder / f"{job.of}-epoch-{epoch}"
        folder.mkdir(exist_ok=True)
        name = f"epoch-{epoch:04}.safetensors"
        shutil.copyfile(self.folder / job.of / "milestones" / name, folder / name)
        return folder

    def unlearn(self, job: Job) -> None:
        """Make a run and, unless it forgets one patient alone, audit it against the retrained models."""
        run = self.folder / job.name
        if (run / "failed.json").is_file():
            return
        try:
            self.make(job)
            if not job.one and not (run / "audit.json").is_file():  # an audit of one patient says nothing
                names = sorted({"retrained-0", "retrained-1"} - {job.of})
                references = [word for name in names for word in ("--reference", str(self.folder / name))]
                self._share_attacks(run)
                _run("audit", str(run), *self._original(job)[:2], *references, "--attacks", ATTACKS, "--quiet")
        except subprocess.CalledProcessError as error:
            if error.returncode != 2:  # a method may refuse a budget or a task, which is a result; all else is not
                raise
            run.mkdir(exist_ok=True)
            (run / "failed.json").write_text(json.dumps({"why": (error.stderr or "").strip()[-2000:]}))
            print(f"  {job.name}: {(error.stderr or '').strip().splitlines()[-1:]}", flush=True)

    def make(self, job: Job) -> None:
        """Make a run."""
        split = self._forget_one(job.one) if job.one else self.split
        own = self.experiment.rewinding if job.method == "rewind" else ()
        options = (*own, *self.experiment.unlearning, "--set", f"seed={self.seed}")
        teacher = (*self._original(job), "--method", job.method)
        _once("unlearn", self.experiment.bundle, self.folder / job.name, "--split", str(split), *teacher, *options)

    def _share_attacks(self, run: Path) -> None:
        """Give a run what attacks made of the retrained models, once; names hold digests of weights and settings."""
        (run / ATTACKS_DIR).mkdir(exist_ok=True)
        for file in self.folder.glob(f"*/{ATTACKS_DIR}/*-{RETRAINED}-*.csv"):
            if file.parent.parent != run:
                shutil.copyfile(file, run / ATTACKS_DIR / file.name)


def _once(verb: str, bundle: str, run: Path, *options: str) -> None:
    """Make a run, go on with an interrupted one, or leave a finished one alone."""
    if (run / "scores.csv").is_file():
        return
    resume = ("--resume",) if (run / "checkpoints").is_dir() else ()
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    _run(verb, bundle, *options, *resume, "--quiet", "--out", str(run))


def _run(*words: str) -> None:
    print("+ mu-monai", *words, flush=True)
    subprocess.run([sys.executable, "-m", "mu_monai", *words], check=True, stderr=subprocess.PIPE, text=True)


def main() -> None:
    """Do what is left of the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", help="only these methods")
    given = parser.parse_args()
    for seed in given.seeds:
        for name in given.experiments:
            study = Study(name, given.data, given.out, seed)
            study.prepare()
            for job in jobs():
                if not given.methods or job.method in given.methods:
                    study.unlearn(job)


if __name__ == "__main__":
    main()
