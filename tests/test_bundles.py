"""Every shipped bundle satisfies MONAI's specification and runs as users type it."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export
from monai.data import DataLoader
from skimage.io import imread

from mu_monai import workflow
from mu_monai.adapters import load_weights
from mu_monai.bundle import shipped_bundles
from mu_monai.bundle.config import parse_settings
from mu_monai.bundle.multi_gpu import MULTI_GPU, PREFIX, multi_gpu
from mu_monai.data.phantoms.classes import CLASS_DIAGNOSES
from mu_monai.errors import InputError
from tests import programs

BUNDLES = shipped_bundles()
CLASSIFIERS = ("isic_classification",)
VOLUMES = ("volume3d",)
MASKS = tuple(name for name in BUNDLES if name not in (*CLASSIFIERS, *VOLUMES))  # 2D, one channel
PRESETS = ("paper", "paper-code", "two-phase")


@pytest.fixture(params=BUNDLES)
def bundle(request) -> Path:
    return BUNDLES[request.param]


def config(bundle: Path, name: str) -> dict:
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


def test_it_passes_the_check_that_every_bundle_has_to(bundle):
    assert workflow.check_bundle(bundle)[-1].endswith("models/model.pt fits it")


def test_weights_are_small_and_said_to_be_of_phantoms(bundle):
    assert (bundle / "models" / "model.pt").stat().st_size < (20e6 if bundle.name in VOLUMES else 10e6)
    assert "phantoms" in config(bundle, "metadata")["description"]


@pytest.mark.parametrize(("name", "kind"), [("train", "train"), ("unlearn", "train"), ("inference", "inference")])
def test_the_properties_that_monai_asks_for_are_there(bundle, name, kind, phantom_splits, small_images, tmp_path):
    overrides = {"split": phantom_splits[bundle.name], **parse_settings(small_images[bundle.name])}
    overrides |= {} if name == "inference" else {"run_dir": str(tmp_path / "run")}
    file = bundle / "configs" / f"{name}.json"
    flow = ConfigWorkflow(str(file), workflow_type=kind, logging_file=False, **overrides)
    flow.initialize()
    assert flow.check_properties() == []


def test_the_checkpoint_exports_to_torchscript(bundle, tmp_path):
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
    )
    exported = torch.jit.load(tmp_path / "model.ts").eval()
    network = ConfigParser(config(bundle, "train")).get_parsed_content("network_def").eval()
    load_weights(network, bundle / "models" / "model.pt")
    image = torch.rand(1, 1, 32, 32, 32) if bundle.name in VOLUMES else torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image))


@pytest.mark.parametrize("name", [name for name in BUNDLES if name not in VOLUMES])  # the paper says no size in 3D
def test_the_papers_size_is_an_overlay(name):
    parser = ConfigParser()
    parser.read_config([str(BUNDLES[name] / "configs" / f"{part}.json") for part in ("train", "paper_size")])
    network = parser.get_parsed_content("network_def")
    size = sum(parameter.numel() for parameter in network.parameters())
    low, high = (21e6, 22e6) if name in CLASSIFIERS else (24e6, 27e6)  # a ResNet-34, a UNet on top of one
    assert low < size < high


def test_hyper_parameters_are_the_papers(bundle):
    unlearn = config(bundle, "unlearn")
    paper = {"isic": (15, 64), "chase": (80, 4), "isic_classification": (30, 16), "volume3d": (15, 2)}  # 3D: ours
    assert (unlearn["max_epochs"], unlearn["batch_size"]) == paper[bundle.name]
    assert unlearn["learning_rate"] == 1e-4
    assert {key: unlearn["network"][key] for key in ("r", "lora_alpha", "lora_dropout")} == {
        "r": 8,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
    }
    classes = bundle.name in CLASSIFIERS
    data = ("_target_", "forget_loader", "unseen_loader", "whole", "forget_classes", "forget_images_gone")
    method = {key: value for key, value in unlearn["method"].items() if key not in data}
    assert method == {
        "task": "classification" if classes else "segmentation",
        "softmax": classes or bundle.name in VOLUMES,
        "forget_terms": {"random_label" if classes else "background": 1.0},
        "forget_weight": 3.0,
        "kd_weight": 1.0,
        "temperature": 2.0,
        "kd_direction": "forward",
        "guard_weight": 0.05,
        "guard_reduction": "mean",
        "schedule": "joint",
    }
    assert bundle.name not in MASKS or unlearn["image_size"] == [256, 256]
    assert not classes or unlearn["optimizer"]["weight_decay"] == 1e-4


@pytest.mark.parametrize("preset", PRESETS)
class TestPresets:
    def test_it_leaves_no_setting_of_adapters_and_method_to_chance(self, bundle, preset):
        unlearn = config(bundle, "unlearn")
        fixed = {"network::_target_", "network::network", "method::_target_", "method::forget_loader"}
        fixed |= {"method::task", "method::softmax"}  # what the images are, not what is done with them
        fixed |= {"method::whole", "method::unseen_loader", "method::forget_classes", "method::forget_images_gone"}
        settings = {f"{part}::{key}" for part in ("network", "method") for key in unlearn[part]} - fixed
        assert settings | {"preset"} <= set(config(bundle, preset))

    def test_it_sets_the_same_ids_in_every_bundle(self, bundle, preset):
        assert set(config(bundle, preset)) == set(config(BUNDLES["isic"], preset))

    def test_it_is_the_same_method_in_every_bundle(self, bundle, preset):
        data = ("method::forget_terms", "method::restore_epochs")  # these depend on the task and the length of a run
        own, first = config(bundle, preset), config(BUNDLES["isic"], preset)
        assert {key for key in own if own[key] != first[key]} <= set(data)


def test_no_other_config_is_taken_for_a_preset(bundle):
    named = {path.stem for path in (bundle / "configs").glob("*.json") if json.loads(path.read_text()).get("preset")}
    assert named == {*PRESETS, "unlearn"}


@pytest.mark.parametrize("name", MULTI_GPU)
def test_the_overlay_for_several_processes_is_the_one_that_commands_would_make(bundle, name):
    assert config(bundle, f"{PREFIX}{name}") == multi_gpu(name, config(bundle, name))


def test_the_settings_of_the_calibrated_method_fit_the_bundle(bundle):
    unlearn, tuned = config(bundle, "unlearn"), config(bundle, "calibrated-erase-to-retain")
    data = ("unseen_loader", "whole", "task", "softmax")
    assert {key: tuned["method"].get(key) for key in data} == {key: unlearn["method"].get(key) for key in data}
    assert tuned["method"]["forget_loader"]["dataset"] == unlearn["method"]["forget_loader"]["dataset"]


def test_the_preset_paper_is_the_default(bundle):
    assert config(bundle, "unlearn")["preset"] == "paper"


def test_the_preset_paper_code_differs_as_the_released_code_does(bundle):
    paper, code = config(bundle, "paper"), config(bundle, "paper-code")
    differences = {
        "preset": "paper-code",
        "network::scope": "all",
        "network::clamp_rank": False,
        "network::bn_mode": "train",
        "method::schedule": "alternate_epoch",
    }
    differences |= {"method::forget_terms": {"uniform": 1.0}} if bundle.name in CLASSIFIERS else {}
    assert {key: value for key, value in code.items() if value != paper[key]} == differences


def test_the_preset_two_phase_contradicts_the_teacher_and_then_restores(bundle):
    unlearn, two = config(bundle, "unlearn"), config(bundle, "two-phase")
    assert two["method::schedule"] == "two_phase"
    assert two["method::forget_terms"] == {"teacher_contradiction": 1.0}
    assert 0 < two["method::restore_epochs"] < unlearn["max_epochs"]
    assert {key for key in two if key.startswith("method::restore_")} == set(two) - set(config(bundle, "paper"))
    same = [key for key in two if key.startswith(("network::", "method::kd_", "method::guard_"))]
    assert {key: two[key] for key in same} == {key: config(bundle, "paper")[key] for key in same}


def infer(bundle: Path, split: str, folder: Path) -> list[dict]:
    """Run inference on small images; the cases that it was run on."""
    overrides = {"split": split, "output_dir": str(folder), "image_size": [64, 64]}
    ConfigWorkflow(str(bundle / "configs" / "inference.json"), logging_file=False, **overrides).run()
    return json.loads(Path(split).read_text())["test"]


@pytest.mark.parametrize("name", MASKS)
def test_inference_writes_a_mask_in_the_size_of_the_image(name, phantom_splits, tmp_path):
    cases = infer(BUNDLES[name], phantom_splits[name], tmp_path)
    masks = sorted(tmp_path.rglob("*_mask.png"))
    assert len(masks) == len(cases)
    mask = imread(masks[0])
    assert mask.shape == (32, 32)
    assert set(mask.ravel().tolist()) <= {0, 255}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_inference_writes_a_table_of_classes(name, phantom_splits, tmp_path):
    for _ in range(2):  # a second run replaces the table
        cases = infer(BUNDLES[name], phantom_splits[name], tmp_path)
    table = pd.read_csv(tmp_path / "predictions.csv")
    classes = config(BUNDLES[name], "inference")["classes"]
    assert table.columns.tolist() == ["image", "predicted", *classes]
    assert [Path(path).name for path in table["image"]] == [Path(case["image"]).name for case in cases]
    assert table[classes].sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert (table["predicted"] == table[classes].idxmax(axis=1)).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_classes_are_those_of_phantoms_in_alphabetical_order(name):
    classes = config(BUNDLES[name], "train")["classes"]
    assert classes == sorted(classes) == list(CLASS_DIAGNOSES)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_are_indices_and_images_lie_between_minus_one_and_one(name, phantom_splits):
    parser = ConfigParser(config(BUNDLES[name], "train"))
    parser.update({"split": phantom_splits[name], "image_size": [48, 48]})
    cases, dataset = parser.get_parsed_content("cases"), parser.get_parsed_content("datasets")["retain"]
    batch = next(iter(DataLoader(dataset, batch_size=len(dataset))))
    classes = parser.get_parsed_content("classes")
    assert batch["label"].dtype == torch.long
    assert [classes[index] for index in batch["label"]] == [case["label"] for case in cases["retain"]]
    assert batch["image"].shape[1:] == (3, 48, 48)
    assert batch["image"].dtype == torch.float32
    assert -1 <= batch["image"].min() < batch["image"].max() <= 1


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_another_class_is_refused_before_anything_runs(name, phantom_splits, tmp_path):
    split = json.loads(Path(phantom_splits[name]).read_text())
    folder = Path(phantom_splits[name]).parent
    for case in (case for subset in ("retain", "forget", "validation", "test") for case in split[subset]):
        case["image"] = str(folder / case["image"])
    split["retain"][0]["label"] = "melanom"
    split["provenance"]["sha256"] = {str(folder / key): value for key, value in split["provenance"]["sha256"].items()}
    (tmp_path / "split.json").write_text(json.dumps(split))
    with pytest.raises(InputError, match=r"class 'melanom' of 1 cases, .* did you mean 'melanoma'"):
        workflow.train(name, split=tmp_path / "split.json", out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.end_to_end
@pytest.mark.parametrize(("name", "where"), [*((name, "root") for name in BUNDLES), ("isic", "elsewhere")], ids=str)
def test_the_typed_command_runs_without_an_error_line(name, where, repository, phantom_splits, small_images, tmp_path):
    """`python -m monai.bundle run --config_file bundles/isic/unlearn.json`, shrunk by overrides to take seconds."""
    bundle = BUNDLES[name]
    if where == "root":
        file, folder = f"bundles/{name}/unlearn.json", repository
    else:
        file, folder = str(bundle / "configs" / "unlearn.json"), tmp_path
    overrides = ["--split", phantom_splits[bundle.name], "--run_dir", str(tmp_path / "run"), "--max_epochs", "1"]
    overrides += [part for setting in small_images[bundle.name] for part in f"--{setting}".split("=", 1)]
    done = programs.run("monai.bundle", "run", "--config_file", file, *overrides, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ERROR" not in done.stdout + done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["bundle"]["version"] == config(bundle, "metadata")["version"]
    assert all(check["passed"] for check in record["checks"])
    ran = json.loads((tmp_path / "run" / "config.json").read_text())
    assert ran["max_epochs"] == 1  # overrides included


@pytest.mark.end_to_end
def test_a_copied_bundle_uses_its_own_weights(tmp_path, phantom_splits, repository):
    copy = tmp_path / "isic"
    shutil.copytree(BUNDLES["isic"], copy)
    weights = torch.load(copy / "models" / "model.pt", weights_only=True)
    weights["model.2.1.conv.unit0.conv.bias"] += 1
    torch.save(weights, copy / "models" / "model.pt")
    command = ["run", "--config_file", copy / "configs" / "unlearn.json", "--split", phantom_splits["isic"]]
    command += ["--run_dir", tmp_path / "run", "--max_epochs", "1", "--image_size", "[32, 32]"]
    done = programs.run("monai.bundle", *command, cwd=repository)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["teacher"] == str(copy / "models" / "model.pt")


def test_the_command_line_runs_the_same_config_as_monai(bundle, phantom_splits, teachers, tmp_path):
    run = workflow.unlearn(
        bundle.name,
        split=phantom_splits[bundle.name],
        teacher=teachers[bundle.name],
        out=tmp_path / "a",
        settings=["max_epochs=1"],
        quiet=True,
    )
    ran = json.loads((run / "config.json").read_text())
    images = ("spacing", "patch_size") if bundle.name in VOLUMES else ("image_size",)
    overrides = {key: ran[key] for key in ("split", "teacher", "max_epochs", "network_def", *images)}
    flow = ConfigWorkflow(
        str(bundle / "configs" / "unlearn.json"),
        logging_file=False,
        run_dir=str(tmp_path / "b"),
        quiet=True,
        **overrides,
    )
    flow.initialize()
    flow.run()
    a, b = (json.loads((tmp_path / name / "run.json").read_text()) for name in "ab")
    assert a["sha256"]["weights"] == b["sha256"]["weights"]


@pytest.mark.end_to_end
def test_monais_command_with_a_preset_laid_over_it_gives_the_same_weights(phantom_splits, teachers, tiny, tmp_path):
    """`python -m monai.bundle run --config_file "['unlearn.json', 'configs/two-phase.json']"`."""
    settings = [*tiny, "max_epochs=4", "learning_rate=0.01"]
    workflow.unlearn(
        "isic",
        split=phantom_splits["isic"],
        teacher=teachers["isic"],
        out=tmp_path / "ours",
        preset="two-phase",
        settings=settings,
        quiet=True,
    )
    files = [str(BUNDLES["isic"] / name) for name in ("unlearn.json", "configs/two-phase.json")]
    settings += [f"split={phantom_splits['isic']}", f"teacher={teachers['isic'] / 'model.pt'}"]
    settings += [f"run_dir={tmp_path / 'monais'}", "quiet=True"]
    overrides = [part for setting in settings for part in f"--{setting}".split("=", 1)]
    done = programs.run("monai.bundle", "run", "--config_file", files, *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    ours, monais = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("ours", "monais"))
    assert ours["preset"] == monais["preset"] == "two-phase"
    assert ours["measurements"]["restoration"]["epochs"] != []
    assert ours["sha256"]["weights"] == monais["sha256"]["weights"]
