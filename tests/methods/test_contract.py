"""What every unlearning method promises, whatever its formula."""

import json
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
    "alternate-epoch": ("erase-to-retain", ["method#schedule=alternate_epoch"]),
}
COMMON = ["max_epochs=3", "batch_size=4", "learning_rate=0.01"]


@pytest.fixture(params=QUICK)
def quick(request):
    return QUICK[request.param]


@pytest.fixture(params=["isic", "chase"])
def bundle(request):
    return request.param


@pytest.fixture
def unlearn(phantom_splits, teachers, tmp_path):
    def run(bundle, quick, name="run", extra=(), resume=False):
        method, settings = quick
        return workflow.unlearn(
            bundle,
            split=phantom_splits[bundle],
            teacher=teachers[bundle],
            out=tmp_path / name,
            method=method,
            settings=[*COMMON, *settings, *extra],
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


def test_the_teacher_stays_what_it_was(unlearn, bundle, quick, teachers):
    before = weights_sha256(weights(teachers[bundle] / "model.pt"))
    run = unlearn(bundle, quick)
    assert weights_sha256(weights(teachers[bundle] / "model.pt")) == before
    assert record(run)["sha256"]["starting_weights"] == before


def test_only_adapters_move_and_every_adapter_moves(unlearn, bundle, quick, teachers):
    run = unlearn(bundle, quick)
    before, after = weights(teachers[bundle] / "model.pt"), weights(run / "model.pt")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    network = load_weights(_network(bundle, teachers[bundle]), teachers[bundle])
    assert moved == {f"{name}.weight" for name in Student(network).placement.targets}


def test_reverting_is_bit_exact(unlearn, bundle, quick, teachers, tmp_path):
    run = unlearn(bundle, quick)
    workflow.revert(run, out=tmp_path / "teacher.pt")
    workflow.merge(run, out=tmp_path / "student.pt")
    teacher, student = weights(teachers[bundle] / "model.pt"), weights(run / "model.pt")
    assert weights_sha256(weights(tmp_path / "teacher.pt")) == weights_sha256(teacher)
    assert weights_sha256(weights(tmp_path / "student.pt")) == weights_sha256(student)
    assert weights_sha256(student) != weights_sha256(teacher)


def test_self_checks_pass_and_weights_are_finite(unlearn, bundle, quick):
    run = unlearn(bundle, quick)
    checks = record(run)["checks"]
    assert len(checks) == 5
    assert all(check["passed"] for check in checks), checks
    assert all(torch.isfinite(value).all() for value in weights(run / "model.pt").values())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(unlearn, quick):
    runs = [unlearn("isic", quick, name, [f"seed={seed}"]) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, second, third = (weights_sha256(weights(run / "model.pt")) for run in runs)
    assert first == second != third


@pytest.mark.parametrize(("iteration", "length"), [(3, "null"), (6, "null"), (2, "1"), (5, "3")])
def test_a_resumed_run_equals_an_uninterrupted_one(unlearn, bundle, quick, iteration, length, monkeypatch):
    budget = [f"epoch_length={length}"]  # an epoch may be shorter or longer than the retain set
    whole = unlearn(bundle, quick, "whole", budget)
    with monkeypatch.context() as patch:
        _interrupt_at(patch, iteration)
        with pytest.raises(KeyboardInterrupt):
            unlearn(bundle, quick, "broken", budget)
    run = unlearn(bundle, quick, "broken", budget, resume=True)
    assert record(run)["status"] == "finished"
    assert weights_sha256(weights(run / "model.pt")) == weights_sha256(weights(whole / "model.pt"))
    resumed, uninterrupted = (pd.read_csv(folder / "curve.csv").drop(columns="seconds") for folder in (run, whole))
    pd.testing.assert_frame_equal(resumed, uninterrupted)


def test_no_hook_is_left_behind_after_an_exception(unlearn, quick, monkeypatch):
    networks = []
    with monkeypatch.context() as patch:
        _interrupt_at(patch, 4, networks)
        with pytest.raises(KeyboardInterrupt):
            unlearn("isic", quick)
    (network,) = networks
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks


def test_every_term_is_in_the_curve_under_its_own_name(unlearn, quick):
    curve = pd.read_csv(unlearn("isic", quick) / "curve.csv")
    terms = ["supervised", "distillation", "guard", "background", "total"]
    subsets = ["retain_dice", "forget_dice", "validation_dice", "retain_loss", "forget_loss", "validation_loss"]
    assert set(curve.columns) == {"epoch", "seconds", *terms, *subsets}  # and nothing of the test set
    assert curve["epoch"].tolist() == [1, 2, 3]
    assert curve[terms].notna().all().all()


def test_scores_hold_every_case_of_every_subset_for_both_models(unlearn, phantom_splits):
    scores = pd.read_csv(unlearn("isic", QUICK["joint"]) / "scores.csv")
    split = json.loads(Path(phantom_splits["isic"]).read_text())
    expected = {(s, case["case_id"]) for s in ("retain", "forget", "validation", "test") for case in split[s]}
    for _, rows in scores.groupby("model"):
        assert set(zip(rows["subset"], rows["case_id"], strict=True)) == expected
    assert set(scores["model"]) == {"teacher", "student"}


def test_it_warns_when_nothing_happened(unlearn, quick):
    run = unlearn("isic", quick, extra=["learning_rate=1e-12"])
    assert "hardly anything was forgotten" in record(run)["warnings"][0]


def test_a_network_without_adapters_is_refused(unlearn, quick):
    plain = "$mu_monai.adapters.load_weights(@network_def, @teacher)"
    parameters = "$list(@network.parameters())"
    with pytest.raises(InputError, match="needs a network with adapters and got UNet"):
        unlearn("isic", quick, extra=[f"network={plain}", f"optimizer#params={parameters}"])


def _network(bundle, run):
    files = config.config_files(bundle, "unlearn")
    parser = config.read_config(files)
    parser.update(config.inherited(run, files))
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
