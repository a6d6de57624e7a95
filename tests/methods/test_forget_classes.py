"""Forgetting a class of a mask: everywhere, beside what stays, by every schedule that can; refused where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from monai.inferers import SimpleInferer
from typer.testing import CliRunner

from mu_monai import cli, workflow
from mu_monai.adapters import weights_sha256
from mu_monai.errors import InputError
from mu_monai.methods import EraseToRetain

QUICK = ["max_epochs=2", "batch_size=4", "learning_rate=0.01"]
ORGAN = {"forget_loader": [], "softmax": True, "forget_classes": [1]}


@pytest.fixture
def unlearn(tasks, tmp_path):
    def run(*settings, bundle="volumes", name="run", **options):
        task = tasks[bundle]
        chosen = {"split": task.split, "teacher": task.teacher, "forget_classes": ["organ"], **options}
        return workflow.unlearn(task.bundle, out=tmp_path / name, settings=[*QUICK, *settings], quiet=True, **chosen)

    return run


@pytest.fixture
def without_forget_cases(tasks, tmp_path) -> str:
    """The volumes' split with nobody to forget."""
    source = Path(tasks["volumes"].split)
    content = json.loads(source.read_text()) | {"forget": []}
    for subset in ("retain", "validation", "test"):
        for case in content[subset]:
            case |= {key: str(source.parent / case[key]) for key in ("image", "label")}
    digests = content["provenance"]["sha256"]
    content["provenance"]["sha256"] = {str(source.parent / path): digest for path, digest in digests.items()}
    (tmp_path / "split.json").write_text(json.dumps(content))
    return str(tmp_path / "split.json")


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model.pt", weights_only=True)


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"forget_classes": [0]}, r"forget_classes=\[0\] is not allowed; use channels from 1 up"),
            ({"forget_classes": ["organ"]}, "use channels from 1 up"),
            ({"softmax": False}, "needs masks that are a softmax over classes"),
            ({"task": "classification", "forget_terms": {"uniform": 1}}, "needs masks that are a softmax over classes"),
            ({"guard_reduction": "sum"}, "guard_reduction=sum is not defined; use mean"),
            ({"schedule": "two_phase"}, "forget_classes.* two_phase.* use the schedule joint"),
            (
                {"forget_terms": {"total_variation": 1}},
                "'total_variation' cannot forget classes of a mask: it compares",
            ),
            ({"forget_terms": {"mean_probability": 1}}, "'mean_probability' cannot forget classes of a mask"),
            ({"forget_terms": {"repulsion": 1}}, "'repulsion' cannot forget classes of a mask"),
        ],
    )
    def test_what_does_not_go_with_it_is_refused(self, setting, message):
        with pytest.raises(InputError, match=message):
            EraseToRetain(**ORGAN | setting)

    def test_they_are_kept_in_the_record_and_whole_cases_are_not(self):
        settings = EraseToRetain(**ORGAN).settings()
        assert settings["forget_classes"] == [1]
        assert not settings.keys() & {"forget_loader", "whole"}


class TestRuns:
    @pytest.mark.parametrize("schedule", ["joint", "alternate_step", "alternate_epoch"])
    def test_the_class_turns_into_background(self, unlearn, schedule):
        run = unlearn(f"method#schedule={schedule}", "max_epochs=3")
        found, curve = record(run), pd.read_csv(run / "curve.csv")
        assert all(check["passed"] for check in found["checks"]), found["checks"]
        assert (found["role"], found["forget_classes"]) == ("student", ["organ"])
        assert curve["background"].is_monotonic_decreasing
        assert 0 < found["measurements"]["margins"]["delta"] <= 1

    @pytest.mark.parametrize("term", ["label_flip", "teacher_contradiction", "entropy", "uniform", "random_label"])
    def test_every_other_term_that_acts_on_places_trains(self, unlearn, term):
        curve = pd.read_csv(unlearn(f'method#forget_terms={{"{term}": 1}}', "max_epochs=1") / "curve.csv")
        assert curve[[term, "distillation", "guard", "supervised"]].notna().all(axis=None)

    def test_the_same_seed_gives_the_same_weights(self, unlearn):
        first, second = (weights_sha256(weights(unlearn("max_epochs=1", name=name))) for name in "ab")
        assert first == second

    def test_the_drift_stays_within_its_limit(self, unlearn):
        drift = record(unlearn("method#max_adapter_norm=0.05"))["measurements"]["drift"]
        assert 0 < drift["total"] <= 0.05 * 1.0001

    def test_the_split_needs_nobody_to_forget(self, unlearn, without_forget_cases):
        run = unlearn("max_epochs=1", split=without_forget_cases)
        assert set(pd.read_csv(run / "scores.csv")["subset"]) == {"retain", "validation", "test"}
        with pytest.raises(InputError, match=r"subset 'forget' of .* is empty"):
            unlearn(split=without_forget_cases, forget_classes=[], name="cases")

    @pytest.mark.parametrize("value", [0, 1])
    def test_a_patch_may_be_all_of_the_class_or_hold_none_of_it(self, unlearn, monkeypatch, value):
        batch = EraseToRetain.forget_batch
        monkeypatch.setattr(EraseToRetain, "forget_batch", lambda *given: _filled(batch(*given), value))
        curve = pd.read_csv(unlearn("max_epochs=1") / "curve.csv")
        assert curve[["supervised", "distillation", "guard", "background", "total"]].notna().all(axis=None)
        assert (curve["background"][0] == 0) == (value == 0)

    def test_teacher_and_student_see_the_same_patches(self, unlearn, monkeypatch):
        seen, steps = [], []
        apply, on_loss = SimpleInferer.__call__, EraseToRetain.on_loss

        def watched(self, image, *rest, **options):
            seen.append(image)
            return apply(self, image, *rest, **options)

        def compared(self, engine):
            del seen[:-1]  # the trainer has just applied its network to its own patches
            on_loss(self, engine)
            ours, teachers, forgotten, teachers_forgotten = seen
            steps.append(torch.equal(ours, teachers) and torch.equal(forgotten, teachers_forgotten))

        monkeypatch.setattr(SimpleInferer, "__call__", watched)
        monkeypatch.setattr(EraseToRetain, "on_loss", compared)
        unlearn("max_epochs=1")
        assert steps
        assert all(steps)


