"""A bundle of anybody's under each verb: what is told, what is refused, and what changes nothing."""

from __future__ import annotations

import json
import logging
import pickle

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from monai.transforms import RandFlipd

from adopted.shapes import make_bundle
from mu_monai import workflow
from mu_monai.bundle.trust import Trust
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.runs import open_run
from mu_monai.workflow.auditing.evaluation import open_evaluation
from mu_monai.workflow.comparing.plan import read_plan
from mu_monai.workflow.comparing.runs import Training


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of pictures, and a split of its lists."""
    folder = tmp_path_factory.mktemp("adopted")
    bundle = make_bundle("rgb_with_focal_loss", folder)
    workflow.split(folder / "data", out=folder / "split.json", from_bundle=bundle, forget=_third())
    return bundle, folder / "split.json"


@pytest.fixture
def copied(made, tmp_path):
    """The bundle, to be changed, and a way to change one of its configs."""
    import shutil

    bundle = tmp_path / made[0].name
    shutil.copytree(made[0], bundle)

    def change(name="train", **ids):
        file = bundle / "configs" / f"{name}.json"
        content = json.loads(file.read_text())
        for key, value in ids.items():
            place = content
            *parents, last = key.split("__")
            for parent in parents:
                place = place[parent]
            place[last] = value
        file.write_text(json.dumps(content))
        return bundle

    return change


def _third():
    return workflow.ForgetChoice(fraction=0.3)


def test_inspect_says_what_was_understood_and_tries_a_case(made):
    told = "\n".join(workflow.inspect_bundle(made[0], split=made[1]))
    for text in ("UNet [network]", "DiceFocalLoss [lossfn]", "activation softmax", "background, tool"):
        assert text in told
    assert "(3, 32, 32)" in told
    assert "dice" in told


def test_show_code_executes_nothing(copied, tmp_path):
    told = tmp_path / "told"
    bundle = copied(num_classes=f"$open({str(told)!r}, 'w')", entries="$os.listdir('/')")
    lines = workflow.code_of(bundle)
    assert any("os.listdir('/')" in line for line in lines)
    assert not told.exists()


def test_show_code_names_foreign_components_and_modules(tmp_path):
    bundle = make_bundle("network_of_its_own", tmp_path)
    lines = workflow.code_of(bundle)
    assert "train.json: net calls scripts.networks.TwoLayers" in lines
    assert "module scripts/networks.py" in lines


def test_attacks_of_an_audit_draw_cases_as_the_run_did(made, tmp_path):
    """A transform that was set for the run is not lost; it is code of the run's folder, so the user has to say so."""
    bundle, split = made
    changed = ["source#train#random_transforms#0#prob=1.0", "max_epochs=1"]
    run = workflow.train(bundle, split=split, out=tmp_path / "run", settings=changed, quiet=True)
    with pytest.raises(InputError, match=r"random_transforms.*--trust-config"):
        open_evaluation(run, {"teacher": run}, device="cpu", trust=Trust(bundle=bundle))
    found = open_evaluation(run, {"teacher": run}, device="cpu", trust=Trust(bundle=bundle, config=True))
    transforms = found.retain_batches.dataset.transform.flatten().transforms
    assert [each.prob for each in transforms if isinstance(each, RandFlipd)] == [1.0]


