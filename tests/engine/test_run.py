"""The run folder: what it holds, when it says no, and that stopping a run costs nothing."""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import replace
from datetime import datetime
from functools import partialmethod
from importlib.metadata import version
from pathlib import Path
from unittest.mock import ANY

import pandas as pd
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.engines.utils import IterationEvents
from safetensors.torch import load_file

from mu_monai.adapters import load_student, load_weights, read_weights, weights_sha256
from mu_monai.engine.checks import self_checks
from mu_monai.engine.curve import record_term
from mu_monai.engine.run import RunFolder, role_of, running_config
from mu_monai.engine.running_config import changed_ids
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json
from mu_monai.runs import RunRecord, add_files, read_record, write_record


def record(run) -> dict:
    return read_json(run.folder / "run.json")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def stop(error: type[BaseException]):
    def raise_it(engine):
        raise error("stopped here")

    return raise_it


class TestFinishedUnlearning:
    """One short run, looked at from all sides."""

    @pytest.fixture
    def trainer(self, run, monkeypatch):
        monkeypatch.setattr("sys.argv", ["/usr/bin/mu-monai", "unlearn", "small", "--set", "name=a b"])
        trainer = run.unlearning()
        trainer.run()
        return trainer

    def test_it_holds_the_documented_files_and_no_checkpoint(self, trainer, run):
        assert files(run.folder) == {
            "run.json",
            "model.pt",
            "curve.csv",
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
            "adapter/base.json",
        }
        assert not (run.folder / "checkpoints").exists()

    def test_run_json_says_what_was_done(self, trainer, run):
        content = record(run)
        expected = {
            "format": 2,
            "verb": "unlearn",
            "status": "finished",
            "role": "student",
            "bundle": {"name": "small", "version": "0.1.0", "task": "segmentation", "root": "bundles/small"},
            "subsets": ["retain", "forget"],
            "forget_classes": [],
            "preset": None,
            "measurements": {"drift": {"total": 1.5}},
            "method": {"name": "Push", "settings": {"weight": 3.0}, "target": ANY, "package": None, "version": None},
            "seed": 0,
            "max_epochs": 2,
            "device": "cpu",
            "precision": "fp32",
            "processes": 1,
            "teacher": str(Path("runs/teacher/model.pt").absolute()),
            "parameters": trainer.network.budget(),
            "command": "mu-monai unlearn small --set 'name=a b'",
        }
        assert {key: content[key] for key in expected} == expected
        assert set(content) == {
            *expected,
            *(
                "versions",
                "sha256",
                "split",
                "checks",
                "warnings",
                "started",
                "cost",
                "seconds",
                "cpu_seconds",
                "peak_memory_mib",
                "files",
                "digest",
            ),
        }

    def test_run_json_says_with_what_and_when(self, trainer, run, make_unet):
        content = record(run)
        assert content["versions"]["torch"] == version("torch")
        assert content["versions"]["monai"] == version("monai")
        assert content["versions"]["mu_monai"] == version("mu-monai")
        assert content["versions"]["python"] == platform.python_version()
        assert content["sha256"] == {
            "split": file_sha256(run.split),
            "config": None,
            "starting_weights": weights_sha256(make_unet().state_dict()),
            "weights": weights_sha256(read_weights(run.folder)),
        }
        assert datetime.fromisoformat(content["started"]).tzinfo is not None
        assert 0 < content["seconds"] < 60
        assert 0 < content["cpu_seconds"] < 60
        assert content["peak_memory_mib"] > 0

    @pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
    def test_the_peak_memory_is_the_run_s_own(self, trainer, run):
        large = torch.ones(2**26)  # 256 MiB, of whoever used this process before
        high = record(run)["peak_memory_mib"] + large.numel() * 4 / 2**20
        del large
        run.unlearning(folder=run.folder.with_name("later")).run()
        later = read_json(run.folder.with_name("later") / "run.json")["peak_memory_mib"]
        assert later < high - 100

    def test_the_peak_of_a_run_on_the_cpu_is_not_that_of_a_gpu(self, run, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 0)
        run.unlearning(folder=run.folder.with_name("later")).run()
        assert read_json(run.folder.with_name("later") / "run.json")["peak_memory_mib"] > 0

    def test_the_split_is_named_without_the_digest_of_every_file(self, trainer, run):
        content = record(run)["split"]
        assert content["file"] == str(run.split)
        assert content["provenance"]["seed"] == 3
        assert "sha256" not in content["provenance"]

    def test_every_self_check_passed(self, trainer, run):
        checks = record(run)["checks"]
        assert len(checks) == 5
        assert all(check["passed"] for check in checks)

    def test_the_curve_holds_terms_and_subset_metrics(self, trainer, run):
        table = pd.read_csv(run.folder / "curve.csv")
        assert table["epoch"].tolist() == [1, 2]
        metrics = {f"{s}_{m}" for s in ("retain", "forget", "validation") for m in ("loss", "dice")}
        assert set(table.columns) == {"epoch", "seconds", "passes", "steps", "total", *metrics}
        assert table.notna().all().all()
        assert table["seconds"].is_monotonic_increasing

    def test_the_weights_are_the_merged_student(self, trainer, run, make_unet):
        image = torch.randn(1, 1, 16, 16)
        plain = load_weights(make_unet(seed=9), run.folder).eval()
        assert torch.equal(plain(image), trainer.network.eval()(image))
        state = torch.load(run.folder / "model.pt", weights_only=True)
        assert list(state) == list(make_unet().state_dict())
        assert not any(value.requires_grad for value in state.values())

    def test_the_adapter_brings_student_and_teacher_back(self, trainer, run, make_unet):
        image = torch.randn(1, 1, 16, 16)
        student = load_student(make_unet(), run.folder / "adapter")
        assert torch.equal(student(image), trainer.network.eval()(image))
        assert torch.equal(student.teacher(image), make_unet()(image))