class TestRefusals:
    def test_a_trainer_that_teaches_the_class_is_refused(self, unlearn):
        with pytest.raises(InputError, match=r"the trainer's labels .* method#forget_classes="):
            unlearn("method#forget_classes=[1]", forget_classes=[])

    def test_a_channel_that_the_network_does_not_have_is_refused(self, unlearn):
        with pytest.raises(InputError, match=r"forget_classes=\[7\] is not allowed for a network with 3 channels; use"):
            unlearn("method#forget_classes=[7]", forget_classes=[])

    def test_a_bundle_without_classes_of_masks_is_refused(self, unlearn):
        with pytest.raises(InputError, match="--forget-class organ is not for this bundle: its config has no id"):
            unlearn(bundle="masks")

    @pytest.mark.parametrize(
        ("names", "message"),
        [(["lesoin"], "did you mean 'lesion'"), (["organ", "lesion"], "keep at least one besides the background")],
    )
    def test_names_that_cannot_be_forgotten_are_refused(self, unlearn, names, message):
        with pytest.raises(InputError, match=message):
            unlearn(forget_classes=names)

    def test_a_name_that_is_no_list_is_refused(self, unlearn):
        with pytest.raises(InputError, match=r"--set forget_classes=organ .*; use --forget-class"):
            unlearn("forget_classes=organ", forget_classes=[])

    def test_another_class_is_no_way_to_resume(self, unlearn, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr("mu_monai.engine.run.self_checks", _killed)
            with pytest.raises(KeyboardInterrupt):
                unlearn()
        with pytest.raises(InputError, match=r"forget_classes was \['organ'\] and is now \['lesion'\]"):
            unlearn(forget_classes=["lesion"], resume=True)


class TestRetrained:
    """Trained as if there had never been such a class."""

    @pytest.fixture(scope="class")
    def retrained(self, tasks, tmp_path_factory) -> Path:
        out = tmp_path_factory.mktemp("class") / "retrained"
        config = json.loads((tasks["volumes"].teacher / "config.json").read_text())
        keys = ("network_def", "patch_size", "spacing")
        small = [f"{key}={json.dumps(config[key])}" for key in keys]
        arguments = ["train", "volume3d", "--split", tasks["volumes"].split, "--forget-class", "organ", "--quiet"]
        sets = [part for setting in [*small, "max_epochs=1"] for part in ("--set", setting)]
        done = CliRunner().invoke(cli.app, [*arguments, *sets, "--out", str(out)])
        assert done.exit_code == 0, done.output
        return out

    def test_it_has_the_role_whatever_it_was_trained_on(self, retrained):
        found = record(retrained)
        assert (found["role"], found["forget_classes"]) == ("retrained", ["organ"])
        assert found["subsets"] == ["retain", "forget"]

    def test_it_has_nothing_to_forget(self, unlearn, retrained):
        with pytest.raises(InputError, match=r"was itself made without it .*forget_classes organ"):
            unlearn(teacher=retrained)
        assert unlearn(teacher=retrained, forget_classes=["lesion"]).is_dir()


def _filled(batch, value):
    image, label, cases = batch
    return image, torch.full_like(label, value), cases


def _killed(*_, **__):
    raise KeyboardInterrupt
