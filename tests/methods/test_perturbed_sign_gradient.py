"""What relabeling at the boundary does beyond the contract: its settings, its targets, and what it equals."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.methods import PerturbedSignGradient
from mu_monai.methods.perturbed_sign_gradient import OriginalModel

METHOD = "perturbed-sign-gradient"
QUICK = ["batch_size=4", "epoch_length=3", "learning_rate=0.003", "max_epochs=2", "score_interval=50"]
SHRINK = [
    *("method#steps=1", "method#step_size=0.1", "method#noise=0", "method#closeness=0", "method#bisections=0"),
    *("method#confidence=0", "method#on_fail=keep", "method#remain_weight=0", "method#relabel=every_step"),
]


@pytest.fixture
def unlearn(tasks, tmp_path):
    def run(*settings, task="classes", name="run", method=METHOD, **options):
        chosen = tasks[task]
        return workflow.unlearn(
            chosen.bundle,
            split=chosen.split,
            teacher=chosen.teacher,
            out=tmp_path / name,
            method=method,
            settings=[*QUICK, *settings],
            overlays=chosen.overlays,
            quiet=True,
            **options,
        )

    return run


def record(run) -> dict:
    return json.loads((run / "run.json").read_text())


def weights(run) -> dict[str, torch.Tensor]:
    return torch.load(run / "model.pt", weights_only=True)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "method#steps=0 is not allowed; use a whole number of 1 or more"),
        ({"step_size": 0}, "method#step_size=0 is not allowed; use a number above 0"),
        ({"radius": -1}, "method#radius=-1 is not allowed; use a number above 0"),
        ({"closeness": -1}, "method#closeness=-1 is not allowed; use a number of 0 or more"),
        ({"noise": float("inf")}, "method#noise=inf is not allowed"),
        ({"remain_weight": -0.1}, "method#remain_weight=-0.1 is not allowed"),
        ({"bisections": -1}, "method#bisections=-1 is not allowed; use a whole number of 0 or more"),
        ({"confidence": 1.1}, r"method#confidence=1.1 is not allowed; use a number in \[0, 1\]"),
        ({"top_k": 1.5}, "method#top_k=1.5 is not allowed"),
        ({"temperature": 0}, "method#temperature=0 is not allowed"),
        ({"intensity_range": [1, 1]}, r"method#intensity_range=\[1, 1\] is not allowed; use \[lowest, highest\]"),
        ({"intensity_range": 1}, "method#intensity_range=1 is not allowed"),
        ({"schedule": "linear"}, "method#schedule='linear' is not known; use one of constant, sqrt"),
        ({"noise_distribution": "beta"}, "use one of normal, laplace, cauchy, uniform"),
        ({"noise_scale": "mean"}, "use one of relative, absolute"),
        ({"on_fail": "drop"}, "method#on_fail='drop' is not known; use one of runner_up, skip, keep"),
        ({"label_mode": "logits"}, "use one of hard, soft, top-k"),
        ({"remain_target": "student"}, "use one of labels, teacher"),
        ({"relabel": "never"}, "use one of once, every_step"),
        ({"psg_variant": "paper"}, "use one of clean, released"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        PerturbedSignGradient(forget_loader=[], **setting)


@pytest.mark.parametrize("task", ["classes", "masks"])
def test_without_noise_closeness_and_search_it_is_boundary_shrink(unlearn, task):
    ours = unlearn(*SHRINK, task=task, name="ours")
    shrink = unlearn(task=task, name="shrink", method="boundary-shrink")
    found, expected = weights(ours), weights(shrink)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    noisy = weights(unlearn(*SHRINK, "method#noise=100", task=task, name="noisy"))
    assert any(not torch.equal(noisy[name], expected[name]) for name in expected), "the settings act at all"


def test_every_forget_case_ends_on_the_answer_at_its_boundary(unlearn):
    run = unlearn("max_epochs=12", "method#radius=1", "method#steps=20", "method#remain_weight=0")
    boundary = record(run)["measurements"]["boundary"]
    assert boundary["flip_rate"] > 0.5
    assert 0 <= boundary["distance"] <= 1
    assert 0 <= boundary["steps"] <= 20
    assert len(boundary["inner_loss"]) == 21
    assert boundary["inner_loss"][-1] > boundary["inner_loss"][0]
    curve = pd.read_csv(run / "curve.csv")
    assert curve["forget"].iloc[-1] < curve["forget"].iloc[0]
    assert "supervised" not in curve, "forget cases alone"
    scores = pd.read_csv(run / "scores.csv").query("subset == 'forget'").groupby("model")["loss"].mean()
    assert scores["student"] > scores["teacher"]
    assert curve["inner_loss_first"].tolist() == pytest.approx([boundary["inner_loss"][0]] * 12, rel=1e-5)
    assert curve["inner_loss_last"].tolist() == pytest.approx([boundary["inner_loss"][-1]] * 12, rel=1e-5)
    assert curve["flip_rate"].tolist() == pytest.approx([boundary["flip_rate"]] * 12, rel=1e-5)


def test_it_warns_where_hardly_a_case_flips_and_says_how_many(unlearn):
    run = unlearn("method#radius=1e-7", "max_epochs=1", task="volumes")
    (warning,) = [text for text in record(run)["warnings"] if "of the forget cases" in text and "method#radius" in text]
    rate = record(run)["measurements"]["boundary"]["flip_rate"]
    assert rate < 0.1
    assert f"only {rate:.0%} of the forget cases" in warning
    assert "within 1e-07" in warning
    flipping = unlearn("method#radius=1", "method#step_size=0.2", "max_epochs=1", task="volumes", name="flipping")
    assert record(flipping)["measurements"]["boundary"]["flip_rate"] > 0.5
    assert not any("method#radius" in text for text in record(flipping)["warnings"])


def test_the_remain_term_learns_labels_or_the_teacher(unlearn):
    labels = pd.read_csv(unlearn(name="labels") / "curve.csv")
    teacher = pd.read_csv(unlearn("method#remain_target=teacher", name="teacher") / "curve.csv")
    assert "supervised" in labels
    assert "distillation" not in labels
    assert "distillation" in teacher
    assert "supervised" not in teacher
    assert (teacher["total"] - teacher["forget"]).tolist() == pytest.approx(teacher["distillation"].tolist(), rel=0.1)


def test_released_is_one_step_and_labels_anew(unlearn):
    run = unlearn("method#psg_variant=released", "method#steps=7", "method#remain_weight=0")
    boundary = record(run)["measurements"]["boundary"]
    assert len(boundary["inner_loss"]) == 2
    assert boundary["steps"] == 1


@pytest.mark.parametrize("trainable", ["all", "adapters"])
def test_the_original_model_does_not_move_with_the_student(unlearn, monkeypatch, trainable):
    """Labels that are made anew at every step come from the model that the run started from."""
    seen = []
    boundary = OriginalModel.boundary

    def note(self, image, label):
        seen.append([value.clone() for value in self._network.state_dict().values()])
        return boundary(self, image, label)

    monkeypatch.setattr(OriginalModel, "boundary", note)
    unlearn("method#relabel=every_step", "learning_rate=0.1", f"network#trainable={trainable}")
    assert len(seen) > 2
    assert all(torch.equal(first, last) for first, last in zip(seen[0], seen[-1], strict=True))


class TestRelabeling:
    """Three cases of four classes: the first flips, the others do not."""

    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0], [5.0, 1.0, 2.0, 0.0], [5.0, 4.0, 3.0, 0.0]])
    label = torch.tensor([0, 0, 0])

    def relabel(self, monkeypatch, **given):
        method = PerturbedSignGradient(forget_loader=[], task="classification", **given)
        method._original = self
        return method._relabel(torch.zeros(3, 1, 2, 2), self.label)

    def boundary(self, image, label):
        from mu_monai.methods.boundary_search import BoundaryPoints

        flipped = torch.tensor([True, False, False])
        points = BoundaryPoints(
            image=image, offset=image, flipped=flipped, steps=flipped.long(), losses=torch.zeros(2, 3)
        )
        return points, self.logits

    @pytest.mark.parametrize(
        ("on_fail", "answers", "weight"),
        [("runner_up", [1, 2, 1], [1, 1, 1]), ("keep", [1, 0, 0], [1, 1, 1]), ("skip", [1, 0, 0], [1, 0, 0])],
    )
    def test_what_does_not_flip(self, monkeypatch, on_fail, answers, weight):
        found = self.relabel(monkeypatch, on_fail=on_fail)
        assert torch.equal(found.target, torch.eye(4)[answers])
        assert found.weight.tolist() == weight

    def test_soft_labels_are_probabilities_at_a_temperature(self, monkeypatch):
        found = self.relabel(monkeypatch, label_mode="soft", temperature=2.0, on_fail="keep")
        assert torch.allclose(found.target, (self.logits / 2).softmax(1))

    def test_top_k_labels_leave_the_rest_out_and_sum_to_one(self, monkeypatch):
        found = self.relabel(monkeypatch, label_mode="top-k", top_k=2, on_fail="keep")
        assert torch.allclose(found.target[0], torch.tensor([0, 1 / (1 + torch.e**-1), 1 / (1 + torch.e), 0]))
        assert torch.allclose(found.target.sum(1), torch.ones(3))

    def test_the_runner_up_of_a_soft_label_has_nothing_of_the_truth(self, monkeypatch):
        found = self.relabel(monkeypatch, label_mode="soft")
        assert found.target[:, 0].tolist() == pytest.approx([self.logits[0].softmax(0)[0].item(), 0, 0])
        assert torch.allclose(found.target[1, 1:], self.logits[1, 1:].softmax(0))

    def test_a_batch_of_skipped_cases_teaches_nothing(self, unlearn):
        run = unlearn("method#on_fail=skip", "method#radius=1e-7", "method#remain_weight=0", task="masks")
        assert pd.read_csv(run / "curve.csv")["forget"].tolist() == [0, 0]


def test_a_given_range_is_kept_and_a_measured_one_is_that_of_the_images(unlearn, monkeypatch):
    ends = []
    start = PerturbedSignGradient.on_start

    def note(self, engine):
        start(self, engine)
        ends.append((self._original._low.flatten().tolist(), self._original._high.flatten().tolist()))

    monkeypatch.setattr(PerturbedSignGradient, "on_start", note)
    unlearn("max_epochs=1", name="measured")
    unlearn("max_epochs=1", "method#intensity_range=[-1, 1]", name="given")
    (low, high), given = ends
    assert given == ([-1.0], [1.0])
    assert len(low) == len(high) == 3
    assert all(-1 <= a < b <= 1 for a, b in zip(low, high, strict=True))