def test_the_configs_can_be_read(made, tmp_path):
    out = workflow.adopt_bundle(made[0], out=tmp_path / "configs")
    names = sorted(path.name for path in (out / "configs").iterdir())
    verbs = ["evaluate", "train", "unlearn"]
    together = [f"multi_gpu_{verb}" for verb in verbs]
    assert names == sorted(f"{name}.json" for name in (*verbs, *together, "inference", "metadata"))
    assert read_json(out / "configs" / "train.json")["network_def"]["_target_"] == "UNet"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {
                "train__random_transforms": [
                    {"_target_": "RandZoomd", "keys": "image", "prob": 1.0, "min_zoom": 0.5, "max_zoom": 0.6, "max": 2}
                ]
            },
            "RandZoomd",
        ),
        (
            {"train__random_transforms": [{"_target_": "Lambdad", "keys": "image", "func": "$lambda x: 1 / 0"}]},
            "Lambdad",
        ),
        ({"net__in_channels": 1}, "to have 1 channels, but got 3 channels"),
        ({"net__channels": [2]}, "the network cannot be built"),
        ({"net__img_size": 32}, "does not take this argument: remove it"),
        ({"net__channels": "$torch.load('searched.pt')"}, "put the file there: the network is built from it"),
        ({"lossfn": {"_target_": "torch.nn.MSELoss"}, "train__postprocessing": None}, "give --set softmax=true"),
        ({"train__deterministic_transforms": [{"_target_": "LoadImaged", "keys": ["image", "label"]}]}, "channels"),
    ],
    ids=str,
)
def test_a_bundle_that_fails_on_a_case_is_refused_before_anything_starts(changes, reason, copied, made, tmp_path):
    bundle = copied(**changes)
    if "lossfn" in changes:
        copied("inference", postprocessing={"_target_": "Compose", "transforms": []})
    with pytest.raises(InputError) as refusal:
        workflow.train(bundle, split=made[1], out=tmp_path / "run", quiet=True)
    assert reason in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_a_file_of_the_network_that_torch_does_not_read_by_itself_is_told(copied, made):
    bundle = copied(net__channels="$torch.load(@bundle_root + '/models/searched.pt')")
    torch.save(np.array([4, 8]), bundle / "models" / "searched.pt")
    with pytest.raises(InputError, match="weights_only=False, if you trust the file"):
        workflow.inspect_bundle(bundle, split=made[1])


@pytest.mark.parametrize(("name", "last"), [("sigmoid", "Sigmoid()"), ("softmax", "Softmax(1)")])
def test_a_network_that_answers_with_probabilities_is_refused(name, last, copied, made):
    """Where neither loss nor postprocessing apply an activation, the network may have done so."""
    network = "$mu_monai.adapters.first_answer(torch.nn.Sequential(monai.networks.nets.UNet(**@net_of), torch.nn."
    arguments = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "channels": [2, 4], "strides": [2]}
    bundle = copied(net=f"{network}{last}))", net_of=arguments)
    copied(train__postprocessing=None, lossfn={"_target_": "DiceLoss", "to_onehot_y": True})
    copied("inference", postprocessing={"_target_": "Compose", "transforms": []})
    with pytest.raises(InputError, match=f"the network ends with a {name}, so its outputs are probabilities"):
        workflow.inspect_bundle(bundle, split=made[1], settings=[f"softmax={str(name == 'softmax').lower()}"])


def test_augmentation_in_the_evaluator_is_refused(copied, made, tmp_path):
    steps = json.loads((made[0] / "configs" / "train.json").read_text())["train"]["deterministic_transforms"]
    noise = {"_target_": "RandGaussianNoised", "keys": "image", "prob": 1.0}
    bundle = copied(train__deterministic_transforms=[*steps, noise])
    with pytest.raises(InputError, match="gives another image each time"):
        workflow.train(bundle, split=made[1], out=tmp_path / "run", quiet=True)


def test_the_share_is_of_the_training_that_the_config_says(made, tmp_path):
    run = workflow.unlearn(
        made[0], split=made[1], teacher=None, out=tmp_path / "run", method="retain-fine-tuning", quiet=True,
        settings=["max_epochs=1", "epoch_length=1", "batch_size=2"],
    )  # fmt: skip
    cost = open_run(run).record.cost
    assert cost.share == pytest.approx(cost.passes / (3 * 2 * 10))  # forward and backward, 2 epochs of 10 cases
    assert open_run(run).record.method.name == "RetainFineTuning"