def tensors_in(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    return [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, list | tuple) else []


def test_no_weight_of_the_teacher_lies_in_checkpoints_or_adapter(run, at, make_unet):
    """The merged model aside, which is a model of its own, a run folder can be handed on without the teacher."""
    seen: dict[str, list[torch.Tensor]] = {}

    def look(engine):
        for path in run.folder.rglob("*"):
            if path.suffix == ".pt" and path.name != "model.pt":
                seen[path.name] = tensors_in(torch.load(path, weights_only=True))
            elif path.suffix == ".safetensors":
                seen[path.name] = list(load_file(path).values())

    run.unlearning(after=[at(Events.EPOCH_COMPLETED, look), at(Events.COMPLETED, look)]).run()
    assert set(seen) == {"last.pt", "adapter_model.safetensors"}
    frozen = [value for value in make_unet().state_dict().values() if value.numel() > 1]
    assert all(seen.values())
    for name, values in seen.items():
        shared = [v.shape for v in values for w in frozen if v.shape == w.shape and torch.equal(v, w)]
        assert not shared, name


@pytest.mark.parametrize(
    ("subsets", "role"), [(["retain", "forget"], "teacher"), (["retain"], "retrained")], ids=["teacher", "retrained"]
)
def test_a_training_run_has_a_role_and_no_adapter(run, subsets, role):
    trainer = run.training(subsets=subsets)
    trainer.run()
    content = record(run)
    assert (content["verb"], content["role"], content["subsets"]) == ("train", role, subsets)
    assert content["method"] is None
    assert content["teacher"] is None
    assert content["parameters"]["share"] == 1.0
    assert content["parameters"]["trainable"] == sum(p.numel() for p in trainer.network.parameters())
    assert [check["passed"] for check in content["checks"]] == [True]
    assert files(run.folder) == {"run.json", "model.pt", "curve.csv"}
    assert weights_sha256(read_weights(run.folder)) == weights_sha256(trainer.network.state_dict())


@pytest.mark.parametrize(
    ("subsets", "unlearning", "role"),
    [
        (["retain", "forget"], False, "teacher"),
        (["retain"], False, "retrained"),
        (["retain", "forget"], True, "student"),
        (["retain"], True, "student"),
    ],
)
def test_the_role_follows_from_what_was_trained_on(subsets, unlearning, role):
    assert role_of(subsets, unlearning=unlearning) == role


@pytest.mark.parametrize(("unlearning", "role"), [(False, "retrained"), (True, "student")])
@pytest.mark.parametrize("subsets", [["retain"], ["retain", "forget"]])
def test_training_without_a_class_is_what_unlearning_it_is_measured_by(subsets, unlearning, role):
    assert role_of(subsets, ["lesion"], unlearning=unlearning) == role


@pytest.fixture
def without_lesions(monkeypatch):
    """Every run folder from now on is one of a run that forgets a class."""
    monkeypatch.setattr(RunFolder, "__init__", partialmethod(RunFolder.__init__, forget_classes=["lesion"]))


def test_run_json_names_the_classes_to_forget(run, without_lesions):
    run.training().run()
    assert record(run)["forget_classes"] == ["lesion"]
    assert record(run)["role"] == "retrained"


def test_the_salt_of_a_split_stays_in_the_split(run):
    content = json.loads(run.split.read_text())
    run.split.write_text(json.dumps(content | {"provenance": content["provenance"] | {"salt": "deadbeef"}}))
    run.training(epochs=1).run()
    assert not any(b"deadbeef" in (run.folder / name).read_bytes() for name in files(run.folder))


def test_two_runs_with_one_seed_give_the_same_weights_and_curve(run, tmp_path):
    run.unlearning().run()
    run.unlearning(folder=tmp_path / "again").run()
    run.unlearning(folder=tmp_path / "other", seed=1).run()
    one, same, other = (weights_sha256(read_weights(tmp_path / name)) for name in ("run", "again", "other"))
    assert one == same != other
    a, b = (pd.read_csv(tmp_path / name / "curve.csv").drop(columns="seconds") for name in ("run", "again"))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


class TestStopping:
    """A run that ends early says how, and goes on as if it had not."""

    MOMENTS = (
        pytest.param(Events.EPOCH_STARTED, "after", id="epoch starts"),
        pytest.param(IterationEvents.FORWARD_COMPLETED, "after", id="forward pass"),
        pytest.param(IterationEvents.MODEL_COMPLETED, "after", id="optimizer step"),
        pytest.param(Events.EPOCH_COMPLETED, "before", id="before the checkpoint"),
        pytest.param(Events.EPOCH_COMPLETED, "after", id="after the checkpoint"),
    )

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (KeyboardInterrupt, "interrupted"),
            (RuntimeError, "failed"),
            (FloatingPointError, "failed"),
            (SystemExit, "failed"),
        ],
    )
    def test_an_exception_is_passed_on_and_leaves_its_status(self, run, at, error, status):
        trainer = run.unlearning(after=[at(IterationEvents.FORWARD_COMPLETED, stop(error), 2)])
        with pytest.raises(error, match="stopped here"):
            trainer.run()
        content = record(run)
        assert content["status"] == status
        assert content["seconds"] > 0
        assert (run.folder / "checkpoints").is_dir()
        assert not (run.folder / "model.pt").exists()
        assert not (run.folder / "adapter").exists()

    def test_while_it_runs_it_says_so(self, run, at):
        seen = []
        run.unlearning(after=[at(Events.EPOCH_COMPLETED, lambda engine: seen.append(record(run)["status"]))]).run()
        assert seen == ["running", "running"]
        assert record(run)["status"] == "finished"

    def test_a_nan_loss_fails_the_run_and_keeps_the_checkpoint(self, run, at):
        def spoil(engine):
            engine.network.trainable().popitem()[1].data.fill_(float("nan"))

        trainer = run.unlearning(after=[at(Events.EPOCH_STARTED, spoil, 2)])
        with pytest.raises(FloatingPointError, match="the loss is nan in epoch 2"):
            trainer.run()
        assert record(run)["status"] == "failed"
        assert "FloatingPointError: the loss is nan in epoch 2" in (run.folder / "error.log").read_text()
        kept = torch.load(run.folder / "checkpoints" / "last.pt", weights_only=True)
        assert all(torch.isfinite(value).all() for value in kept["network"].values())

    @pytest.mark.parametrize(("event", "side"), MOMENTS)
    @pytest.mark.parametrize("epoch", [2, 3])
    def test_a_resumed_run_equals_an_uninterrupted_one(self, run, at, tmp_path, event, side, epoch):
        run.unlearning(folder=tmp_path / "whole", epochs=3).run()
        with pytest.raises(KeyboardInterrupt, match="stopped here"):
            run.unlearning(epochs=3, **{side: [at(event, stop(KeyboardInterrupt), epoch)]}).run()
        run.unlearning(epochs=3, resume=True).run()
        whole, resumed = (read_weights(tmp_path / name) for name in ("whole", "run"))
        assert weights_sha256(whole) == weights_sha256(resumed)
        a, b = (pd.read_csv(tmp_path / name / "curve.csv").drop(columns="seconds") for name in ("whole", "run"))
        pd.testing.assert_frame_equal(a, b, check_exact=True)
        assert record(run)["status"] == "finished"
        assert all(check["passed"] for check in record(run)["checks"])
        assert not (run.folder / "checkpoints").exists()

    def test_as_many_processes_resume_it(self, run, at, monkeypatch):
        monkeypatch.setattr("mu_monai.engine.run.processes", lambda: 2)
        with pytest.raises(KeyboardInterrupt):
            run.unlearning(epochs=3, after=[at(Events.EPOCH_STARTED, stop(KeyboardInterrupt), 2)]).run()
        monkeypatch.setattr("mu_monai.engine.run.processes", lambda: 1)
        with pytest.raises(InputError, match="processes was 2 and is now 1; resume with the same, or start a new run"):
            run.unlearning(epochs=3, resume=True).run()

    def test_a_run_stopped_while_it_finishes_can_be_resumed(self, run, at, tmp_path):
        run.unlearning(folder=tmp_path / "whole").run()
        with pytest.raises(KeyboardInterrupt, match="stopped here"):
            run.unlearning(before=[at(Events.COMPLETED, stop(KeyboardInterrupt))]).run()
        run.unlearning(resume=True).run()
        assert record(run)["status"] == "finished"
        assert weights_sha256(read_weights(run.folder)) == weights_sha256(read_weights(tmp_path / "whole"))

    def test_a_resumed_run_keeps_its_start_and_counts_its_time(self, run, at):
        with pytest.raises(KeyboardInterrupt, match="stopped here"):
            run.unlearning(after=[at(Events.EPOCH_STARTED, stop(KeyboardInterrupt), 2)]).run()
        content = record(run)
        write_record(run.folder, RunRecord.from_json({**content, "started": "2026-01-31T12:00:00+00:00"}))
        run.unlearning(resume=True).run()
        assert record(run)["started"] == "2026-01-31T12:00:00+00:00"
        seconds = pd.read_csv(run.folder / "curve.csv")["seconds"]
        assert seconds.is_monotonic_increasing
        assert record(run)["seconds"] >= seconds.iloc[-1] > 0
        assert record(run)["cpu_seconds"] is None  # what the killed part took is not known

    def test_a_resumed_run_may_be_longer(self, run, at, tmp_path):
        run.unlearning(folder=tmp_path / "whole", epochs=3).run()
        with pytest.raises(KeyboardInterrupt, match="stopped here"):
            run.unlearning(epochs=2, after=[at(Events.EPOCH_STARTED, stop(KeyboardInterrupt), 2)]).run()
        run.unlearning(epochs=3, resume=True).run()
        assert record(run)["max_epochs"] == 3
        assert weights_sha256(read_weights(run.folder)) == weights_sha256(read_weights(tmp_path / "whole"))

    def test_a_training_run_resumes_too(self, run, at):
        whole = run.training(epochs=3)
        whole.run()
        expected = weights_sha256(whole.network.state_dict())
        for path in sorted(run.folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        run.folder.rmdir()
        first = run.training(epochs=3)
        at(Events.EPOCH_STARTED, stop(KeyboardInterrupt), 3).attach(first)
        with pytest.raises(KeyboardInterrupt, match="stopped here"):
            first.run()
        run.training(epochs=3, resume=True).run()
        assert weights_sha256(read_weights(run.folder)) == expected


class TestRefusals:
    """A folder is never overwritten, and a run never goes on with something else."""

    @pytest.fixture
    def interrupted(self, run, at) -> dict[str, bytes]:
        """A run stopped in its second epoch: the bytes of its files."""
        with pytest.raises(KeyboardInterrupt, match="stopped here"):
            run.unlearning(after=[at(Events.EPOCH_STARTED, stop(KeyboardInterrupt), 2)]).run()
        return {name: (run.folder / name).read_bytes() for name in files(run.folder)}

    @pytest.mark.parametrize("content", ["run.json", "notes.txt", "sub/notes.txt"])
    def test_an_existing_folder_is_refused(self, run, content):
        (run.folder / content).parent.mkdir(parents=True)
        (run.folder / content).write_text("mine")
        with pytest.raises(InputError, match=r"run folder '.*run' exists; give another one, remove it, .* --resume"):
            run.unlearning()
        assert (run.folder / content).read_text() == "mine"

    def test_an_empty_folder_is_taken(self, run):
        run.folder.mkdir()
        run.unlearning(epochs=1).run()
        assert record(run)["status"] == "finished"

    def test_nothing_is_made_before_the_run_starts(self, run):
        run.unlearning()
        assert not run.folder.exists()

    def test_a_folder_without_a_checkpoint_cannot_be_resumed(self, run):
        with pytest.raises(InputError, match="holds no checkpoint to resume from"):
            run.unlearning(resume=True)

    def test_a_finished_run_cannot_be_resumed(self, run):
        run.unlearning(epochs=1).run()
        with pytest.raises(InputError, match=r"only its scores are missing; make them with: mu-monai evaluate .*run"):
            run.unlearning(resume=True)
        for name in ("scores.csv", "examples.npz"):
            (run.folder / name).write_bytes(b"")
            add_files(run.folder, name)
        with pytest.raises(InputError, match="holds no checkpoint to resume from: the run is finished; leave out"):
            run.unlearning(resume=True)

    def test_a_folder_that_filled_after_the_run_was_made_is_not_touched(self, run):
        trainer = run.unlearning(epochs=1)
        run.folder.mkdir()
        (run.folder / "run.json").write_text("{}")
        with pytest.raises(InputError, match="exists; give another one"):
            trainer.run()
        assert (run.folder / "run.json").read_text() == "{}"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"weight": 1.0}, r"method was .*'weight': 3\.0.* and is now .*'weight': 1\.0"),
            ({"seed": 7}, "seed was 0 and is now 7; resume with the same, or start a new run"),
            ({"subsets": ["retain"]}, r"subsets was \['retain', 'forget'\] and is now \['retain'\]"),
        ],
        ids=["method", "seed", "subsets"],
    )
    def test_other_settings_are_refused(self, run, interrupted, change, message):
        with pytest.raises(InputError, match=message):
            run.unlearning(resume=True, **change).run()
        assert {name: (run.folder / name).read_bytes() for name in files(run.folder)} == interrupted

    @pytest.mark.parametrize(
        ("place", "said"),
        [("/old/teacher", None), ("/other", "method was .*'/other/milestones'")],
        ids=["same", "other"],
    )
    def test_what_lies_beside_the_teacher_moves_with_it(self, run, interrupted, monkeypatch, place, said):
        """A method that starts from the teacher's milestones names their folder."""
        before, now = read_record(run.folder), str(Path("runs/teacher/milestones").absolute())
        method = replace(before.method, settings={"milestones": f"{place}/milestones"})
        write_record(run.folder, replace(before, teacher="/old/teacher/model.pt", method=method))
        made = RunFolder.__init__

        def with_milestones(self, *args, **options):
            made(self, *args, **options)
            self.run_record = replace(self.run_record, method=replace(method, settings={"milestones": now}))

        monkeypatch.setattr(RunFolder, "__init__", with_milestones)
        resumed = run.unlearning(resume=True)
        if said is None:
            resumed.run()
            assert record(run)["status"] == "finished"
        else:
            with pytest.raises(InputError, match=said):
                resumed.run()

    def test_other_classes_to_forget_are_refused(self, run, interrupted, without_lesions):
        with pytest.raises(InputError, match=r"forget_classes was \[\] and is now \['lesion'\]"):
            run.unlearning(resume=True).run()
        assert {name: (run.folder / name).read_bytes() for name in files(run.folder)} == interrupted

    @pytest.mark.parametrize("setting", [{"r": 3}, {"scope": "head"}], ids=["rank", "scope"])
    def test_other_adapters_are_refused(self, run, interrupted, make_student, setting):
        with pytest.raises(InputError, match=r"parameters was .*'trainable': "):
            run.unlearning(make_student(**setting), resume=True).run()
        assert {name: (run.folder / name).read_bytes() for name in files(run.folder)} == interrupted

    def test_another_split_is_refused_with_both_hashes(self, run, interrupted):
        before = file_sha256(run.split)
        run.split.write_text(run.split.read_text() + " ")
        with pytest.raises(InputError, match=r"SHA-256 of split was .* start a new run") as error:
            run.unlearning(resume=True).run()
        assert before in str(error.value)
        assert file_sha256(run.split) in str(error.value)

    def test_another_teacher_is_refused(self, run, interrupted, make_unet):
        student = type(run.unlearning(folder=run.folder / "unused").network)(make_unet(seed=4), r=2, lora_alpha=8)
        with pytest.raises(InputError, match=r"SHA-256 of starting_weights was .* start a new run"):
            run.unlearning(student, resume=True).run()

    def test_everything_that_differs_is_said_at_once(self, run, interrupted):
        run.split.write_text(run.split.read_text() + " ")
        with pytest.raises(InputError, match="3 problems") as error:
            run.unlearning(resume=True, weight=1.0, seed=2).run()
        assert len(error.value.problems) == 3

    def test_a_training_run_is_not_resumed_as_unlearning(self, run, at):
        trainer = run.training()
        at(Events.EPOCH_STARTED, stop(KeyboardInterrupt), 2).attach(trainer)
        with pytest.raises(KeyboardInterrupt, match="stopped here"):
            trainer.run()
        with pytest.raises(InputError, match="method was None and is now"):
            run.unlearning(resume=True).run()


