"""What every unlearning method promises, whatever its formula."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from ignite.engine import Events

from mu_monai import workflow
from mu_monai.adapters import Student, load_weights, weights_sha256
from mu_monai.engine import RunFolder
from mu_monai.errors import InputError
from mu_monai.methods import METHODS
from mu_monai.workflow import config

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
}
COMMON = ["max_epochs=3", "epoch_length=null", "score_interval=1", "batch_size=4", "learning_rate=0.01"]
# What a method writes into the curve under its own names.
TERMS = {
    "EraseToRetain": {"supervised", "distillation", "guard"},
    "CalibratedEraseToRetain": {"supervised", "distillation", "hinge", "forget"},
}


@pytest.fixture(params=QUICK)
def quick(request):
    return QUICK[request.param]


@pytest.fixture(params=["masks", "volumes", "classes"])
def task(request, tasks):
    return tasks[request.param]


@pytest.fixture
def masks(tasks):
    return tasks["masks"]


@pytest.fixture
def unlearn(tmp_path):
    def run(task, quick, name="run", extra=(), resume=False):
        method, settings = quick
        return workflow.unlearn(
            task.bundle,
            split=task.split,
            teacher=task.teacher,
            out=tmp_path / name,
            method=method,
            settings=[*COMMON, *settings, *extra],
            overlays=task.overlays,
            resume=resume,
            quiet=True,
        )

    return run


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_every_method_has_a_row_of_quick_settings():
    assert {method for method, _ in QUICK.values()} == set(METHODS)


def test_every_file_of_the_package_is_a_listed_method():
    folder = Path(METHODS["erase-to-retain"].__module__.replace(".", "/")).parent
    files = {path.stem for path in (Path(workflow.__file__).parents[2] / folder).glob("*.py")} - {"__init__", "method"}
    assert files == {name.replace("-", "_") for name in METHODS}


def test_the_teacher_stays_what_it_was(unlearn, task, quick):
    before = weights_sha256(weights(task.teacher / "model.pt"))
    run = unlearn(task, quick)
    assert weights_sha256(weights(task.teacher / "model.pt")) == before
    assert record(run)["sha256"]["starting_weights"] == before


def test_only_what_trains_moves_and_all_of_it(unlearn, task, quick):
    run = unlearn(task, quick)
    before, after = weights(task.teacher / "model.pt"), weights(run / "model.pt")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    network = load_weights(_network(task), task.teacher)
    if record(run)["parameters"]["share"] == 1:
        assert moved == {name for name, _ in network.named_parameters()}  # no statistics among them
        return
    student = Student(network)
    expected = {f"{name}.weight" for name in student.placement.targets}
    if record(run)["measurements"].get("restoration"):
        expected |= {f"{student.head}.weight", f"{student.head}.bias"}
    assert moved == expected


def test_reverting_is_bit_exact(unlearn, task, quick, tmp_path):
    run = unlearn(task, quick)
    workflow.revert(run, out=tmp_path / "teacher.pt")
    workflow.merge(run, out=tmp_path / "student.pt")
    teacher, student = weights(task.teacher / "model.pt"), weights(run / "model.pt")
    assert weights_sha256(weights(tmp_path / "teacher.pt")) == weights_sha256(teacher)
    assert weights_sha256(weights(tmp_path / "student.pt")) == weights_sha256(student)
    assert weights_sha256(student) != weights_sha256(teacher)


def test_self_checks_pass_and_weights_are_finite(unlearn, task, quick):
    run = unlearn(task, quick)
    checks = record(run)["checks"]
    assert len(checks) == 5
    assert all(check["passed"] for check in checks), checks
    assert all(torch.isfinite(value).all() for value in weights(run / "model.pt").values())


def test_what_was_measured_fits_the_weights(unlearn, task, quick):
    run = unlearn(task, quick)
    before, after = weights(task.teacher / "model.pt"), weights(run / "model.pt")
    distance = math.sqrt(sum(float((after[n] - before[n]).double().square().sum()) for n in before))
    measured = record(run)["measurements"]
    assert measured["drift"]["total"] == pytest.approx(distance, rel=1e-3)
    assert all(0 < layer["spectral_norm"] <= layer["norm"] * 1.001 for layer in measured["drift"]["layers"])
    assert 0 < measured["margins"]["delta"] <= 1


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(unlearn, masks, quick):
    runs = [unlearn(masks, quick, name, [f"seed={seed}"]) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, second, third = (weights_sha256(weights(run / "model.pt")) for run in runs)
    assert first == second != third


def test_a_resumed_run_equals_an_uninterrupted_one(unlearn, task, quick, monkeypatch):
    _resume_and_compare(unlearn, task, quick, monkeypatch, iteration=6, length="null")


@pytest.mark.parametrize(("iteration", "length"), [(3, "null"), (2, "1"), (5, "3")])
def test_an_epoch_may_be_shorter_or_longer_than_the_retain_set(unlearn, masks, quick, iteration, length, monkeypatch):
    _resume_and_compare(unlearn, masks, quick, monkeypatch, iteration=iteration, length=length)


def _resume_and_compare(unlearn, task, quick, monkeypatch, *, iteration, length):
    budget = [f"epoch_length={length}"]
    whole = unlearn(task, quick, "whole", budget)
    with monkeypatch.context() as patch:
        _interrupt_at(patch, iteration)
        with pytest.raises(KeyboardInterrupt):
            unlearn(task, quick, "broken", budget)
    run = unlearn(task, quick, "broken", budget, resume=True)
    assert record(run)["status"] == "finished"
    assert weights_sha256(weights(run / "model.pt")) == weights_sha256(weights(whole / "model.pt"))
    assert record(run)["measurements"] == record(whole)["measurements"]
    resumed, uninterrupted = (pd.read_csv(folder / "curve.csv").drop(columns="seconds") for folder in (run, whole))
    pd.testing.assert_frame_equal(resumed, uninterrupted)


def test_no_hook_is_left_behind_after_an_exception(unlearn, task, quick, monkeypatch):
    networks = []
    with monkeypatch.context() as patch:
        _interrupt_at(patch, 4, networks)
        with pytest.raises(KeyboardInterrupt):
            unlearn(task, quick)
    (network,) = networks
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert "forward" not in vars(module)


def test_every_term_is_in_the_curve_under_its_own_name(unlearn, task, quick):
    run = unlearn(task, quick)
    curve = pd.read_csv(run / "curve.csv")
    method = record(run)["method"]["settings"]
    terms = {"total", *TERMS[record(run)["method"]["name"]], *method.get("forget_terms", ())}
    terms |= {"settling"} if method.get("settle_steps") else set()
    terms |= {"forget_auc"} if method["stop_at"] else set()
    restoration = {"phase", "forget_returned"} if method.get("schedule") == "two_phase" else set()
    score = "accuracy" if task.bundle == "isic_classification" else "dice"
    subsets = {f"{subset}_{name}" for subset in ("retain", "forget", "validation") for name in (score, "loss")}
    assert set(curve.columns) == {"epoch", "seconds", *terms, *subsets, *restoration}  # and nothing of the test set
    assert curve["epoch"].tolist() == [1, 2, 3]
    unlearning = curve[curve["phase"] == 1] if restoration else curve
    assert len(unlearning) == (2 if restoration else 3)
    assert unlearning[sorted(terms)].notna().all().all()


def test_scores_hold_every_case_of_every_subset_for_both_models(unlearn, task):
    scores = pd.read_csv(unlearn(task, QUICK["joint"]) / "scores.csv")
    split = json.loads(Path(task.split).read_text())
    expected = {(s, case["case_id"]) for s in ("retain", "forget", "validation", "test") for case in split[s]}
    for _, rows in scores.groupby("model"):
        assert set(zip(rows["subset"], rows["case_id"], strict=True)) == expected
    assert set(scores["model"]) == {"teacher", "student"}


def test_it_warns_when_nothing_happened(unlearn, task, quick):
    own = {"two-phase": "restore_learning_rate", "calibrated": "settle_learning_rate"}
    still = [f"method#{rate}=1e-12" for name, rate in own.items() if QUICK[name] == quick]
    run = unlearn(task, quick, extra=["learning_rate=1e-12", *still])
    assert any("hardly anything was forgotten" in warning for warning in record(run)["warnings"])


def test_a_network_without_adapters_is_refused(unlearn, masks, quick):
    plain = "$mu_monai.adapters.load_weights(@network_def, @teacher)"
    parameters = "$list(@network.parameters())"
    with pytest.raises(InputError, match="needs a network that knows its teacher and got UNet"):
        unlearn(masks, quick, extra=[f"network={plain}", f"optimizer#params={parameters}"])


def _network(task):
    files = config.config_files(task.bundle, "unlearn", task.overlays)
    parser = config.read_config(files)
    parser.update(config.inherited(task.teacher, files))
    return parser.get_parsed_content("network_def", instantiate=True)


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
