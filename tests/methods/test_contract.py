"""What every unlearning method promises, whatever its formula.

A finished run of each row and task is made once and looked at by many tests.
"""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from ignite.engine import Events

from mu_monai import workflow
from mu_monai.adapters import Student, load_weights, weights_sha256
from mu_monai.bundle import config, open_bundle
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import inherited
from mu_monai.engine import RunFolder
from mu_monai.errors import InputError
from mu_monai.methods import METHODS
from mu_monai.methods.registry import declaration_problems
from mu_monai.workflow.recipe import own_settings, recipe_of

pytestmark = pytest.mark.no_cover  # every line that runs here is measured where it has tests of its own

# One row of quick settings per method, and per schedule where a method has several.
QUICK = {
    "joint": ("erase-to-retain", ["method#schedule=joint"]),
    "alternate-step": ("erase-to-retain", ["method#schedule=alternate_step"]),
    "alternate-epoch": ("erase-to-retain", ["method#schedule=alternate_epoch"]),
    "two-phase": (
        "erase-to-retain",
        [
            "method#schedule=two_phase",
            "method#restore_epochs=1",
            "method#restore_learning_rate=0.01",
            "method#restore_tolerance=1",
        ],
    ),
    "calibrated": ("calibrated-erase-to-retain", ["method#tolerance=0.0001", "method#settle_steps=2"]),
    "calibrated-adapters": (
        "calibrated-erase-to-retain",
        [
            *("network#trainable=adapters", "network#scope=decoder"),
            *("method#target=median", "method#settle_steps=0", "method#stop_at=null"),
        ],
    ),
    "boundary-search": ("perturbed-sign-gradient", ["method#steps=2", "method#bisections=1", "method#noise=1"]),
    "boundary-search-every-step": (
        "perturbed-sign-gradient",
        ["method#relabel=every_step", "method#steps=2", "method#bisections=1", "method#noise=1"],
    ),
    "boundary-shrink": ("boundary-shrink", []),
    "boundary-expand": ("boundary-expand", []),
    "scrub": ("scrub", ["method#msteps=1"]),
    "bad-teacher": ("bad-teacher", []),
    "unsir": ("unsir", ["method#noise_cases=4", "method#noise_steps=2"]),
    "dampening": ("selective-synaptic-dampening", ["method#alpha=1"]),
    "influence": ("influence", []),
    "influence-adapters": ("influence", ["network#trainable=adapters", "network#scope=decoder"]),
    "retain-fine-tuning": ("retain-fine-tuning", []),
    "gradient-ascent": ("gradient-ascent", ["learning_rate=0.001"]),
    "gradient-difference": ("gradient-difference", ["method#alpha=0.5"]),
    "random-labels": ("random-labels", []),
    "amnesiac": ("amnesiac", []),
    "npo": ("npo", ["method#beta=1"]),
    "npo-rewound": ("npo", ["method#beta=1", "method#stop_at=rewind"]),
    "l1-sparse": ("l1-sparse", []),
    "cf-k": ("cf-k", ["method#k=2"]),
    "cf-k-adapters": ("cf-k", ["network#trainable=adapters", "network#scope=decoder", "method#k=2"]),
    "eu-k": ("eu-k", ["method#k=2"]),
    "salun": ("salun", []),
    "composition": ("composition", []),
    "rurk": ("rurk", []),
    "undo": ("undo", ["method#unlearn_steps=2"]),
    "msg": ("msg", []),
    "kernel-swap": ("kernel-swap", []),
    "negation": ("negation", []),
    "weight-distortion": ("weight-distortion", []),
    "distance-regularization": ("distance-regularization", []),
    "distance-regularization-adapters": (
        "distance-regularization",
        ["network#trainable=adapters", "network#scope=decoder"],
    ),
    "rewind": ("rewind", []),
    "shrink-and-restore": ("shrink-and-restore", ["method#stop_at=rewind", "method#probe_steps=2"]),
    "shrink-and-restore-adapters": (
        "shrink-and-restore",
        [
            *("network#trainable=adapters", "network#scope=decoder", "network#bn_mode=eval"),
            *("method#stop_at=rewind", "method#probe_steps=2"),
            *("method#damage=0.3", "method#hinge_weight=0.3"),
        ],
    ),
}
# Runs that a row starts from, by the setting that names them: finished runs of other rows on the same task.
PARENTS = {"composition": {"good_retain": "alternate-step", "good_forget": "joint"}}
COMMON = ["max_epochs=3", "epoch_length=null", "score_interval=1", "batch_size=4", "learning_rate=0.01"]
# What a method writes into the curve under its own names.
TERMS = {
    "EraseToRetain": {"supervised", "distillation", "guard"},
    "CalibratedEraseToRetain": {"supervised", "distillation", "hinge", "forget"},
    "PerturbedSignGradient": {"supervised", "forget", "flip_rate", "inner_loss_first", "inner_loss_last"},
    "BoundaryShrink": {"forget", "flip_rate"},
    "BoundaryExpand": {"forget"},
    "Scrub": {"supervised", "distillation", "departure"},
    "BadTeacher": {"good", "bad"},
    "UNSIR": {"supervised", "noise"},
    "SelectiveSynapticDampening": {"dampened"},
    "InfluenceUnlearning": {"fisher_cases", "shift"},
    "RetainFineTuning": {"supervised"},
    "GradientAscent": {"forget"},
    "GradientDifference": {"supervised", "forget"},
    "RandomLabels": {"supervised", "relabeled"},
    "Amnesiac": {"supervised", "relabeled"},
    "NPO": {"supervised", "preference"},
    "L1Sparse": {"supervised", "l1"},
    "CFk": {"supervised"},
    "EUk": {"supervised"},
    "SalUn": {"supervised", "relabeled"},
    "Composition": set(),
    "RURK": {"supervised", "forget", "perturbed"},
    "UNDO": {"imitation"},
    "MSG": {"supervised"},
    "KernelSwap": {"supervised"},
    "Negation": {"supervised"},
    "WeightDistortion": {"supervised"},
    "DistanceRegularization": {"supervised", "distance"},
    "Rewind": {"supervised"},
    "ShrinkAndRestore": {"supervised", "distillation", "damage"},
}
# Of these, what is not written in every epoch.
PARTIAL: dict[str, set[str]] = {
    "Scrub": {"departure"},
    "UNSIR": {"noise"},
    "ShrinkAndRestore": {"hinge"},
}
# What stands still together with the learning rate, by row.
STILL = {
    "two-phase": ["method#restore_learning_rate=1e-12"],
    "calibrated": ["method#settle_learning_rate=1e-12"],
    "dampening": ["method#dampening=1e30"],
    "influence": ["method#alpha=1e-12"],
    "weight-distortion": ["method#std=1e-12"],
    "influence-adapters": ["method#alpha=1e-12"],
}
# What starts anew, and so moves at any learning rate.
RESTARTS = {
    *("eu-k", "composition", "rewind", "shrink-and-restore", "shrink-and-restore-adapters"),
    *("undo", "msg", "negation"),
}
TASKS = {"masks": "segmentation", "volumes": "segmentation", "classes": "classification"}