class TestWarnings:
    """The most dangerous result is the silent one."""

    def test_a_forget_loss_that_hardly_moved_is_said(self, run, caplog):
        with caplog.at_level(logging.WARNING, "mu_monai"):
            run.unlearning(rate=1e-9, weight=0.0).run()
        (warning,) = record(run)["warnings"]
        assert "forget cases" in warning
        assert "less than 1 %" in warning
        assert warning in caplog.text
        assert record(run)["status"] == "finished"

    def test_a_training_run_has_no_forget_loss_to_warn_about(self, run):
        run.training().run()
        assert record(run)["warnings"] == []

    def test_a_run_without_effect_fails_its_self_check_and_says_so(self, run, caplog):
        with caplog.at_level(logging.ERROR, "mu_monai"):
            run.unlearning(rate=0.0).run()
        checks = {check["name"]: check["passed"] for check in record(run)["checks"]}
        assert checks.pop("every adapter moved") is False
        assert all(checks.values())
        assert "self-check failed: every adapter moved (not moved: " in caplog.text

    def test_a_frozen_weight_that_moved_fails_its_self_check(self, run, at, make_student):
        student = make_student()

        def tamper(engine):
            engine.network.get_base_model().model[0].residual.weight.data += 0.1

        run.unlearning(student, after=[at(Events.EPOCH_STARTED, tamper, 2)]).run()
        failed = [check["name"] for check in record(run)["checks"] if not check["passed"]]
        assert failed == ["the teacher's weights and statistics did not move"]
        assert failed == [check.name for check in self_checks(student, torch.zeros(1, 1, 16, 16)) if not check.passed]