def test_the_share_is_of_the_batches_of_the_training(copied, made, tmp_path):
    """Where the trainer says how many batches an epoch has, those of the unlearning are not the teacher's."""
    bundle = copied(train__trainer__epoch_length=3)
    run = workflow.unlearn(
        bundle, split=made[1], teacher=None, out=tmp_path / "run", method="retain-fine-tuning", quiet=True,
        settings=["max_epochs=1", "epoch_length=1", "batch_size=1"],
    )  # fmt: skip
    cost = open_run(run).record.cost
    assert cost.share == pytest.approx(cost.passes / (3 * 2 * 3 * 2))  # 2 epochs of 3 batches of 2 cases


def test_a_budget_is_kept_without_a_run_of_the_teacher(made, tmp_path):
    run = workflow.unlearn(made[0], split=made[1], teacher=None, out=tmp_path / "run", budget=0.5, quiet=True)
    assert open_run(run).record.cost.share <= 0.5
    assert open_run(run).record.method.name == "ShrinkAndRestore"


def test_a_run_of_a_foreign_bundle_needs_it_named(made, tmp_path):
    run = workflow.train(made[0], split=made[1], out=tmp_path / "run", settings=["max_epochs=1"], quiet=True)
    with pytest.raises(InputError, match="--bundle"):
        workflow.evaluate(run)
    workflow.evaluate(run, trust=Trust(bundle=made[0]))


def test_workers_open_a_bundle_where_the_user_has_it(made, tmp_path):
    """What is made of it is in a temporary folder, which workers on other machines do not have."""
    bundle, split = made
    teacher = workflow.train(bundle, split=split, out=tmp_path / "run", settings=["max_epochs=1"], quiet=True)
    options = workflow.CompareOptions(methods=["gradient-ascent"], trials=1)
    plan = read_plan(
        bundle, split=split, teacher=teacher, out=tmp_path / "out", options=options, trust=Trust(bundle=bundle)
    )
    assert plan.read["BUNDLE"] == bundle / "configs" / "train.json"
    jobs = [Training.of(plan), plan]
    sent = pickle.dumps(jobs)
    assert all(str(each.bundle.folder).encode() not in sent for each in jobs)
    assert [each.bundle.place for each in pickle.loads(sent)] == [bundle] * 2


def test_shadow_models_are_made_with_the_bundle_where_the_user_has_it(made, tmp_path):
    bundle, split = made
    quick = {"split": split, "settings": ["max_epochs=1"], "quiet": True}
    teacher = workflow.train(bundle, out=tmp_path / "teacher", **quick)
    run = workflow.unlearn(bundle, teacher=teacher, out=tmp_path / "run", **quick)
    options = workflow.AuditOptions(shadows=4, pool=tmp_path / "pool", distances=False, n_resamples=20, quiet=True)
    workflow.audit(run, teacher=teacher, options=options, trust=Trust(bundle=bundle))
    roots = {read_json(file)["bundle"]["root"] for file in (tmp_path / "pool").rglob("run.json")}
    assert roots == {str(bundle)}


def test_a_bundle_without_inference_does_not_predict(copied, made, tmp_path):
    bundle = copied()
    (bundle / "configs" / "inference.json").unlink()
    run = workflow.train(bundle, split=made[1], out=tmp_path / "run", settings=["max_epochs=1"], quiet=True)
    with pytest.raises(InputError, match="no inference config"):
        workflow.predict(run, split=made[1], out=tmp_path / "predicted", trust=Trust(bundle=bundle))


def test_an_inference_that_loads_other_weights_predicts_nothing(copied, unlearned, made, tmp_path):
    """A handler that only the bundle has may load the weights from before the unlearning."""
    loader = {
        "_target_": "mine.Loads",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"m": "@network"},
    }
    handlers = read_json(made[0] / "configs" / "inference.json")["handlers"]
    bundle = copied("inference", handlers=[*handlers, loader])
    (bundle / "mine.py").write_text(
        "from monai.handlers import CheckpointLoader\n\n\nclass Loads(CheckpointLoader):\n    pass\n"
    )
    with pytest.raises(InputError, match=r"changes the network after the weights of .* were loaded"):
        workflow.predict(unlearned, split=made[1], out=tmp_path / "predicted", trust=Trust(bundle=bundle))
    assert not (tmp_path / "predicted").exists()