def _rows(choose, rows=QUICK):
    """Every row, on those of the tasks its method has a meaning for that are chosen, given the row's number."""
    return [
        pytest.param((row, task), id=f"{row}-{task}")
        for number, (row, (method, _)) in enumerate(QUICK.items())
        if row in rows
        for task in choose([task for task in TASKS if TASKS[task] in METHODS[method].tasks], number)
    ]


everywhere = pytest.mark.parametrize("job", _rows(lambda able, _: able))
anywhere = pytest.mark.parametrize("job", _rows(lambda able, _: able[:1]))
first_row = {method: row for row, (method, _) in reversed(QUICK.items())}.values()  # of each method
once = pytest.mark.parametrize("job", _rows(lambda able, number: [able[number % len(able)]], first_row))
in_turn = pytest.mark.parametrize("job", _rows(lambda able, number: [able[number % len(able)]]))
RESUMED_EVERYWHERE = [number for number, row in enumerate(QUICK) if row in ("rewind", "shrink-and-restore")]


@pytest.fixture
def unlearn(tmp_path, tasks, runs, tmp_path_factory):
    def run(job, name="run", extra=(), resume=False, folder=tmp_path):
        row, task = job
        method, settings = QUICK[row]
        parents = {
            name: _finished(run, runs, tmp_path_factory, (parent, task))
            for name, parent in PARENTS.get(row, {}).items()
        }
        settings = [*settings, *(f"method#{name}={folder}" for name, folder in parents.items())]
        return workflow.unlearn(
            tasks[task].bundle,
            split=tasks[task].split,
            teacher=tasks[task].teacher,
            out=folder / name,
            method=method,
            settings=[*COMMON, *settings, *extra],
            overlays=tasks[task].overlays,
            resume=resume,
            quiet=True,
        )

    return run


@pytest.fixture(scope="session")
def runs():
    """The finished runs, by row and task."""
    return {}


@pytest.fixture
def finished(unlearn, runs, tmp_path_factory):
    """A finished run of a row on a task; nobody may change it."""
    return partial(_finished, unlearn, runs, tmp_path_factory)


