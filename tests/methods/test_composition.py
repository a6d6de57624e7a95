"""What composition does beyond the contract: whose weights are where, and what is fine-tuned."""

from __future__ import annotations

import json

import pytest
import torch

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.methods import Composition
from mu_monai.runs import RunRecord, file_digests, write_record

QUICK = ["batch_size=4", "score_interval=50", "max_epochs=1"]
STILL = ["learning_rate=1e-12", "optimizer#weight_decay=0"]  # no step is seen in single precision


def weights(run):
    return torch.load(run / "model.pt", weights_only=True)


def measured(run):
    return json.loads((run / "run.json").read_text())["measurements"]["composition"]


@pytest.fixture(scope="module")
def unlearn(tasks, tmp_path_factory):
    def run(task, *settings, method=None):
        chosen = tasks[task]
        return workflow.unlearn(
            chosen.bundle,
            split=chosen.split,
            teacher=chosen.teacher,
            out=tmp_path_factory.mktemp("run") / "run",
            method=method,
            settings=[*QUICK, *settings],
            overlays=chosen.overlays,
            quiet=True,
        )

    return run


@pytest.fixture(scope="module")
def parents(unlearn):
    """Two runs of the classifier, with adapters in other layers."""
    return (
        unlearn("classes", "learning_rate=0.01"),
        unlearn("classes", "learning_rate=0.02", "network#scope=all", "seed=3"),
    )


@pytest.fixture(scope="module")
def compose(unlearn, parents):
    def run(*settings):
        folders = [
            f"method#{name}={folder}" for name, folder in zip(("good_retain", "good_forget"), parents, strict=True)
        ]
        return unlearn("classes", *folders, *settings, method="composition")

    return run


def test_the_head_comes_from_the_one_run_and_all_else_from_the_other(compose, parents):
    run = compose(*STILL)
    (first, second), found = map(weights, parents), weights(run)
    heads = [name for name in found if name.startswith("fc.")]
    for name, value in found.items():
        torch.testing.assert_close(value, (second if name in heads else first)[name], rtol=0, atol=1e-9)
    assert not torch.equal(first["fc.weight"], second["fc.weight"])
    assert measured(run)["transplanted"] == heads == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_weights_are_interpolated(compose, parents, share):
    found = weights(compose("method#how=weights", f"method#share={share}", *STILL))
    first, second = map(weights, parents)
    for name, value in found.items():
        expected = (1 - share) * first[name].double() + share * second[name].double()
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-6)


def test_adapters_are_added_up_on_the_teacher(compose, parents, tasks):
    found = weights(compose("method#how=adapters", "method#share=0.25", *STILL))
    teacher, first, second = map(weights, (tasks["classes"].teacher, *parents))
    for name, value in found.items():
        expected = first[name].double() + 0.25 * (second[name].double() - teacher[name].double())
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-6)


def test_fine_tuning_the_head_alone_leaves_the_features(compose, parents):
    found, (first, second) = weights(compose("method#fine_tune=head", "learning_rate=0.01")), map(weights, parents)
    moved = {name for name, value in found.items() if not torch.equal(value, first[name])}
    assert moved == {"fc.weight", "fc.bias"}
    assert not torch.equal(found["fc.weight"], second["fc.weight"])


def test_the_record_names_both_runs_with_their_weights(compose, parents):
    run = compose()
    made = measured(run)
    for name, folder in zip(("good_retain", "good_forget"), parents, strict=True):
        own = json.loads((folder / "run.json").read_text())
        assert made[name] == {"run": str(folder), "method": "EraseToRetain", "weights": own["sha256"]["weights"]}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"how": "layers"}, "method#how='layers' is not known; use one of head, weights, adapters"),
        ({"fine_tune": "none"}, "method#fine_tune='none' is not known; use one of all, head"),
        ({"share": 1.5}, r"method#share=1.5 is not allowed; use a number in \[0, 1\]"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        Composition(forget_loader=[], **setting)


def test_a_composition_needs_two_runs_and_all_weights(unlearn):
    with pytest.raises(InputError) as caught:
        unlearn("classes", "network#trainable=adapters", method="composition")
    told = caught.value.problems
    assert "leave network#trainable at 'all'" in told[0]
    assert "method#good_retain='' is not a run folder" in told[1]
    assert "mu-monai compose GOOD_RETAIN GOOD_FORGET" in told[2]


def test_a_run_of_another_teacher_is_refused(compose, unlearn, parents, tmp_path):
    (tmp_path / "foreign").mkdir()
    own = json.loads((parents[1] / "run.json").read_text())
    own["sha256"]["starting_weights"] = "0" * 64
    write_record(tmp_path / "foreign", RunRecord.from_json({**own, "files": file_digests(tmp_path / "foreign")}))
    with pytest.raises(
        InputError, match=r"started from weights with SHA-256 0{64}, .* compose runs of the same teacher"
    ):
        compose(f"method#good_forget={tmp_path / 'foreign'}")


def test_a_run_that_forgot_other_cases_is_refused(compose, parents, tmp_path):
    own = json.loads((parents[1] / "run.json").read_text())
    own["sha256"]["split"] = "0" * 64
    write_record(tmp_path, RunRecord.from_json({**own, "files": file_digests(tmp_path)}))
    with pytest.raises(InputError, match=r"different splits .* compose runs that forgot the same cases"):
        compose(f"method#good_forget={tmp_path}")
