"""What the calibrated method does beyond the contract: targets, stopping, coming back, settling."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.methods import CalibratedEraseToRetain
from mu_monai.methods.calibrated_erase_to_retain import case_targets

QUICK = ["batch_size=4", "learning_rate=0.003", "epoch_length=4", "score_interval=50", "method#warmup=0"]


@pytest.fixture
def unlearn(tasks, tmp_path):
    def run(*settings, task="masks", name="run", **options):
        chosen = tasks[task]
        return workflow.unlearn(
            chosen.bundle,
            split=options.pop("split", chosen.split),
            teacher=chosen.teacher,
            out=tmp_path / name,
            method="calibrated-erase-to-retain",
            settings=[*QUICK, *settings],
            overlays=chosen.overlays,
            quiet=True,
            **options,
        )

    return run


def record(run) -> dict:
    return json.loads((run / "run.json").read_text())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hinge_weight": -1}, "method#hinge_weight=-1 is not allowed"),
        ({"target": "mean"}, "method#target='mean' is not known; use one of quantiles, median"),
        ({"warmup": -1}, "method#warmup=-1 is not allowed; use a whole number of 0 or more"),
        ({"settle_steps": 1.5}, "method#settle_steps=1.5"),
        ({"settle_learning_rate": 0}, "method#settle_learning_rate=0"),
        ({"stop_at": "retrained"}, "method#stop_at='retrained' is not known; use one of null, reference"),
        ({"tolerance": 0.5}, r"method#tolerance=0.5 is not allowed; use a number in \(0, 0.5\)"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        CalibratedEraseToRetain(forget_loader=[], **setting)


class TestTargets:
    forget = {"a": 0.3, "b": 0.1, "c": 0.2}  # noqa: RUF012

    def test_the_median_is_one_target_for_all(self):
        assert case_targets(self.forget, [0.5, 0.7, 0.9], "median") == {"a": 0.7, "b": 0.7, "c": 0.7}

    def test_quantiles_keep_the_order_of_the_forget_cases(self):
        assert case_targets(self.forget, [0.5, 0.7, 0.9], "quantiles") == pytest.approx(
            {"b": 0.5 + 0.4 / 6, "c": 0.7, "a": 0.9 - 0.4 / 6}
        )

    @given(st.lists(st.floats(0, 5), min_size=1, max_size=9), st.lists(st.floats(0, 5), min_size=1, max_size=9))
    def test_targets_never_leave_the_range_of_the_unseen_losses(self, forget, unseen):
        cases = {str(number): loss for number, loss in enumerate(forget)}
        for target in ("median", "quantiles"):
            found = np.array(list(case_targets(cases, unseen, target).values()))
            assert ((found >= min(unseen) - 1e-9) & (found <= max(unseen) + 1e-9)).all()


def test_the_targets_are_the_teachers_losses_on_unseen_cases(unlearn):
    run = unlearn("max_epochs=1", "method#target=median")
    scores = pd.read_csv(run / "scores.csv").query("model == 'teacher' and subset == 'validation'")
    targets = record(run)["measurements"]["targets"]
    assert targets["lowest"] == targets["highest"] == pytest.approx(scores["loss"].median(), rel=1e-4)


def test_it_stops_by_itself_where_forget_cases_are_like_unseen_ones(unlearn, monkeypatch):
    values = iter([0.9, 0.7, 0.54, 0.5])
    monkeypatch.setattr("mu_monai.engine.stop_at_reference.loss_auc", lambda forget, unseen: next(values))
    run = unlearn("max_epochs=40", "method#tolerance=0.05")
    assert pd.read_csv(run / "curve.csv")["forget_auc"].tolist() == [0.9, 0.7, 0.54]
    assert record(run)["measurements"]["steering"]["nearest"] == 3
    assert not any("before it reached its reference" in warning for warning in record(run)["warnings"])


def test_what_was_not_reached_is_said(unlearn):
    run = unlearn("max_epochs=1", "learning_rate=1e-9", "method#tolerance=0.01")
    assert any("before it reached its reference" in warning for warning in record(run)["warnings"])


def test_settling_lowers_the_loss_of_retained_cases_at_its_own_rate(unlearn):
    settled = unlearn("max_epochs=2", "learning_rate=1e-9", "method#settle_steps=5", "method#settle_learning_rate=0.01")
    assert record(settled)["measurements"]["drift"]["total"] > 1e-3, "the rate of settling moved them"
    settling = pd.read_csv(settled / "curve.csv")["settling"]
    assert settling.iloc[1] < settling.iloc[0]


def test_forgetting_too_far_is_led_back(unlearn, monkeypatch):
    """A teacher that answers its forget cases worse than unseen ones: the hinge pulls them back."""
    seen = []
    step = CalibratedEraseToRetain._forget_loss

    def note(self, engine):
        loss = step(self, engine)
        seen.append((self._reference.watch.overshot, float(loss.detach())))
        return loss

    monkeypatch.setattr(CalibratedEraseToRetain, "_forget_loss", note)
    auc = "mu_monai.engine.stop_at_reference.loss_auc"
    monkeypatch.setattr(auc, lambda forget, unseen: 0.1 if len(seen) < 6 else 0.5)
    run = unlearn("max_epochs=4", "epoch_length=2", "method#tolerance=0.05")
    assert [overshot for overshot, _ in seen] == [False] * 2 + [True] * 4, "and it went on after overshooting"
    assert len(pd.read_csv(run / "curve.csv")) == 3


def test_unseen_cases_are_needed(unlearn):
    with pytest.raises(InputError, match="unseen cases"):
        unlearn("method#unseen_loader=null", "method#stop_at=reference")


def test_a_preset_of_another_method_is_refused(unlearn):
    with pytest.raises(InputError, match="contradict each other"):
        unlearn(preset="paper")


def test_it_forgets_cases_and_refuses_classes(unlearn):
    with pytest.raises(InputError, match=r"CalibratedEraseToRetain cannot forget classes \(lesion\), only cases"):
        unlearn(task="volumes", forget_classes=["lesion"])


@pytest.mark.parametrize(("kind", "warned"), [("where", True), ("fraction", False)])
def test_a_forget_set_chosen_by_a_condition_may_have_another_reference(unlearn, tasks, caplog, kind, warned):
    content = json.loads(Path(tasks["masks"].split).read_text())
    content["provenance"]["selector"] = {"kind": kind, "value": "device == 'a'"}
    split = Path(tasks["masks"].split).with_name(f"by-{kind}.json")  # beside it: paths of images are relative
    split.write_text(json.dumps(content))
    unlearn("max_epochs=1", "epoch_length=1", "method#settle_steps=0", split=split)
    assert ("chosen by a condition" in caplog.text) == warned