def _finished(unlearn, runs, tmp_path_factory, job):
    if job not in runs:
        runs[job] = unlearn(job, folder=tmp_path_factory.mktemp("-".join(job)))
    return runs[job]


@pytest.fixture
def teacher(tasks):
    return lambda job: tasks[job[1]].teacher


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def method_of(job):
    return METHODS[QUICK[job[0]][0]]


def trains(job) -> bool:
    """Whether the method takes steps, so that it has epochs, a curve and something to resume."""
    return method_of(job).cost != "one-shot"


def test_every_method_has_a_row_of_quick_settings():
    assert {method for method, _ in QUICK.values()} == set(METHODS)


def test_every_file_of_the_package_is_a_listed_method():
    folder = Path(METHODS["erase-to-retain"].__module__.replace(".", "/")).parent
    files = {path.stem for path in (Path(workflow.__file__).parents[2] / folder).glob("*.py")} - {
        "__init__",
        "method",
        "batches",
        "boundary_search",
        "budget",
        "damage_once",
        "erase_to_retain_rules",
        "gentle_restoration",
        "registry",
        "restoration",
        "retraining",
        "rollback",
        "settings",
        "shard_refit",
        "teacher_answers",
    }
    assert files == {name.replace("-", "_") for name in METHODS}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_it_says_where_it_comes_from_and_what_it_needs_and_costs(method):
    assert list(declaration_problems(method)) == []
    assert method.paper
    assert len(method.trials) == 4
    assert method.trials[0] == {}
    assert len({json.dumps(trial, sort_keys=True) for trial in method.trials}) == 4
    assert not {"test", "reference"} & set(str(method.trials).split())


def test_what_forgets_classes_has_the_setting_for_it():
    able = [name for name, method in METHODS.items() if method.forgets_classes]
    assert able == [name for name, method in METHODS.items() if "forget_classes" in method.allowed()]
    assert able == ["erase-to-retain"]


@pytest.mark.parametrize(("name", "method"), METHODS.items(), ids=METHODS)
def test_a_network_that_does_not_know_its_teacher_is_refused_before_anything_happens(name, method, small):
    needed = {"forget_terms": {"uniform": 1.0}, "damage": 0.1}
    terms = {name: value for name, value in needed.items() if name in method.allowed()}
    job = small(method, **terms, stop_at=None)
    plain = job.trainer.network.reverted()
    job.trainer.network = plain
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    with pytest.raises(
        InputError, match=f"{method.__name__} needs a network .* Sequential; wrap it in mu_monai.adapters.Student"
    ):
        job.trainer.run()
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize(("name", "method"), METHODS.items(), ids=METHODS)
def test_a_task_without_a_meaning_for_the_rule_is_refused(name, method, tasks, tmp_path):
    for task in {TASKS[task]: task for task in TASKS}.values():
        if TASKS[task] in method.tasks:
            continue
        out = tmp_path / task
        with pytest.raises(InputError, match=f"cannot forget in a {TASKS[task]} task; use one of"):
            workflow.unlearn(
                tasks[task].bundle, split=tasks[task].split, teacher=tasks[task].teacher, out=out, method=name
            )
        assert not out.exists()


@everywhere
def test_the_teacher_stays_what_it_was(finished, teacher, job):
    before = weights_sha256(weights(teacher(job) / "model.pt"))
    run = finished(job)
    assert weights_sha256(weights(teacher(job) / "model.pt")) == before
    assert record(run)["sha256"]["starting_weights"] == before


@everywhere
def test_only_what_trains_moves_and_all_of_it(finished, teacher, tasks, job):
    run = finished(job)
    before, after = weights(teacher(job) / "model.pt"), weights(run / "model.pt")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    network = load_weights(_network(tasks[job[1]]), teacher(job))
    if record(run)["parameters"]["share"] == 1:
        expected = {name for name, _ in network.named_parameters()}  # no statistics among them
        if record(run)["measurements"].get("moving_statistics"):
            expected |= set(before)
    else:
        student = Student(network)
        expected = {f"{name}.weight" for name in student.placement.targets}
        if record(run)["measurements"].get("restoration"):
            expected |= {f"{student.head}.weight", f"{student.head}.bias"}
    assert moved
    assert moved <= expected
    if not method_of(job).selective:
        assert moved == expected


