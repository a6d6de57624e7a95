"""Synthetic run folders as `docs/reference/files.md` describes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from mu_monai.audit import (
    closeness_records,
    membership_records,
    patient_table,
    records_table,
    subgroup_table,
    utility_records,
    verdict,
)
from mu_monai.planes import cut, framed
from mu_monai.record import without_nan
from mu_monai.report import write_report
from mu_monai.report.page import Picture, report_page
from mu_monai.report.plots import report_plots
from mu_monai.report.tables import ReportTables
from mu_monai.runs import open_runs

SUBSETS = {"retain": (14, 4), "forget": (4, 3), "validation": (5, 3), "test": (6, 3)}  # patients, cases of each
LEVELS = {
    "teacher": {"retain": 0.93, "forget": 0.93, "validation": 0.84, "test": 0.83},
    "retrained": {"retain": 0.93, "forget": 0.82, "validation": 0.83, "test": 0.83},
    "student": {"retain": 0.90, "forget": 0.66, "validation": 0.82, "test": 0.81},
}

KINDS = ("masks", "two_phase", "classes", "volumes", "forgotten")
CLASSES = [
    "actinic keratosis",
    "basal cell carcinoma",
    "dermatofibroma",
    "melanoma",
    "nevus",
    "pigmented benign keratosis",
    "seborrheic keratosis",
    "squamous cell carcinoma",
    "vascular lesion",
]


def make_scores(models: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for model in models:
        for subset, (patients, cases) in SUBSETS.items():
            for patient in range(patients):
                rng = np.random.default_rng([patient, len(subset)])  # a hard patient is hard for every model
                level = LEVELS[model][subset] + rng.normal(0, 0.03)
                rng = np.random.default_rng([patient, len(subset), *model.encode()])
                for case in range(cases):
                    dice = float(np.clip(level + rng.normal(0, 0.02), 0, 1))
                    name = f"{subset}_p{patient:02d}"
                    rows.append(
                        {
                            "model": model,
                            "subset": subset,
                            "patient_id": name,
                            "case_id": f"{name}_{case}",
                            "loss": 1.4 - dice,
                            "bce": 0.5 * (1 - dice),
                            "dice": dice,
                            "iou": dice / (2 - dice),
                            "confidence": 0.97,
                        }
                    )
    return pd.DataFrame(rows)


def make_curve(student: bool) -> pd.DataFrame:
    epochs = np.arange(1, 16)
    fall = np.exp(-epochs / 5)
    curve = {"epoch": epochs, "seconds": epochs * 4.0, "total": 0.3 + fall, "supervised": 0.15 + 0.05 * fall}
    if student:
        curve |= {"distillation": 0.01 + 0.05 * (1 - fall), "guard": 0.02 * (1 - fall), "background": 0.1 + 2 * fall}
    curve |= {
        "retain_dice": 0.93 - 0.03 * fall,
        "forget_dice": 0.66 + 0.27 * fall,
        "validation_dice": 0.82 + 0.02 * fall,
    }
    curve |= {"retain_loss": 0.2 + 0.03 * fall, "forget_loss": 0.8 - 0.5 * fall, "validation_loss": 0.4 - 0.02 * fall}
    table = pd.DataFrame(curve)
    table.loc[table["epoch"] % 3 != 0, [name for name in curve if "_" in name]] = np.nan
    return table


def make_examples(models: tuple[str, ...], size: int = 64) -> dict[str, np.ndarray]:
    y, x = np.mgrid[0:size, 0:size] / size
    cases = [(subset, f"{subset}_p00_{case}") for subset in ("retain", "forget") for case in range(3)]
    arrays: dict[str, list] = {name: [] for name in ("subset", "case_id", "image", "label", *models)}
    for number, (subset, case_id) in enumerate(cases):
        rng = np.random.default_rng(number)
        cy, cx, radius = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.28)
        depth = radius - np.hypot(y - cy, (x - cx) * rng.uniform(0.8, 1.2))
        skin = np.array([0.86, 0.68, 0.58]) - 0.35 * (depth[..., None] > 0) * np.array([1.0, 1.1, 1.1])
        image = (np.clip(skin + rng.normal(0, 0.02, skin.shape), 0, 1) * 255).astype(np.uint8)
        one = {"subset": subset, "case_id": case_id, "image": image, "label": (depth > 0).astype(np.uint8)}
        for model in models:
            shift = -0.1 if (model == "student" and subset == "forget") else rng.normal(0, 0.01)
            one[model] = (1 / (1 + np.exp(-40 * (depth + shift)))).astype(np.float32)
        for name, value in one.items():
            arrays[name].append(value)
    return {name: np.array(values) for name, values in arrays.items()}


def make_class_scores(models: tuple[str, ...]) -> pd.DataFrame:
    rows = make_scores(models).drop(columns=["bce", "dice", "iou"])
    rng = np.random.default_rng(0)
    rows["label"] = [CLASSES[hash_of % 9] for hash_of in rows["case_id"].map(lambda case: sum(case.encode()))]
    level = [LEVELS[model][subset] for model, subset in zip(rows["model"], rows["subset"], strict=True)]
    right = rng.uniform(size=len(rows)) < np.array(level)
    rows["predicted"] = [
        name if good else CLASSES[rng.integers(9)] for name, good in zip(rows["label"], right, strict=True)
    ]
    rows["accuracy"] = (rows["label"] == rows["predicted"]).astype(float)
    return rows.assign(cross_entropy=rows["loss"], true_probability=0.2 + 0.7 * rows["accuracy"])


def make_class_examples(models: tuple[str, ...]) -> dict[str, np.ndarray]:
    arrays = make_examples(())
    true = [1, 4, 3, 4, 7, 8]
    arrays |= {"label": np.array([CLASSES[place] for place in true]), "classes": np.array(CLASSES)}
    for model in models:
        answers = np.full((6, 9), 0.02, dtype=np.float32)
        for row, place in enumerate(true):
            answers[row, 3 if model == "student" and row > 3 else place] = 0.84
        arrays[model] = answers
    return arrays


def make_structure_scores(models: tuple[str, ...], forget_classes: tuple[str, ...] = ()) -> pd.DataFrame:
    """Masks of an organ and a smaller lesion, with distances and volumes."""
    table = make_scores(models).drop(columns="bce").assign(cross_entropy=0.1)
    teachers = [LEVELS["teacher"][subset] for subset in table["subset"]]
    for name, ease, size in (("organ", 1.0, 160.0), ("lesion", 0.8, 6.0)):
        noise = np.random.default_rng([len(name), *models[0].encode()]).normal(0, 0.02, len(table))
        level = table["dice"].to_numpy()
        if forget_classes:  # nobody is forgotten
            level = np.array(teachers) + noise
            level[(table["model"] != "teacher") & (name in forget_classes)] *= 0.03
        dice = np.clip(ease * level, 0, 1)
        table[f"dice[{name}]"] = dice
        table[f"hd95[{name}]"] = 2 + 40 * (1 - dice)
        table[f"volume[{name}]"] = size * dice
        table[f"true_volume[{name}]"] = size
    table["dice"] = (table["dice[organ]"] + table["dice[lesion]"]) / 2
    return table


def make_volume(number: int, shift: float = 0.0, lesion: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A body with an organ and a lesion in it, right, anterior and superior: bytes, and class indices."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in (64, 52, 36)), indexing="ij")
    rng = np.random.default_rng(number)
    body = (x / 0.9) ** 2 + (y / 0.8) ** 2 < 1
    organ = ((x - 0.4) / (0.35 + shift)) ** 2 + ((y - 0.1) / 0.4) ** 2 + (z / 0.6) ** 2 < 1
    spot = ((x - 0.45) / (0.14 + shift)) ** 2 + ((y - 0.2) / 0.16) ** 2 + ((z - 0.15) / 0.25) ** 2 < 1
    image = 20 + 90 * body + 50 * organ - 40 * spot + rng.normal(0, 9, x.shape)
    mask = organ.astype(np.uint8)
    mask[spot & organ] = 2 if lesion else 1
    return np.clip(image, 0, 255).astype(np.uint8), mask


@cache
def make_volume_examples(models: tuple[str, ...], forget_classes: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    steps, size = (1.5, 1.5, 2.0), (52, 64)
    rows: dict[str, list] = {}
    volumes = {}
    for number in range(6):
        image, label = make_volume(number)
        shifts = {"teacher": 0.01, "retrained": 0.03, "student": 0.06}
        answers = {
            model: make_volume(number, shifts[model], lesion=model == "teacher" or not forget_classes)[1]
            for model in models
        }
        if len(models) == 1:
            volumes[f"volume_{number}"] = answers[models[0]]
        for plane, position in {"axial": 19 + number // 3, "coronal": 30, "sagittal": 45}.items():
            subset = "retain" if number < 3 else "forget"
            row = {"case_id": f"{subset}_p00_{number % 3}", "subset": subset, "plane": plane, "position": position}
            where = (plane, position, steps)
            row["image"] = framed(cut(image, *where, smooth=True), size)[..., None]
            row |= {name: framed(cut(mask, *where), size) for name, mask in {"label": label, **answers}.items()}
            for name, value in row.items():
                rows.setdefault(name, []).append(value)
    arrays = {name: np.array(values) for name, values in rows.items()}
    return {**arrays, "classes": np.array(["background", "organ", "lesion"]), "spacing": np.array(steps), **volumes}


def make_measurements(layers: int = 9, **restoration: object) -> dict:
    names = [f"model.1.submodule.1.submodule.2.{number}.conv" for number in range(layers)]
    sizes = np.linspace(0.2, 1.4, layers)
    found = [
        {"layer": name, "rank": 8, "norm": size, "spectral_norm": 0.7 * size, "bound": 1.9 * size}
        for name, size in zip(names, sizes, strict=True)
    ]
    epochs = [
        {"epoch": 13, "forget_loss": 0.77, "retain_loss": 0.22, "returned": 0.02},
        {"epoch": 14, "forget_loss": 0.75, "retain_loss": 0.20, "returned": 0.06},
        {"epoch": 15, "forget_loss": 0.71, "retain_loss": 0.19, "returned": 0.14},
    ]
    watch = {"tolerance": 0.1, "teacher_forget_loss": 0.28, "start_forget_loss": 0.78, "epochs": epochs}
    return {
        "drift": {"total": float(np.linalg.norm(sizes)), "limit": None, "layers": found},
        "margins": {"delta": 0.123, "epsilon": 0.0, "feature_layer": "model.1.submodule.1.submodule.1"},
        "restoration": watch | {"stopped": True, "kept_epoch": 14} | restoration,
    }


def make_record(role: str) -> dict:
    student = role == "student"
    provenance = {
        "source": "phantoms/lesions",
        "layout": "manifest",
        "phantom": True,
        "selector": {"kind": "fraction", "value": 0.1},
        "group_by": "patient_id",
        "seed": 0,
        "counts": {name: {"patients": p, "cases": p * n} for name, (p, n) in SUBSETS.items()},
        "near_duplicates": [{"forget": "forget_p00_0", "other": "retain_p03_1", "subset": "retain", "distance": 2}],
    }
    base, adapters = 1_626_072, 47_310
    parameters = {"total": base, "trainable": base, "share": 1.0, "coverage": "all weights train"}
    if student:
        total = base + adapters
        coverage = "LoRA of rank 8 on 9 of 9 decoder layers and the head"
        parameters = {"total": total, "trainable": adapters, "share": adapters / total, "coverage": coverage}
    digest = "3f5a" * 16
    weights = {"starting_weights": "b2" * 32, "weights": "c3" * 32}
    if role != "teacher":  # a student starts from the weights of the teacher
        weights = {"starting_weights": ("c3" if student else "b2") * 32, "weights": "d4" * 32}
    checks = [{"name": "all weights are finite", "passed": True, "detail": "no NaN, no infinity"}]
    if student:
        checks.append(
            {"name": "adapters off equal the teacher bit for bit", "passed": True, "detail": "on 1 probe image(s)"}
        )
    return {
        "format": 1,
        "verb": "unlearn" if student else "train",
        "status": "finished",
        "role": role,
        "bundle": {"name": "isic", "version": "0.1.0", "task": "segmentation"},
        "subsets": ["retain"] if role == "retrained" else ["retain", "forget"],
        "method": {"name": "EraseToRetain", "settings": {"forget_weight": 3.0, "temperature": 2.0}}
        if student
        else None,
        "seed": 0,
        "max_epochs": 15,
        "device": "cpu",
        "versions": {"mu_monai": "0.1.0", "torch": "2.13.0", "monai": "1.6.1", "python": "3.11.7"},
        "sha256": {"split": digest, "config": "a1" * 32, **weights},
        "split": {"file": "split.json", "provenance": provenance},
        "teacher": "runs/teacher/model.pt" if student else None,
        "parameters": parameters,
        "checks": checks,
        "warnings": [],
        "started": "2026-01-31T12:00:00+00:00",
        "seconds": 61.2 if student else 412.5,
        "peak_memory_mib": 1234.5,
        "command": f"mu-monai {'unlearn' if student else 'train'} isic --split split.json --out runs/{role}",
    }


def make_audit(folders: list[Path]) -> dict:
    """What `audit.json` says of a student's run, with an attack that brings some of it back."""
    runs = open_runs(folders)
    draws = {"n_resamples": 100, "seed": 0}
    records = [*membership_records(runs.scores, **draws), *closeness_records(runs.scores, **draws)]
    after = [r for r in records if r.metric == "auc[loss]" and r.model != "teacher"]
    records += [replace(r, attack="retain-finetuning", value=min(1, r.value + 0.2)) for r in after]
    records += [replace(r, attack="relearning@0") for r in after]
    cases = runs.scores[["case_id"]].drop_duplicates()
    table = subgroup_table(
        runs.scores, cases.assign(device=[("a <b>", "b")[row % 2] for row in range(len(cases))]), **draws
    )
    table["flag"] = [True, *[False] * (len(table) - 1)]
    content = {
        **{"format": 1, "models": {"student": {"weights": runs.main.record.sha256.weights}}},
        "records": [asdict(record) for record in records],
        "verdict": asdict(verdict(records, n_unseen=SUBSETS["test"][0])),
        "patients": patient_table(runs.scores).to_dict("records"),
        "subgroups": table.to_dict("records"),
        "searched": [{"file": "adapter/adapter_model.safetensors", "what": "holds the adapter"}],
        "notes": ["6 unseen patients cannot show a false-positive rate below 16.7 %"],
    }
    return without_nan(content)