def test_an_inference_that_reads_labels_is_told(copied):
    """The label may be a part of the input; what is predicted has none."""
    load = {"_target_": "LoadImaged", "keys": ["image", "label"]}
    bundle = copied("inference", preprocessing={"_target_": "Compose", "transforms": [load]})
    told = next(line for line in workflow.inspect_bundle(bundle) if line.startswith("inference"))
    assert "none: it has an inference config that reads the label of each case" in told


@pytest.fixture(scope="module")
def unlearned(made, tmp_path_factory):
    run = tmp_path_factory.mktemp("unlearned") / "run"
    return workflow.unlearn(
        made[0], split=made[1], teacher=None, out=run, settings=["max_epochs=1", "epoch_length=2"], quiet=True
    )


def test_an_inference_that_answers_otherwise_is_not_released(copied, unlearned, tmp_path):
    """What the recipient gets must be what was measured."""
    bundle = copied("inference", initialize=["$@checkpointloader(@evaluator)", "$@net_changed"])
    copied("inference", net_changed="$[setattr(p, 'data', p.data * 2) for p in @network.parameters()] and None")
    with pytest.raises(InputError, match="its own inference config and mu-monai predict differ"):
        workflow.release(unlearned, out=tmp_path / "released", trust=Trust(bundle=bundle))
    assert not (tmp_path / "released").exists()


LEFT_OUT = [  # files, and how the release tells of them: not by the names of data
    *[(name, name) for name in ("models/model.ts", "models/other.pth", "model.onnx", "label/train.json")],
    *[("cache/a.pt", "cache/*.pt"), ("eval/log.txt", "eval/*.txt"), ("data/images/frame_03.png", "data/*.png")],
    *[("docs/example.png", "docs/*.png"), ("docs/example.npy", "docs/*.npy"), ("notes.csv", "*.csv")],
    *[("frame_01.zip", "*.zip"), ("models/frame_03.json", "*.json"), ("frame_03/a.gif", "*.gif")],
]


