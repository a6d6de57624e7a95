"""What Erase to Retain does beyond the contract: its settings, schedules, terms, restoration and limits."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Randomizable, Transform

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.losses import FORGET_TERMS
from mu_monai.methods import EraseToRetain

QUICK = ["max_epochs=3", "batch_size=4", "learning_rate=0.01"]
TWO_PHASES = ["method#restore_epochs=2", "method#restore_learning_rate=0.01"]


@pytest.fixture
def unlearn(tasks, tmp_path):
    def run(*settings, task="masks", name="run", resume=False, overlays=(), **options):
        chosen = tasks[task]
        return workflow.unlearn(
            chosen.bundle,
            split=chosen.split,
            teacher=chosen.teacher,
            out=tmp_path / name,
            settings=[*QUICK, *settings],
            overlays=[*chosen.overlays, *overlays],
            resume=resume,
            quiet=True,
            **options,
        )

    return run


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model.pt", weights_only=True)


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"kd_weight": -1}, "method#kd_weight=-1 is not allowed; use a number of 0 or more"),
            ({"guard_weight": float("nan")}, "method#guard_weight=nan"),
            ({"forget_weight": float("inf")}, "method#forget_weight=inf"),
            ({"temperature": 0}, "method#temperature=0 is not allowed; use a number above 0"),
            ({"max_adapter_norm": 0}, "method#max_adapter_norm=0"),
            ({"restore_learning_rate": -1e-3}, "method#restore_learning_rate=-0.001"),
            ({"confidence": 0.4}, r"method#confidence=0.4 is not allowed; use a number in \[0.5, 1\)"),
            ({"restore_tolerance": 1.5}, "method#restore_tolerance=1.5"),
            ({"restore_epochs": 0}, "method#restore_epochs=0"),
            ({"schedule": "serial"}, "method#schedule='serial' is not known; use one of joint, alternate_epoch"),
            ({"task": "detection"}, "method#task='detection' is not known"),
            (
                {"kd_direction": "sideways"},
                "method#kd_direction='sideways' is not known; use one of forward, reverse, js",
            ),
            ({"guard_reduction": "max"}, "method#guard_reduction='max' is not known; use one of mean, sum"),
            ({"forget_terms": {"entropy": "1"}}, "method#forget_terms#entropy=1 is not allowed"),
            ({"max_adapter_norm": "5"}, "method#max_adapter_norm=5 is not allowed"),
            ({"restore_epochs": True}, "method#restore_epochs=True is not allowed"),
            ({"mixed_targets": "False"}, "method#mixed_targets='False' is not known; use one of true, false"),
            ({"softmax": "false"}, "method#softmax='false' is not known"),
            ({"forget_terms": {}}, "method#forget_terms is empty; name at least one of background"),
            ({"forget_terms": {"background": -1}}, "method#forget_terms#background=-1 is not allowed"),
            ({"forget_terms": {"backgroud": 1}}, "background"),
        ],
    )
    def test_values_that_are_not_allowed_are_refused(self, setting, message):
        with pytest.raises(InputError, match=message):
            EraseToRetain(forget_loader=[], **setting)

    def test_all_problems_are_reported_at_once(self):
        with pytest.raises(InputError) as error:
            EraseToRetain(forget_loader=[], kd_weight=-1, temperature=0, schedule="x", forget_terms={"background": -1})
        assert len(error.value.problems) == 4

    def test_targets_that_exclude_each_other_are_refused_with_the_reason(self):
        with pytest.raises(InputError, match="mixed_targets"):
            EraseToRetain(forget_loader=[], forget_terms={"background": 1.0, "entropy": 0.1})

    def test_section_three_sums_them_when_asked(self):
        terms = {
            **{"label_flip": 1.0, "teacher_contradiction": 1.0, "entropy": 0.1},
            **{"repulsion": 0.1, "mean_probability": 0.1, "total_variation": 0.01},
        }
        assert EraseToRetain(forget_loader=[], forget_terms=terms, mixed_targets=True).forget_terms == terms

    def test_a_mask_term_means_nothing_for_classes(self):
        with pytest.raises(InputError, match="background"):
            EraseToRetain(forget_loader=[], task="classification", forget_terms={"background": 1.0})

    def test_a_task_that_does_not_fit_the_network_is_refused(self, unlearn):
        with pytest.raises(InputError, match="does not fit the network, whose output has the shape"):
            unlearn("method#task=classification", 'method#forget_terms={"uniform": 1}')


class TestTerms:
    @pytest.mark.parametrize("task", ["masks", "volumes", "classes"])
    @pytest.mark.parametrize("term", FORGET_TERMS)
    def test_every_term_trains_where_it_has_a_meaning(self, unlearn, task, term):
        kind = "classification" if task == "classes" else "segmentation"
        settings = [f'method#forget_terms={{"{term}": 1}}', "max_epochs=1"]
        if term in ("repulsion",):
            settings.append("network#scope=all")
        if kind not in FORGET_TERMS[term].tasks:
            with pytest.raises(InputError, match=term):
                unlearn(*settings, task=task)
            return
        curve = pd.read_csv(unlearn(*settings, task=task) / "curve.csv")
        assert curve[term].notna().all()

    def test_repulsion_of_features_that_no_adapter_reaches_is_refused(self, unlearn):
        with pytest.raises(InputError, match=r"the term 'repulsion' .* network#scope=all"):
            unlearn('method#forget_terms={"repulsion": 1}')

    def test_an_unknown_feature_layer_is_refused(self, unlearn):
        with pytest.raises(InputError, match=r"method#feature_layer='nowhere' .* choose one of model"):
            unlearn("method#feature_layer=nowhere")

    @pytest.mark.parametrize("direction", ["reverse", "js"])
    def test_another_direction_gives_other_weights(self, unlearn, direction):
        runs = [unlearn(f"method#kd_direction={name}", name=name) for name in ("forward", direction)]
        first, second = map(weights, runs)
        assert any(not torch.equal(first[name], second[name]) for name in first)

    def test_the_sum_guard_is_the_mean_guard_times_the_number_of_pixels(self, unlearn):
        mean = unlearn("method#guard_weight=1.024", "max_epochs=1", name="mean")
        total = unlearn("method#guard_weight=0.001", "method#guard_reduction=sum", "max_epochs=1", name="sum")
        ours, theirs = weights(mean), weights(total)  # 32 x 32 pixels
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


class TestSchedules:
    def test_adapters_train_in_all_and_differently(self, unlearn):
        runs = [
            weights(unlearn(f"method#schedule={name}", name=name))
            for name in ("joint", "alternate_step", "alternate_epoch")
        ]
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert any(not torch.equal(runs[first][name], runs[second][name]) for name in runs[first])

    def test_a_run_without_an_epoch_to_unlearn_is_refused(self, unlearn):
        with pytest.raises(InputError, match=r"max_epochs=3 leaves no epoch to unlearn.* method#restore_epochs=3"):
            unlearn("method#schedule=two_phase", "method#restore_epochs=3")

    def test_a_head_that_trains_anyway_has_no_change_of_its_own(self, unlearn):
        with pytest.raises(InputError, match=r"two_phase' restores the head by a change of its own.*trainable=all"):
            unlearn("method#schedule=two_phase", *TWO_PHASES, "network#trainable=all")

    def test_a_run_that_ends_in_its_first_phase_says_so(self, unlearn):
        run = unlearn("method#schedule=two_phase", *TWO_PHASES, "method#budget=60")
        assert any("before the restoration" in warning for warning in record(run)["warnings"])


# forget hard in one epoch, and bring it all back in the next
THERE_AND_BACK = [
    'method#forget_terms={"label_flip": 1}',
    "method#forget_weight=100",
    "method#restore_learning_rate=1",
    "method#restore_tolerance=0",
]


class TestRestoration:
    def two_phases(self, unlearn, *settings, **options):
        return unlearn("method#schedule=two_phase", *TWO_PHASES, *settings, **options)

    def test_phase_two_leaves_the_adapters_untouched(self, unlearn, tmp_path):
        run = self.two_phases(unlearn, "method#restore_tolerance=null")
        alone = unlearn("max_epochs=1", name="alone")
        both, first = (_adapter(folder) for folder in (run, alone))
        assert first.keys() == both.keys()
        assert all(torch.equal(both[name], first[name]) for name in first)
        head = _adapter(run / "adapter" / "restoration")
        assert any(value.any() for name, value in head.items() if "lora_A" in name)

    def test_the_watch_is_in_the_curve_and_the_record(self, unlearn):
        run = self.two_phases(unlearn, "method#restore_tolerance=null")
        watched = record(run)["measurements"]["restoration"]
        curve = pd.read_csv(run / "curve.csv")
        assert curve["phase"].tolist() == [1, 2, 2]
        assert [seen["epoch"] for seen in watched["epochs"]] == [2, 3]
        assert curve["forget_returned"].tolist()[1:] == pytest.approx([seen["returned"] for seen in watched["epochs"]])
        assert curve["forget_loss"].tolist()[1:] == pytest.approx([seen["forget_loss"] for seen in watched["epochs"]])
        assert watched["start_forget_loss"] == pytest.approx(curve["forget_loss"][0], rel=1e-5)
        assert not watched["stopped"]

    def test_what_is_watched_of_patches_are_the_whole_volumes(self, unlearn):
        run = self.two_phases(unlearn, "method#restore_tolerance=null", "score_interval=1", task="volumes")
        watched, curve = record(run)["measurements"]["restoration"], pd.read_csv(run / "curve.csv")
        assert watched["start_forget_loss"] == pytest.approx(curve["forget_loss"][0], rel=1e-5)
        for subset in ("forget", "retain"):
            seen = [epoch[f"{subset}_loss"] for epoch in watched["epochs"]]
            assert seen == pytest.approx(curve[f"{subset}_loss"].tolist()[1:], rel=1e-5)

    def test_it_stops_and_goes_back_when_the_forgotten_return(self, unlearn):
        run = self.two_phases(unlearn, *THERE_AND_BACK)
        watched = record(run)["measurements"]["restoration"]
        assert watched["stopped"]
        assert watched["kept_epoch"] is None, "already the first epoch brought them back"
        assert len(watched["epochs"]) == 1
        assert pd.read_csv(run / "curve.csv")["epoch"].tolist() == [1, 2]
        plain = unlearn("max_epochs=1", *THERE_AND_BACK[:2], name="alone")
        ours, theirs = weights(run), weights(plain)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), "as if there had been no restoration"

    def test_a_stopped_restoration_stays_stopped_when_it_is_resumed(self, unlearn, monkeypatch):
        whole = self.two_phases(unlearn, *THERE_AND_BACK, name="whole")
        with monkeypatch.context() as patch:
            patch.setattr("mu_monai.engine.run.self_checks", _killed)
            with pytest.raises(KeyboardInterrupt):
                self.two_phases(unlearn, *THERE_AND_BACK, name="broken")
        run = self.two_phases(unlearn, *THERE_AND_BACK, name="broken", resume=True)
        ours, theirs = weights(run), weights(whole)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert record(run)["measurements"] == record(whole)["measurements"]

    def test_another_number_of_epochs_after_it_began_is_refused(self, unlearn, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr("mu_monai.engine.run.self_checks", _killed)
            with pytest.raises(KeyboardInterrupt):
                self.two_phases(unlearn)
        with pytest.raises(InputError, match="its restoration began in epoch 2; resume with max_epochs=3"):
            self.two_phases(unlearn, "max_epochs=5", resume=True)

    def test_it_says_when_there_was_nothing_to_watch(self, unlearn):
        run = self.two_phases(unlearn, "method#forget_weight=0")
        watched = record(run)["measurements"]["restoration"]
        assert watched["start_forget_loss"] <= watched["teacher_forget_loss"]
        assert any("restoration could not be" in warning for warning in record(run)["warnings"])


class TestLimits:
    def test_the_drift_stays_within_its_limit(self, unlearn):
        free = record(unlearn(name="free"))["measurements"]["drift"]["total"]
        kept = record(unlearn(f"method#max_adapter_norm={free / 4}", name="kept"))["measurements"]["drift"]
        assert kept["total"] <= free / 4 * 1.0001
        assert kept["limit"] == free / 4

    def test_features_before_the_first_adapter_keep_no_margin(self, unlearn):
        margins = record(unlearn())["measurements"]["margins"]
        assert margins["epsilon"] == 0
        assert margins["delta"] > 0

    def test_features_behind_an_adapter_move(self, unlearn):
        assert record(unlearn("network#scope=all"))["measurements"]["margins"]["epsilon"] > 0


class TestPresets:
    def test_a_preset_is_recorded_with_its_settings(self, unlearn):
        run = unlearn(preset="paper-code")
        assert record(run)["preset"] == "paper-code"
        assert record(run)["method"]["settings"]["schedule"] == "alternate_epoch"
        assert any("running_mean" in name for name in _moved(run, record(run)["teacher"]))

    def test_settings_go_over_a_preset(self, unlearn):
        run = unlearn("method#schedule=joint", preset="paper-code")
        assert record(run)["method"]["settings"]["schedule"] == "joint"

    def test_the_default_is_the_papers(self, unlearn):
        ours, theirs = weights(unlearn(name="default")), weights(unlearn(preset="paper", name="paper"))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_an_unknown_preset_is_refused_with_the_known_ones(self, unlearn):
        with pytest.raises(InputError, match="preset 'papr' is not in the bundle 'isic': paper, paper-code, two-phase"):
            unlearn(preset="papr")

    @pytest.mark.parametrize("task", ["masks", "classes"])
    @pytest.mark.parametrize("preset", ["paper", "paper-code", "two-phase"])
    def test_every_preset_runs_on_every_task(self, unlearn, task, preset):
        run = unlearn("max_epochs=4", preset=preset, task=task)
        assert all(check["passed"] for check in record(run)["checks"]), record(run)["checks"]

    def test_a_changed_preset_says_so(self, unlearn):
        assert record(unlearn("method#kd_weight=2"))["preset"] == "paper, changed"

    def test_the_student_starts_as_its_teacher_with_moving_statistics_too(self, unlearn, monkeypatch):
        """The look at a forget batch before the first epoch trains nothing."""
        seen = []
        start = EraseToRetain.on_start

        def watched(self, engine):
            start(self, engine)
            image, *_ = self.forget_batch(engine)
            seen.append(torch.equal(engine.network.eval()(image), engine.network.teacher(image)))

        monkeypatch.setattr(EraseToRetain, "on_start", watched)
        unlearn("max_epochs=1", preset="paper-code")
        assert seen == [True]


class TestTrainers:
    """What else a trainer may bring along."""

    def test_a_step_of_several_batches_does_not_go_with_alternating_steps(self, unlearn, tmp_path):
        overlay = tmp_path / "accumulate.json"
        overlay.write_text('{"train::trainer::accumulation_steps": 2}')
        with pytest.raises(InputError, match="alternate_step' takes a step after every retain batch"):
            unlearn("method#schedule=alternate_step", overlays=[str(overlay)])

    def test_teacher_and_student_go_through_the_same_inferer(self, unlearn, tmp_path):
        overlay = tmp_path / "windows.json"
        overlay.write_text('{"train::inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16]}}')
        settings = ["max_epochs=1", "epoch_length=1", "network#lora_dropout=0.0"]
        curve = pd.read_csv(unlearn(*settings, overlays=[str(overlay)]) / "curve.csv")
        assert curve["distillation"][0] == pytest.approx(0, abs=1e-6), "in the first step they agree"
        assert curve["guard"][0] == pytest.approx(0, abs=1e-6)

    def test_an_overlay_within_what_the_teacher_brings_is_kept(self, unlearn, tmp_path):
        overlay = tmp_path / "loss.json"
        overlay.write_text('{"loss::lambda_dice": 0.5}')
        run = unlearn("max_epochs=1", overlays=[str(overlay)])
        assert json.loads((run / "config.json").read_text())["loss"]["lambda_dice"] == 0.5

    def test_masks_of_several_channels_are_refused_before_training(self, unlearn, tmp_path):
        overlay = tmp_path / "channels.json"
        overlay.write_text(json.dumps({"network_def::out_channels": 2}))
        with pytest.raises(InputError):
            unlearn(overlays=[str(overlay)])

    def test_restoring_with_moving_statistics_moves_the_head_alone(self, unlearn):
        settings = ["network#bn_mode=train", "method#schedule=two_phase", *TWO_PHASES, *THERE_AND_BACK]
        ours = weights(unlearn(*settings))
        theirs = weights(unlearn("network#bn_mode=train", "max_epochs=1", *THERE_AND_BACK[:2], name="alone"))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


class TestTargets:
    def test_layers_are_chosen_by_a_pattern(self, unlearn):
        run = unlearn(lora_targets=r"model\.2\..*conv")
        assert {layer["layer"].split(".")[1] for layer in record(run)["measurements"]["drift"]["layers"]} == {"2"}

    def test_a_pattern_that_matches_nothing_lists_the_layers(self, unlearn):
        with pytest.raises(InputError, match=r"model\.0\.conv\.unit0\.conv"):
            unlearn(lora_targets="nothing")


def _adapter(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    folder = folder / "adapter" if (folder / "adapter").is_dir() else folder
    return load_file(folder / "adapter_model.safetensors")


def _moved(run: Path, teacher: str) -> set[str]:
    before, after = torch.load(teacher, weights_only=True), weights(run)
    return {name for name in before if not torch.equal(before[name], after[name])}


def _killed(*_, **__):
    raise KeyboardInterrupt


class _Noise(Randomizable, Transform):
    """Remembers what it drew for whom."""

    def __init__(self):
        self.drawn = []

    def __call__(self, data):
        value = self.R.rand()
        self.drawn.append((data["case_id"], value))
        return {**data, "image": data["image"] + value}


def test_a_pass_over_the_forget_set_reads_it_once_and_draws_for_every_case_anew(small):
    """Besides what is looked at before the first step: a batch, and with a budget another one."""

    def passed(**settings):
        noise = []

        def loader(data, batch_size):
            noise.append(_Noise())
            return DataLoader(Dataset(data, noise[-1]), batch_size=batch_size)

        options = {"cases": (8, 12), "loader": loader, "network": {"trainable": "adapters"}}
        terms = {"forget_terms": {"uniform": 1.0}, "schedule": "alternate_epoch"}
        small(EraseToRetain, options=options, **terms, **settings).run()
        return noise[0].drawn

    free, limited = passed(), passed(budget=1000)
    assert (len(free), len(limited)) == (4 + 12, 8 + 12)
    assert [case for case, _ in free[-12:]] == [f"forget-{number}" for number in range(12)]
    assert len({value for _, value in free[-12:]}) == 12
    assert limited[-12:] == free[-12:]