def tables_of(folders: list[Path], n_resamples: int = 10) -> ReportTables:
    """The tables of a report of run folders."""
    runs = open_runs(folders)
    records = utility_records(runs.scores, forget_classes=runs.forget_classes, n_resamples=n_resamples)
    return ReportTables(runs, records_table(records))


def undrawn(tables: ReportTables, *, images: bool = True) -> str:
    """The page of a report whose plots are words alone: drawing takes hundreds of times as long as all else."""
    blank = {"light": "", "dark": "", "width": 1, "height": 1}
    plots = report_plots(tables, images=images)
    pictures = {name: Picture(**blank, alt=plot.alt, caption=plot.caption) for name, plot in plots.items()}
    return report_page(tables, pictures, images=images)


class RunFactory:
    """Writes run folders, quickly without `figures`; keyword arguments replace parts of `run.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self, role: str, name: str | None = None, *, figures: bool = True, classes: bool = False, **record: object
    ) -> Path:
        folder = self.root / (name or role)
        folder.mkdir(parents=True)
        models = ("teacher", "student") if role == "student" else (role,)
        (folder / "run.json").write_text(json.dumps(make_record(role) | record), encoding="utf-8")
        scores, curve = make_scores(models), make_curve(role == "student")
        if classes:
            scores = make_class_scores(models)
            curve = curve.rename(columns=lambda name: name.replace("dice", "accuracy").replace("background", "uniform"))
        scores.to_csv(folder / "scores.csv", index=False)
        if figures:
            curve.to_csv(folder / "curve.csv", index=False)
            examples = make_class_examples(models) if classes else make_examples(models)
            np.savez_compressed(folder / "examples.npz", **examples)
        return folder

    @staticmethod
    def audited(folders: list[Path], **content: object) -> list[Path]:
        """The same run folders, the last one audited; keyword arguments replace parts of `audit.json`."""
        file = folders[-1] / "audit.json"
        file.write_text(json.dumps(make_audit(folders) | content), encoding="utf-8")
        return folders

    def volumes(
        self,
        role: str,
        name: str | None = None,
        *,
        forget: tuple[str, ...] = (),
        figures: bool = True,
        **record: object,
    ) -> Path:
        """A run on volumes with two classes; `forget` are the classes that all but the teacher forget."""
        gone = [] if role == "teacher" else list(forget)
        of = {"bundle": {"name": "volume3d", "version": "0.1.0", "task": "segmentation"}, "forget_classes": gone}
        of |= {"subsets": ["retain", "forget"]} if gone else {}
        folder = self(role, name, figures=figures and role == "student", **(of | record))
        models = ("teacher", "student") if role == "student" else (role,)
        make_structure_scores(models, forget).to_csv(folder / "scores.csv", index=False)
        np.savez_compressed(folder / "examples.npz", **make_volume_examples(models, forget))
        return folder

    @staticmethod
    def one_channel() -> dict[str, np.ndarray]:
        """Examples of volumes whose masks have one channel."""
        arrays = make_volume_examples(("teacher", "student"))
        masks = {name: np.minimum(arrays[name], 1) for name in ("label", "teacher", "student")}
        return arrays | masks | {"classes": np.array(["background", "foreground"])}

    def two_phase(self, **restoration: object) -> Path:
        """A student whose head was restored in its last three epochs."""
        folder = self("student", preset="two-phase", measurements=make_measurements(**restoration))
        curve = make_curve(student=True).assign(phase=[1] * 12 + [2] * 3)
        curve.loc[12:, ["distillation", "guard", "background"]] = np.nan
        curve["forget_returned"] = [np.nan] * 12 + [0.02, 0.06, 0.14]
        curve.loc[12:, "forget_loss"] = [np.nan, np.nan, 0.74]
        curve.to_csv(folder / "curve.csv", index=False)
        return folder


@pytest.fixture
def make_run(tmp_path: Path) -> RunFactory:
    return RunFactory(tmp_path / "runs")


@pytest.fixture
def all_runs(make_run: RunFactory) -> list[Path]:
    return [make_run("teacher"), make_run("retrained"), make_run("student")]


def make_report(kind: str, make_run: RunFactory, out: Path) -> Path:
    """The page of one kind: `masks`, `two_phase`, `classes`, `volumes`, or `forgotten` classes of volumes."""
    if kind in ("volumes", "forgotten"):
        forget = ("lesion",) if kind == "forgotten" else ()
        folders = [make_run.volumes(role, forget=forget) for role in ("teacher", "retrained")]
        folders.append(
            make_run.volumes("student", forget=forget, measurements=make_measurements() | {"restoration": None})
        )
        runs = open_runs(folders)
        records = utility_records(runs.scores, forget_classes=runs.forget_classes, n_resamples=100)
        return write_report(runs, records_table(records), out)
    of = {"classes": True, "bundle": {"name": "isic_classification"}} if kind == "classes" else {}
    shown = ("teacher", "retrained") if kind == "masks" else ("retrained",) if kind == "classes" else ()
    folders = [make_run(role, figures=role in shown, **of) for role in ("teacher", "retrained")]
    if kind == "two_phase":
        folders.append(make_run.two_phase())
        (folders[-1] / "examples.npz").unlink()  # masks show them
    else:
        measured = {"measurements": make_measurements(30) | {"restoration": None}} if kind == "classes" else {}
        folders.append(make_run("student", **of, **measured))
    if kind == "masks":
        make_run.audited(folders)
    runs = open_runs(folders)
    return write_report(runs, records_table(utility_records(runs.scores, n_resamples=100)), out)


@dataclass(frozen=True)
class MadeReport:
    """A report that was written once; tests only look at it.

    Args:
        index: its `index.html`.
        drawn: every text in its figures, and whether it was read as a formula.
        settings: matplotlib's settings before and after it was written.
    """

    index: Path
    drawn: set[tuple[str, bool]]
    settings: tuple[dict, dict]


@pytest.fixture(scope="session")
def report_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], MadeReport]:
    """A report of a kind, written when it is first asked for."""

    @cache
    def made(kind: str) -> MadeReport:
        root, before, drawn, draw = tmp_path_factory.mktemp(kind), dict(matplotlib.rcParams), set(), Text.draw

        def seen(text: Text, *args: object, **kwargs: object) -> object:
            drawn.add((text.get_text(), text.get_parse_math()))
            return draw(text, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Text, "draw", seen)
            index = make_report(kind, RunFactory(root / "runs"), root / "out")
        return MadeReport(index, drawn, (before, dict(matplotlib.rcParams)))

    return made


@pytest.fixture(scope="session")
def page_of(report_of: Callable[[str], MadeReport]) -> Callable[[str], Path]:
    """`index.html` of a kind of report."""
    return lambda kind: report_of(kind).index


@pytest.fixture(scope="session", params=KINDS)
def any_page(request: pytest.FixtureRequest, page_of: Callable[[str], Path]) -> Path:
    return page_of(request.param)


@pytest.fixture
def measurements() -> Callable[..., dict]:
    return make_measurements


@pytest.fixture
def text_of() -> Callable[[Path], str]:
    """The visible text of a page."""
    return lambda index: visible(index.read_text(encoding="utf-8"))


@pytest.fixture
def said_of() -> Callable[..., str]:
    """The visible text of the report of run folders, without drawing or writing anything."""
    return lambda *folders, **settings: visible(undrawn(tables_of(list(folders)), **settings))


def visible(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>|data:[^\"]+", " ", page.split("</style>")[1]))