def test_what_may_hold_the_forgotten_is_left_out_and_not_named(copied, unlearned, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    bundle = copied()
    for name, _ in LEFT_OUT:
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(b"x")
    workflow.release(unlearned, out=tmp_path / "released", trust=Trust(bundle=bundle))
    told = read_json(tmp_path / "released" / "release.json")["told"]
    for name, shown in LEFT_OUT:
        assert not (tmp_path / "released" / bundle.name / name).exists()
        assert f" {shown} (" in told[2]
        assert name in caplog.text
    assert "ckpt_export" in told[3]
    assert "frame_" not in (tmp_path / "released" / "release.json").read_text()


def test_a_config_that_names_a_case_is_not_released(copied, unlearned, tmp_path):
    bundle = copied(example="frame_03")
    with pytest.raises(InputError, match=rf"'{bundle.name}/configs/train.json' holds 'frame_03'"):
        workflow.release(unlearned, out=tmp_path / "released", trust=Trust(bundle=bundle))


def test_a_link_is_not_followed_into_a_release(copied, unlearned, tmp_path):
    bundle = copied()
    (tmp_path / "elsewhere.md").write_text("secret")
    (bundle / "docs" / "more.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(InputError, match="is a link"):
        workflow.release(unlearned, out=tmp_path / "released", trust=Trust(bundle=bundle))


def test_two_bundles_with_modules_of_one_name_do_not_mix(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    first, second = make_bundle("network_of_its_own", tmp_path / "a"), make_bundle("network_of_its_own", tmp_path / "b")
    code = second / "scripts" / "networks.py"
    code.write_text(code.read_text().replace("3d(4, ", "3d(6, ").replace("3d(1, 4,", "3d(1, 6,"))
    for number, (bundle, channels) in enumerate([(first, 4), (second, 6), (first, 4)]):
        split, run = tmp_path / f"{number}.json", tmp_path / f"run-{number}"
        workflow.split(bundle.parent / "data", out=split, from_bundle=bundle, forget=_third())
        workflow.train(bundle, split=split, out=run, settings=["max_epochs=1"], quiet=True)
        assert len(torch.load(run / "model.pt", weights_only=True)["first.bias"]) == channels


def test_lists_of_cases_are_left_out_whatever_they_are_called(copied, unlearned, tmp_path):
    bundle = copied()
    for name, content in {"datalist": [{"image": "1.png"}], "folds": {"training": [{"image": "1.png"}]}}.items():
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(content))
    workflow.release(unlearned, out=tmp_path / "released", trust=Trust(bundle=bundle))
    left = {path.name for path in (tmp_path / "released" / bundle.name / "configs").iterdir()}
    assert left == {"train.json", "inference.json", "metadata.json"}


def test_without_its_split_nothing_is_released(made, tmp_path):
    """Whether files name the forgotten cannot be known without their names."""
    split = tmp_path / "moved.json"
    workflow.split(made[0].parent / "data", out=split, from_bundle=made[0], forget=_third())
    run = workflow.unlearn(
        made[0],
        split=split,
        teacher=None,
        out=tmp_path / "run",
        settings=["max_epochs=1", "epoch_length=2"],
        quiet=True,
    )
    split.unlink()
    with pytest.raises(InputError, match=r"the split .* does not exist; if it was moved, .* --split FILE"):
        workflow.release(run, out=tmp_path / "released", trust=Trust(bundle=made[0]))


def test_an_inference_that_reads_otherwise_is_not_released(copied, unlearned, tmp_path):
    """Scored on images in [0, 1], and answering images in [0, 255]."""
    bundle = copied()
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    steps = [step for step in config["preprocessing"]["transforms"] if step["_target_"] != "ScaleIntensityd"]
    copied("inference", preprocessing={"_target_": "Compose", "transforms": steps})
    with pytest.raises(InputError, match=r"inference.json makes the input .* in \[.*, 2.*\]"):
        workflow.release(unlearned, out=tmp_path / "released", trust=Trust(bundle=bundle))


def test_the_form_of_the_bundles_own_weights_is_kept(copied, made, tmp_path):
    """Also where the teacher is a run, whose weights are plain."""
    bundle = copied()
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    torch.save({"model": state, "epoch": 7}, bundle / "models" / "model.pt")
    teacher, run, trust = tmp_path / "teacher", tmp_path / "run", Trust(bundle=bundle)
    workflow.train(bundle, split=made[1], out=teacher, settings=["max_epochs=1"], quiet=True)
    settings = ["max_epochs=1", "epoch_length=2"]
    workflow.unlearn(bundle, split=made[1], teacher=teacher, out=run, settings=settings, quiet=True, trust=trust)
    workflow.release(run, out=tmp_path / "released", trust=trust)
    released = torch.load(tmp_path / "released" / bundle.name / "models" / "model.pt", weights_only=True)
    assert list(released) == ["model"]


def test_a_run_keeps_its_activation(copied, made, tmp_path):
    """Where the bundle says nothing, the run's own answer is taken by whoever starts from it."""
    bundle = copied(lossfn={"_target_": "torch.nn.BCEWithLogitsLoss"}, train__postprocessing=None)
    copied(lossfn={"_target_": "TverskyLoss", "to_onehot_y": True})
    copied("inference", postprocessing={"_target_": "Compose", "transforms": []})
    run, trust = tmp_path / "run", Trust(bundle=bundle)
    settings = ["softmax=true", "max_epochs=1"]
    workflow.train(bundle, split=made[1], out=run, settings=settings, quiet=True)
    before = (run / "scores.csv").read_bytes()
    workflow.evaluate(run, trust=trust)
    assert (run / "scores.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("softmax=false", "contradicts the bundle's loss"),
        ("softmax=True", "softmax='True' is not allowed; use true or false"),
        ("batch_sice=4", "is not an id of this config"),
        ("scorer#spacing=[1,1,1]", "should have same length as image dim (2)"),
    ],
)
def test_inspect_refuses_what_runs_would(setting, reason, made):
    with pytest.raises(InputError) as refusal:
        workflow.inspect_bundle(made[0], split=made[1], settings=[setting])
    assert reason in str(refusal.value)


def test_lists_that_are_drawn_anew_each_time_are_refused(copied, made, tmp_path):
    bundle = copied(
        imports=["$import json", "$import random"], entries="$sorted(@listed, key=lambda e: random.random())"
    )
    copied(listed="$json.load(open(@bundle_root + '/datalist.json'))")
    with pytest.raises(InputError, match="another one each time it is read"):
        workflow.split(made[0].parent / "data", out=tmp_path / "s.json", from_bundle=bundle, forget=_third())


def test_images_outside_the_folder_are_refused(made, tmp_path):
    with pytest.raises(InputError, match="which is not in"):
        workflow.split(tmp_path, out=tmp_path / "s.json", from_bundle=made[0], forget=_third())


def test_masks_with_values_that_no_output_has_are_refused(copied, made, tmp_path):
    steps = json.loads((made[0] / "configs" / "train.json").read_text())["train"]["deterministic_transforms"]
    steps = [step for step in steps if step["_target_"] != "AsDiscreted"]
    bundle = copied(train__deterministic_transforms=steps)
    with pytest.raises(InputError, match="a label has the values 0, 255"):
        workflow.inspect_bundle(bundle, split=made[1])


def test_check_sends_to_inspect(made):
    with pytest.raises(InputError, match="mu-monai bundle inspect"):
        workflow.check_bundle(made[0])


@pytest.mark.parametrize("target", ["open", "__import__", "torch.hub.load", "os.system", "scripts.a.B", "numpy.save"])
def test_show_code_lists_what_is_not_a_part_of_a_network(target, copied):
    lines = workflow.code_of(copied(odd={"_target_": target, "a": 1}))
    assert f"train.json: odd calls {target}" in lines


def test_a_run_of_another_version_is_told_apart_and_usable(made, tmp_path, monkeypatch):
    """What mu-monai makes of a bundle may change: the advice says so, and works."""
    from mu_monai.bundle.adopted import adopt

    run = workflow.train(made[0], split=made[1], out=tmp_path / "run", settings=["max_epochs=1"], quiet=True)
    made_now = adopt.adopted_configs

    def made_later(parts):
        configs = made_now(parts)
        for name in ("train", "unlearn", "evaluate"):
            configs[name]["transforms"]["transforms"].append({"_target_": "EnsureTyped", "keys": ["image"]})
        return configs

    monkeypatch.setattr(adopt, "adopted_configs", made_later)
    adopt.adopted.cache_clear()
    try:
        with pytest.raises(InputError, match=r"makes something else of .*give the bundle as it was \(--bundle\), or"):
            workflow.evaluate(run, trust=Trust(bundle=made[0]))
        before = (run / "scores.csv").read_bytes()
        workflow.evaluate(run, trust=Trust(bundle=made[0], config=True))
        assert (run / "scores.csv").read_bytes() == before
    finally:
        adopt.adopted.cache_clear()


def test_labels_of_all_cases_are_checked_before_the_start(made, tmp_path):
    """All at once, with the cases' names, and not in an epoch that happens to have one."""
    import shutil

    from PIL import Image

    folder = tmp_path / "changed"
    shutil.copytree(made[0].parent / "data", folder / "data")
    bundle = shutil.copytree(made[0], folder / made[0].name)
    listed = (bundle / "datalist.json").read_text().replace(str(made[0].parent / "data"), str(folder / "data"))
    (bundle / "datalist.json").write_text(listed)
    config = json.loads((bundle / "configs" / "train.json").read_text())
    steps = config["train"]["deterministic_transforms"]
    steps[-2] = {"_target_": "ScaleIntensityRanged", "keys": "label", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1}
    (bundle / "configs" / "train.json").write_text(json.dumps(config))
    workflow.split(folder / "data", out=folder / "split.json", from_bundle=bundle, forget=_third())
    cases = read_json(folder / "split.json")
    wrong = [cases["test"][0], cases["forget"][0]]
    for case in wrong:
        file = folder / case["label"]
        Image.fromarray((np.array(Image.open(file)) // 2).astype(np.uint8)).save(file)
    workflow.split(folder / "data", out=folder / "again.json", from_bundle=bundle, forget=_third())
    with pytest.raises(InputError) as refusal:
        workflow.train(bundle, split=folder / "again.json", out=tmp_path / "run", quiet=True)
    assert all(f"the label of case '{case['case_id']}' has the values 0, 0.498" in str(refusal.value) for case in wrong)
    assert len(refusal.value.problems) == len(wrong)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def searched(copied, made, tmp_path):
    """A run of a bundle whose network is built from what a search found, kept in a file of its own."""

    def write(found, load):
        file = "$@bundle_root + '/models/searched.pt'"
        for config, net, imports in (("train", "net", ["$import json"]), ("inference", "network_def", [])):
            ids = {"found_file": file, "found": load, f"{net}__num_res_units": "$int(@found['units'])"}
            bundle = copied(config, imports=[*imports, "$import glob", "$import torch"], **ids)
        torch.save(found, bundle / "models" / "searched.pt")
        settings = ["max_epochs=1", "epoch_length=2"]
        out = tmp_path / "searched"
        workflow.unlearn(bundle, split=made[1], teacher=None, out=out, settings=settings, quiet=True)
        return out, Trust(bundle=bundle)

    return write


def test_what_the_network_is_built_from_is_released_and_signed(searched, made, tmp_path):
    """The file is kept since the definition of the network names it, and the record is of the weights beside it."""
    run, trust = searched({"units": torch.tensor(1)}, "$torch.load(@found_file)")
    released, signer = tmp_path / "released", Ed25519PrivateKey.generate()
    workflow.release(run, out=released, trust=trust)
    kept = "kept models/searched.pt, which the network is built from (found_file of its train config)"
    assert any(each.startswith(kept) for each in read_json(released / "release.json")["told"])
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    key.write_bytes(signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    workflow.report([run], out=tmp_path / "report", images=False, record=released, key=key)
    checks = workflow.verify(released, key=public, split=made[1], salt=tmp_path / "released.salt.txt")
    assert {check.name: check.status for check in checks} == {
        **dict.fromkeys(("signature", "record", "files", "weights", "search", "split", "utility", "membership"), "ok"),
        "verdict": "not checked",
    }


def test_what_the_network_is_built_from_must_be_searchable(searched, tmp_path):
    run, trust = searched({"units": np.array(1)}, "$torch.load(@found_file, weights_only=False)")
    with pytest.raises(InputError, match=r"searched.pt' is read by the network's definition and cannot be"):
        workflow.release(run, out=tmp_path / "released", trust=trust)


def test_a_split_with_nobody_to_forget_is_inspected_and_trained(made, tmp_path):
    """A model is trained before anybody asks to be forgotten; a subset without a case is no label to check."""
    split = tmp_path / "split.json"
    workflow.split(made[0].parent / "data", out=split, from_bundle=made[0])
    assert not read_json(split)["forget"]
    assert any(line.startswith("judged") for line in workflow.inspect_bundle(made[0], split=split))
    run = workflow.train(made[0], split=split, out=tmp_path / "run", settings=["max_epochs=1"], quiet=True)
    assert open_run(run).record.status == "finished"
