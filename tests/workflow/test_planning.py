"""A budget as a share of the teacher's training, and a plan before anything is trained."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.runs import read_record


@pytest.fixture
def unlearn(phantom_splits, teachers, tmp_path):
    def run(method, name="run", **options):
        settings = ["batch_size=4", "score_interval=50", *options.pop("settings", ())]
        return workflow.unlearn(
            "isic",
            split=options.pop("split", phantom_splits["isic"]),
            teacher=options.pop("teacher", teachers["isic"]),
            out=tmp_path / name,
            method=method,
            settings=settings,
            quiet=True,
            **options,
        )

    return run


@pytest.mark.parametrize("method", ["rewind", "shrink-and-restore", "gradient-difference", "erase-to-retain"])
@pytest.mark.parametrize("budget", [0.2, 0.5])
def test_a_budget_is_a_share_of_the_teachers_training(unlearn, teachers, method, budget):
    whole = read_record(teachers["isic"]).cost.passes
    record = read_record(unlearn(method, budget=budget))
    assert record.cost.passes <= round(budget * whole)
    assert record.cost.share == pytest.approx(record.cost.passes / whole)


def test_a_method_that_can_uses_all_of_it(unlearn, teachers):
    whole = read_record(teachers["isic"]).cost.passes
    for budget in (0.5, 1.0):
        taken = read_record(unlearn("rewind", f"run-{budget}", budget=budget)).cost.passes
        assert budget * whole - 3 * 8 < taken <= budget * whole


@pytest.mark.parametrize("budget", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(unlearn, tmp_path, budget):
    with pytest.raises(InputError, match=r"--budget .* a share .* in \[0, 1\]"):
        unlearn("rewind", budget=budget)
    assert not (tmp_path / "run").exists()


def test_what_a_teachers_training_took_has_to_be_known(unlearn, teachers, tmp_path):
    with pytest.raises(InputError, match=r"not a run, or was made by an earlier version.*method#budget=2000"):
        unlearn("gradient-difference", budget=0.1, teacher=shutil.copy(teachers["isic"] / "model.pt", tmp_path))
    assert not (tmp_path / "run").exists()


def test_milestones_are_those_of_the_teachers_run_or_refused(unlearn, teachers, tmp_path):
    record = json.loads((unlearn("rewind") / "run.json").read_text())
    assert record["method"]["settings"]["milestones"] == str(teachers["isic"] / "milestones")
    with pytest.raises(InputError, match=r"the teacher's run has none.*--milestones.*milestones=12"):
        unlearn("rewind", "bare", teacher=shutil.copy(teachers["isic"] / "model.pt", tmp_path / "copy.pt"))
    with pytest.raises(InputError, match=r"holds no milestones"):
        unlearn("rewind", "empty", milestones=tmp_path)
    with pytest.raises(InputError, match=r"--milestones is only for methods that need them, such as rewind"):
        unlearn("gradient-ascent", "other", milestones=tmp_path)


def test_milestones_in_a_place_that_is_code_are_refused(unlearn, tmp_path):
    with pytest.raises(InputError, match=r"--milestones"):
        unlearn("rewind", milestones=tmp_path / "runs#1")


@pytest.mark.parametrize("preset", ["two-phase", "paper"])
def test_a_plan_of_several_epochs_is_one_of_all_of_them(unlearn, preset, caplog):
    """Two phases need more than one epoch, also in a trial."""
    caplog.set_level("INFO", logger="mu_monai")
    unlearn(None, plan=True, preset=preset, settings=["max_epochs=6"])
    lines = [record.message for record in caplog.records if record.name.startswith("mu_monai")]
    assert [line.startswith("the run would take about") for line in lines] == [True], "and nothing of a short run"


@pytest.fixture
def planned(unlearn, caplog):
    """The steps and sample passes that a plan says, and its whole sentence."""

    def read(method, **options):
        caplog.set_level("INFO", logger="mu_monai")
        unlearn(method, plan=True, **options)
        (line,) = [record.message for record in caplog.records if record.message.startswith("the run would take")]
        numbers = re.search(r"about (\d+) steps and at most (\d+) sample passes", line).groups()
        return *map(int, numbers), line

    return read


@pytest.mark.parametrize("method", ["rewind", "gradient-difference", "shrink-and-restore"])
def test_a_plan_says_what_the_run_then_takes(unlearn, planned, method, tmp_path):
    budget = {"budget": 0.5} if method == "rewind" else {"settings": ["max_epochs=2", "epoch_length=6"]}
    steps, passes, line = planned(method, **budget)
    assert not (tmp_path / "run").exists()
    record = read_record(unlearn(method, **budget))
    assert record.cost.steps <= steps + 6
    assert record.cost.passes <= passes
    assert "% of the teacher's training" in line
    seconds, disk = re.search(r"about (\d+) s here besides its scores, and ([\d.]+) MB of disk$", line).groups()
    assert int(seconds) < 600
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.suffix not in (".csv", ".npz")]
    assert float(disk) == pytest.approx(sum(path.stat().st_size for path in files) / 1e6, abs=0.2, rel=0.3)


@pytest.mark.parametrize(
    "method",
    ["gradient-ascent", "bad-teacher", "random-labels", "salun", "scrub"],
)
def test_a_plan_has_the_epochs_of_the_run_and_what_each_begins_with(unlearn, planned, method):
    """Epochs as long as the forget set, or a share of the retain set; passes over the forget set in each of them."""
    settings = ["max_epochs=3"]
    steps, passes, _ = planned(method, settings=settings)
    cost = read_record(unlearn(method, settings=settings)).cost
    assert (steps, cost.passes <= passes <= 1.3 * cost.passes) == (cost.steps, True)  # last batches may be smaller


@pytest.mark.parametrize("method", ["rewind", "gradient-ascent"])
def test_layers_for_adapters_are_refused_where_all_weights_train(unlearn, tmp_path, method):
    with pytest.raises(InputError, match=r"--lora-targets 'head' .* all weights train here"):
        unlearn(method, lora_targets="head")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "warned"), [("where", True), ("fraction", False)])
def test_what_is_alike_is_not_like_unseen_cases_and_it_is_said(unlearn, phantom_splits, caplog, kind, warned):
    split = Path(phantom_splits["isic"])
    content = json.loads(split.read_text())
    content["provenance"]["selector"] = {"kind": kind, "value": "device == 'a'"}
    by_condition = split.with_name(f"{kind}-of-devices.json")  # beside it: paths of images are relative
    by_condition.write_text(json.dumps(content))
    unlearn("rewind", split=by_condition, budget=0.2)
    assert ("how a device looks, stays" in caplog.text) == warned