class TestWithoutEpochs:
    """A method may act at the start and end the run there."""

    @pytest.fixture
    def finished(self, run, at):
        def act(engine):
            with torch.no_grad():
                for weight in engine.network.trainable().values():
                    weight += 0.3
            record_term(engine, "moved", 0.3)
            engine.terminate()

        run.unlearning(weight=0.0, before=[at(Events.STARTED, act)]).run()
        return run

    def test_it_is_finished_with_checks_weights_and_measurements(self, finished):
        content = record(finished)
        assert (content["status"], content["max_epochs"]) == ("finished", 0)
        assert len(content["checks"]) == 5
        assert all(check["passed"] for check in content["checks"])
        assert content["measurements"] == {"drift": {"total": 1.5}}
        (ruined,) = content["warnings"]
        assert ruined.startswith("the mean Dice on validation cases is 0.000, and the original's 0.2")
        assert content["sha256"]["weights"] == weights_sha256(read_weights(finished.folder))
        assert not (finished.folder / "checkpoints").exists()

    def test_the_curve_has_one_row_before_the_first_epoch(self, finished):
        table = pd.read_csv(finished.folder / "curve.csv")
        assert table["epoch"].tolist() == [0]
        assert table["moved"].tolist() == [0.3]
        assert "total" not in table
        metrics = {f"{s}_{m}" for s in ("retain", "forget", "validation") for m in ("loss", "dice")}
        assert set(table.columns) == {"epoch", "seconds", "passes", "steps", "moved", *metrics}

    def test_that_hardly_anything_was_forgotten_is_said_without_talk_of_training(self, run, at):
        run.unlearning(before=[at(Events.STARTED, lambda engine: engine.terminate())]).run()
        (warning,) = record(run)["warnings"]
        assert "other settings of the method" in warning

    def test_it_cannot_be_resumed(self, finished, run):
        with pytest.raises(InputError, match="holds no checkpoint to resume from"):
            run.unlearning(resume=True)