@in_turn
def test_reverting_is_bit_exact(finished, teacher, job, tmp_path):
    run = finished(job)
    workflow.revert(run, out=tmp_path / "teacher.pt")
    workflow.merge(run, out=tmp_path / "student.pt")
    before, after = weights(teacher(job) / "model.pt"), weights(run / "model.pt")
    assert weights_sha256(weights(tmp_path / "teacher.pt")) == weights_sha256(before)
    assert weights_sha256(weights(tmp_path / "student.pt")) == weights_sha256(after)
    assert weights_sha256(after) != weights_sha256(before)


@everywhere
def test_self_checks_pass_and_weights_are_finite(finished, job):
    run = finished(job)
    checks = record(run)["checks"]
    assert len(checks) == 5
    assert all(check["passed"] for check in checks), checks
    assert all(torch.isfinite(value).all() for value in weights(run / "model.pt").values())


@everywhere
def test_what_was_measured_fits_the_weights(finished, teacher, job):
    run = finished(job)
    before, after = weights(teacher(job) / "model.pt"), weights(run / "model.pt")
    learned = {name for name in before if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    distance = math.sqrt(sum(float((after[n] - before[n]).double().square().sum()) for n in learned))
    measured = record(run)["measurements"]
    assert measured["drift"]["total"] == pytest.approx(distance, rel=1e-3)
    layers = [layer for layer in measured["drift"]["layers"] if layer["norm"]]
    assert layers
    assert all(0 < layer["spectral_norm"] <= layer["norm"] * 1.001 for layer in layers)
    assert 0 < measured["margins"]["delta"] <= 1


@once
def test_another_seed_gives_other_weights_and_what_takes_no_steps_the_same_again(unlearn, finished, job):
    """What takes steps ends with the same weights for the same seed, also if it was resumed: see below."""
    again = unlearn(job, "again", [f"seed={int(trains(job))}"])
    first, second = (weights_sha256(weights(run / "model.pt")) for run in (finished(job), again))
    assert (first != second) == trains(job)


@pytest.mark.parametrize(
    "job", _rows(lambda able, number: able if number in RESUMED_EVERYWHERE else [able[number % len(able)]])
)
def test_a_resumed_run_equals_an_uninterrupted_one_and_leaves_no_hook(unlearn, finished, job, monkeypatch):
    if trains(job):
        networks = _resume_and_compare(unlearn, finished(job), job, monkeypatch, iteration=6)
        _assert_no_hook(networks)


@anywhere
def test_it_keeps_its_budget_of_sample_passes(unlearn, finished, job):
    """Two thirds of what it takes without one; a search or a measurement before the first step is a part of it."""
    passes = 2 * record(finished(job))["cost"]["passes"] // 3
    if not trains(job) and passes:
        with pytest.raises(InputError, match="needs every case once"):
            unlearn(job, "less", [f"method#budget={passes // 2}"])
        return
    taken = record(unlearn(job, "less", [f"method#budget={passes}"]))["cost"]["passes"]
    assert 0 <= taken <= passes


@pytest.mark.parametrize("row", ["two-phase", "boundary-search", "scrub", "rewind", "shrink-and-restore"])
def test_an_epoch_may_be_shorter_than_the_retain_set(unlearn, row, monkeypatch):
    """It is resumed as well; these count epochs or draw batches in ways of their own."""
    job, shorter = (row, "masks"), ["epoch_length=3"]
    whole = unlearn(job, "whole", shorter)
    _resume_and_compare(unlearn, whole, job, monkeypatch, iteration=5, budget=shorter)


@once
def test_a_single_case_may_be_forgotten(unlearn, tasks, job, monkeypatch):
    task = tasks[job[1]]
    split, single = json.loads(Path(task.split).read_text()), Path(task.split).with_name("single.json")
    split["forget"] = split["forget"][:1]
    single.write_text(json.dumps(split))
    monkeypatch.setitem(tasks, job[1], replace(task, split=str(single)))
    run = unlearn(job, extra=["max_epochs=2", "epoch_length=1", "score_interval=2"])
    assert record(run)["status"] == "finished"
    assert all(torch.isfinite(value).all() for value in weights(run / "model.pt").values())


def _resume_and_compare(unlearn, whole, job, monkeypatch, *, iteration, budget=()):
    networks = []
    with monkeypatch.context() as patch:
        _interrupt_at(patch, iteration, networks)
        with pytest.raises(KeyboardInterrupt):
            unlearn(job, "broken", budget)
    run = unlearn(job, "broken", budget, resume=True)
    assert record(run)["status"] == "finished"
    assert weights_sha256(weights(run / "model.pt")) == weights_sha256(weights(whole / "model.pt"))
    assert record(run)["measurements"] == record(whole)["measurements"]
    resumed, uninterrupted = (pd.read_csv(folder / "curve.csv").drop(columns="seconds") for folder in (run, whole))
    pd.testing.assert_frame_equal(resumed, uninterrupted)
    return networks


def _assert_no_hook(networks):
    (network,) = networks
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert "forward" not in vars(module)


@everywhere
def test_every_term_is_in_the_curve_under_its_own_name(finished, tasks, job):
    run = finished(job)
    curve = pd.read_csv(run / "curve.csv")
    method = record(run)["method"]["settings"]
    terms = {*TERMS[record(run)["method"]["name"]], *method.get("forget_terms", ())}
    terms |= {"total"} if trains(job) else set()
    terms |= {"settling"} if method.get("settle_steps") else set()
    terms |= {"settled_auc"} if method.get("probe_steps") and method["stop_at"] else set()
    terms |= {"hinge"} if method.get("hinge_weight") and "probe_steps" in method else set()
    terms |= {"forget_auc"} if method["stop_at"] and trains(job) else set()
    restoration = {"phase", "forget_returned"} if method.get("schedule") == "two_phase" else set()
    score = "accuracy" if tasks[job[1]].bundle == "isic_classification" else "dice"
    subsets = {f"{subset}_{name}" for subset in ("retain", "forget", "validation") for name in (score, "loss")}
    assert set(curve.columns) == {
        "epoch",
        "seconds",
        "passes",
        "steps",
        *terms,
        *subsets,
        *restoration,
    }  # and nothing of the test set
    assert curve["epoch"].tolist() == ([1, 2, 3] if trains(job) else [0])
    unlearning = curve[curve["phase"] == 1] if restoration else curve
    assert len(unlearning) == len(curve) - bool(restoration)
    partial = PARTIAL.get(record(run)["method"]["name"], set())
    assert unlearning[sorted(terms - partial)].notna().all().all()
    assert unlearning[sorted(terms)].notna().any().all()


@pytest.mark.parametrize("task", TASKS)
def test_scores_hold_every_case_of_every_subset_for_both_models(finished, tasks, task):
    scores = pd.read_csv(finished(("joint", task)) / "scores.csv")
    split = json.loads(Path(tasks[task].split).read_text())
    expected = {(s, case["case_id"]) for s in ("retain", "forget", "validation", "test") for case in split[s]}
    for _, rows in scores.groupby("model"):
        assert set(zip(rows["subset"], rows["case_id"], strict=True)) == expected
    assert set(scores["model"]) == {"teacher", "student"}


@once
def test_it_warns_when_nothing_happened(unlearn, job):
    run = unlearn(job, extra=["learning_rate=1e-12", *STILL.get(job[0], [])])
    warned = any("hardly anything was forgotten" in warning for warning in record(run)["warnings"])
    # in a teacher of two epochs, the first may have memorized as little, and new weights may answer as badly
    if job[0] not in ("rewind", "msg"):
        assert warned == (job[0] not in RESTARTS)


@once
def test_a_network_without_adapters_is_refused(unlearn, job):
    plain = "$mu_monai.adapters.load_weights(@network_def, @teacher)"
    parameters = "$list(@network.parameters())"
    with pytest.raises(InputError, match=r"wrap it in mu_monai.adapters.Student"):
        unlearn(job, extra=[f"network={plain}", f"optimizer#params={parameters}"])


@pytest.mark.parametrize("job", _rows(lambda able, _: able, first_row))
def test_every_setting_that_may_be_tried_fits_the_bundles(tasks, job):
    bundle = open_bundle(tasks[job[1]].bundle)
    name = QUICK[job[0]][0]
    parser = config.read_config(bundle.files("unlearn", own_settings(bundle, name)))
    parser.update(recipe_of(METHODS[name], bundle, parser))
    for trial in method_of(job).trials:
        assert not list(config.unknown_ids(parser, list(trial)))


def _network(task):
    bundle = open_bundle(task.bundle)
    layers = LayeredConfig(bundle, "unlearn", overlays=task.overlays)
    layers.lay("run", inherited(task.teacher, bundle, overlays=layers.overlays))
    return layers.read().get_parsed_content("network_def", instantiate=True)


def _interrupt_at(patch, iteration, networks=None):
    """Raise KeyboardInterrupt, as Ctrl-C does, at the end of an iteration of the next run."""
    attach = RunFolder.attach

    def attach_and_interrupt(self, engine):
        attach(self, engine)

        @engine.on(Events.ITERATION_COMPLETED(once=iteration))
        def interrupt():
            if networks is not None:
                networks.append(engine.network)
            raise KeyboardInterrupt

    patch.setattr(RunFolder, "attach", attach_and_interrupt)