class Workflow(ConfigWorkflow):
    """A MONAI workflow that runs a function instead of its config's `run`."""

    def run_inside(self, function):
        return function()


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    config = {"max_epochs": 3, "network": {"_target_": "UNet"}, "initialize": [], "run": ["$None"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metadata.json").write_text('{"version": "0.1.0"}')
    return Workflow(
        config_file=str(tmp_path / "config.json"),
        meta_file=str(tmp_path / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        max_epochs=7,
    )


def test_the_running_config_is_found_with_its_overrides(workflow):
    config = workflow.run_inside(running_config)
    assert config["max_epochs"] == 7
    assert config["network"] == {"_target_": "UNet"}
    assert "_meta_" not in config


def test_paths_beside_the_teacher_are_free_and_others_are_not():
    before, now = (
        {"teacher": f"{place}/model.pt", "method": {"milestones": f"{place}/milestones"}, "batch_size": 4}
        for place in ("/old/teacher", "/new/teacher")
    )
    assert changed_ids(before, now) == []
    problem, *others = changed_ids(before, now | {"method": {"milestones": "/old/teacher/milestones"}})
    assert problem.startswith("config id 'method' was {'milestones': '/old/teacher/milestones'} and is now")
    assert not others


def test_outside_a_workflow_there_is_no_config():
    assert running_config() is None


def test_a_run_in_a_workflow_keeps_the_config_as_it_ran(run, workflow):
    workflow.run_inside(run.unlearning(epochs=1).run)
    assert read_json(run.folder / "config.json")["max_epochs"] == 7
    assert record(run)["sha256"]["config"] == file_sha256(run.folder / "config.json")
