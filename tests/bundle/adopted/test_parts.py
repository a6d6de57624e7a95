"""Parts are found through the engines, and what cannot be adopted is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mu_monai.bundle import open_bundle
from mu_monai.bundle.adopted.extract import Extract
from mu_monai.bundle.adopted.generate import adopted_configs
from mu_monai.bundle.adopted.parts import find_parts
from mu_monai.bundle.adopted.source import SourceConfig
from mu_monai.bundle.parser import config_parser
from mu_monai.errors import InputError


def config(**changes: Any) -> dict[str, Any]:
    """A small training config, in which some ids are replaced; `None` removes one."""
    load = [{"_target_": "LoadImaged", "keys": ["image", "label"]}]
    made: dict[str, Any] = {
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "the_net": {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [2, 4]}
        | {"strides": [2]},
        "net": "$@the_net.to(@device)",
        "lossfn": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        "opt": {"_target_": "torch.optim.Adam", "params": "$@net.parameters()", "lr": 0.01},
        "steps": load,
        "training": {
            "_target_": "SupervisedTrainer",
            "device": "@device",
            "max_epochs": 7,
            "train_data_loader": "@loader",
            "network": "@net",
            "optimizer": "@opt",
            "loss_function": "@lossfn",
        },
        "loader": {"_target_": "DataLoader", "dataset": "@cases", "batch_size": "$2 + 1"},
        "cases": {"_target_": "Dataset", "data": [], "transform": {"_target_": "Compose", "transforms": "@steps"}},
        "checking": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": {"_target_": "DataLoader", "dataset": "@cases"},
            "network": "@net",
        },
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def bundle_of(folder: Path, train: dict[str, Any] | None, **others: Any) -> Path:
    configs = folder / "somebodys" / "configs"
    configs.mkdir(parents=True)
    for name, content in {"train": train, "metadata": {"version": "1.0.0"}, **others}.items():
        if content is not None:
            (configs / f"{name}.json").write_text(json.dumps(content))
    return configs.parent


def test_parts_are_found_under_any_id(tmp_path):
    parts = find_parts(bundle_of(tmp_path, config()))
    assert parts.found["network"] == "net"
    assert parts.network["_target_"] == "UNet"
    assert parts.numbers == {"max_epochs": 7, "batch_size": 3, "learning_rate": 0.01, "cache_rate": 0.0}
    assert (parts.task, parts.softmax, parts.one_hot) == ("segmentation", True, False)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("$@the_net.to(@device)", "UNet"),
        ("$torch.nn.DataParallel(@the_net.to(@device))", "UNet"),
        ("@the_net", "UNet"),
        ({"_target_": "BasicUNet", "spatial_dims": 2}, "BasicUNet"),
    ],
)
def test_the_network_is_followed_to_its_definition(network, name, tmp_path):
    assert find_parts(bundle_of(tmp_path, config(net=network))).network["_target_"] == name


DEEP = {"_target_": "DynUNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "kernel_size": [3, 3, 3]} | {
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [2, 2, 2],
    "deep_supervision": True,
    "deep_supr_num": 1,
}
OVER_ALL = {"_target_": "DeepSupervisionLoss", "loss": {"_target_": "DiceLoss", "softmax": True, "to_onehot_y": True}}
OF_DEFINITION = {"_target_": "torch.optim.SGD", "params": "$@the_net.parameters()", "lr": 0.1}
LOADS = {"_target_": "LoadImaged", "keys": ["image", "label"]}


def built(folder: Path, place: str, **changes: Any) -> Any:
    """What the adopted training config of a bundle makes at an id, and its network."""
    content = adopted_configs(find_parts(bundle_of(folder, config(**changes))))["train"]
    parser = config_parser(content | {"device": "cpu"})
    return parser.get_parsed_content(place), parser.get_parsed_content("network")


@pytest.mark.parametrize("changes", [{}, {"the_net": DEEP, "lossfn": OVER_ALL}], ids=["one answer", "several answers"])
@pytest.mark.parametrize("optimizer", [OF_DEFINITION, OF_DEFINITION | {"params": "$@net.parameters()"}])
def test_the_optimizer_trains_the_network_of_the_trainer(optimizer, changes, tmp_path):
    made, network = built(tmp_path, "optimizer", opt=optimizer, **changes)
    trained = {id(weight) for group in made.param_groups for weight in group["params"]}
    assert trained == {id(weight) for weight in network.parameters()}


@pytest.mark.parametrize(
    "optimizer",
    [{"_target_": "torch.optim.Adagrad", "params": "$@net.parameters()"}, "$torch.optim.Adagrad(@net.parameters())"],
)
def test_a_rate_that_the_optimizer_does_not_name_is_its_own(optimizer, tmp_path):
    parts = find_parts(bundle_of(tmp_path, config(opt=optimizer)))
    assert "no rate (lr) can be read from the optimizer" in " ".join(parts.notes)
    assert "learning_rate" not in adopted_configs(parts)["train"]  # so that setting it is refused
    made, _ = built(tmp_path / "built", "optimizer", opt=optimizer)
    assert made.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("the_net", {}),
        ("the_net", {"the_net": DEEP, "lossfn": OVER_ALL}),
        ("net", {"net": config()["the_net"], "the_net": None}),
    ],
)
def test_arguments_of_the_network_may_be_used_elsewhere(place, changes, tmp_path):
    one_hot = {"_target_": "AsDiscreted", "keys": "label", "to_onehot": f"@{place}::out_channels"}
    made, _ = built(tmp_path, "transforms", steps=[LOADS, one_hot], **changes)
    assert next(iter(made.transforms[0].transforms[1].to_onehot)) == 2


@pytest.mark.parametrize(
    "imports", ["$import fractions", ["$from x import y", "$import fractions"], {"a": "$import fractions"}]
)
@pytest.mark.parametrize("place", ["imports", "initialize"])
def test_imports_are_found_wherever_monai_runs_them(place, imports, tmp_path):
    content = adopted_configs(find_parts(bundle_of(tmp_path, config(**{place: imports}))))["train"]
    assert content["imports"].count("$import fractions") == 1
    assert all(text.startswith(("$import ", "$from ")) for text in content["imports"])


def test_files_that_a_config_takes_content_from_are_those_of_the_bundle(tmp_path, monkeypatch):
    """MONAI looks for them in the working folder, which is the bundle's where its own command runs."""
    bundle = bundle_of(tmp_path, config(steps="%configs/common.json::steps"), common={"steps": config()["steps"]})
    monkeypatch.chdir(tmp_path)
    assert find_parts(bundle).label_file
    (bundle / "configs" / "common.json").unlink()
    with pytest.raises(InputError, match=rf"files that it takes content from \(%\) are looked for in '{bundle}'"):
        find_parts(bundle)
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("said", [True, "true", " True "])
def test_a_disabled_trainer_is_no_trainer(said, tmp_path):
    second = {"_target_": "SupervisedTrainer", "_disabled_": said}
    assert find_parts(bundle_of(tmp_path, config(second=second))).found["network"] == "net"


def test_what_expressions_of_the_inference_config_write_goes_into_the_folder_of_predict(tmp_path):
    post = "$monai.transforms.SaveImaged(keys='pred', output_dir=@output_dir + '/masks')"
    evaluator = config()["checking"] | {"postprocessing": post}
    inference = config(checking=evaluator, training=None, output_dir="$@bundle_root + '/eval'")
    bundle = bundle_of(
        tmp_path, config(), inference=inference | {"steps": [{"_target_": "LoadImaged", "keys": "image"}]}
    )
    made = adopted_configs(find_parts(bundle))["inference"]
    assert made["evaluator"]["postprocessing"] == post
    assert "inference" not in made or "output_dir" not in made["inference"]


@pytest.mark.parametrize(
    ("loss", "softmax", "one_hot"),
    [
        ({"_target_": "DiceLoss", "sigmoid": True}, False, False),
        ({"_target_": "DiceLoss", "softmax": True}, True, True),
        ({"_target_": "monai.losses.DiceFocalLoss", "softmax": True, "to_onehot_y": True}, True, False),
        ({"_target_": "torch.nn.CrossEntropyLoss"}, True, False),
        ({"_target_": "torch.nn.BCEWithLogitsLoss"}, False, False),
        ({"_target_": "FocalLoss", "use_softmax": "$1 == 1", "to_onehot_y": True}, True, False),
        ({"_target_": "DeepSupervisionLoss", "loss": {"_target_": "DiceLoss", "sigmoid": True}}, False, False),
        ({"_target_": "torch.nn.MSELoss"}, None, False),
    ],
)
def test_the_activation_is_that_of_the_loss(loss, softmax, one_hot, tmp_path):
    parts = find_parts(bundle_of(tmp_path, config(lossfn=loss)))
    assert (parts.softmax, parts.one_hot) == (softmax, one_hot)
    assert ("softmax or of a sigmoid is not known" in " ".join(parts.notes)) == (softmax is None)


def test_a_loss_that_says_nothing_is_helped_by_the_postprocessing(tmp_path):
    post = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]
    parts = find_parts(bundle_of(tmp_path, config(lossfn={"_target_": "torch.nn.MSELoss"}, post=post)))
    assert parts.softmax is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"training": {"_target_": "scripts.trainer.DetectionTrainer"}},
            "its trainer is scripts.trainer.DetectionTrainer",
        ),
        ({"training": None}, "no part of its train config is a trainer"),
        ({"second": {"_target_": "SupervisedTrainer"}}, "it has 2 trainers (training, second)"),
        ({"more": {"second": {"_target_": "SupervisedEvaluator"}}}, "it has 2 evaluators (checking, more#second)"),
        ({"training": config()["training"] | {"prepare_batch": "@mine"}}, "its own prepare_batch ('@mine')"),
        ({"training": config()["training"] | {"iteration_update": "$f"}}, "its own iteration_update"),
        ({"net": None}, "its trainer names no network"),
        ({"cases": "$some.code()"}, "train_data_loader does not lead to a transform"),
        ({"steps": [{"_target_": "ScaleIntensityd", "keys": "image"}]}, "nibabel.save(nibabel.Nifti1Image(array"),
        ({"checking": None}, "it has no SupervisedEvaluator"),
        ({"post": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]}, "its loss is of a softmax and its"),
    ],
)
def test_what_cannot_be_adopted_is_refused_with_the_reason(changes, reason, tmp_path):
    with pytest.raises(InputError) as refusal:
        find_parts(bundle_of(tmp_path, config(**changes)))
    assert reason in str(refusal.value)
    assert "cannot be adopted" in str(refusal.value)


def test_a_bundle_without_training_is_refused(tmp_path):
    with pytest.raises(InputError, match="no config named train"):
        open_bundle(bundle_of(tmp_path, None, inference={}))


def test_several_reasons_come_at_once(tmp_path):
    with pytest.raises(InputError) as refusal:
        find_parts(bundle_of(tmp_path, config(net=None, checking=None)))
    assert len(refusal.value.problems) == 2


def test_an_evaluator_of_its_own_config_is_found(tmp_path):
    checking = config()["checking"]
    folder = bundle_of(tmp_path, config(checking=None), evaluate={"the_evaluator": checking})
    assert find_parts(folder).transform["_target_"] == "Compose"


def test_adopting_executes_nothing_but_numbers(tmp_path):
    """Data lists, scripts and postprocessing stay unread until a verb needs them."""
    told = tmp_path / "told"
    code = f"$open({str(told)!r}, 'w').close()"
    folder = bundle_of(tmp_path, config(cases=config()["cases"] | {"data": code}, initialize=[code], run=[code]))
    adopted_configs(find_parts(folder))
    assert not told.exists()


def test_a_network_that_fetches_weights_does_so_only_where_it_is_trained(tmp_path):
    net = {"_target_": "FlexibleUNet", "in_channels": 3, "out_channels": 2, "backbone": "resnet18", "pretrained": True}
    configs = adopted_configs(find_parts(bundle_of(tmp_path, config(the_net=net))))
    assert configs["train"]["first_network"]["pretrained"] is True
    assert configs["train"]["network"] == "$@first_network.to(@device)"
    assert all(configs[name]["network_def"]["pretrained"] is False for name in ("train", "unlearn", "evaluate"))


def test_what_parts_refer_to_comes_along_under_one_id(tmp_path):
    folder = bundle_of(tmp_path, {"rate": "@base", "base": "$3", "other": 1, "steps": {"a": [{"k": "@base"}]}})
    extract = Extract(SourceConfig(folder, folder / "configs" / "train.json"), "source", {"root": "bundle_root"})
    assert extract.take("$@rate * 2 + len(@root)") == "$@source::rate * 2 + len(@bundle_root)"
    assert extract.take("@steps::a::0::k") == "@source::steps::a::0::k"
    assert extract.take("mail@example.org") == "mail@example.org"
    assert extract.kept == {"rate": "@source::base", "base": "$3", "steps": {"a": [{"k": "@source::base"}]}}


def test_references_in_a_circle_end(tmp_path):
    folder = bundle_of(tmp_path, {"a": "@b", "b": "@a"})
    extract = Extract(SourceConfig(folder, folder / "configs" / "train.json"), "source", {})
    assert extract.take("@a") == "@source::a"
    assert sorted(extract.kept) == ["a", "b"]


def test_disabled_components_do_not_count(tmp_path):
    second = {"_target_": "SupervisedTrainer", "_disabled_": True}
    assert find_parts(bundle_of(tmp_path, config(second=second))).numbers["max_epochs"] == 7


@pytest.mark.parametrize("name", ["LoadImageD", "LoadImageDict", "monai.transforms.LoadImaged"])
def test_other_names_of_a_transform_are_known(name, tmp_path):
    assert (
        find_parts(bundle_of(tmp_path, config(steps=[{"_target_": name, "keys": ["image"]}]))).task == "classification"
    )


@pytest.mark.parametrize("name", ["my#bundle", "@mine", "$mine"])
def test_a_name_that_monai_would_act_on_is_refused(name, tmp_path):
    folder = bundle_of(tmp_path, config())
    with pytest.raises(InputError, match="its folder's name is read by MONAI"):
        find_parts(folder.rename(tmp_path / name))


def test_a_mask_of_which_a_class_is_made_is_of_classification(tmp_path):
    steps = [*config()["steps"], {"_target_": "SetLabelClassd", "keys": "label"}]
    folder = bundle_of(tmp_path, config(steps=steps))
    assert (find_parts(folder).task, find_parts(folder).label_file) == ("classification", True)
    assert "indexed" not in adopted_configs(find_parts(folder))["train"]["cases"]


def test_epochs_that_cannot_be_read_are_told(tmp_path):
    parts = find_parts(bundle_of(tmp_path, config(training=config()["training"] | {"max_epochs": "$@missing * 2"})))
    assert parts.trained["max_epochs"] is None
    assert any("number of epochs cannot be read" in note for note in parts.notes)


@pytest.mark.parametrize(
    ("size", "dims", "expected"),
    [
        (1.5, 2, [1.5, 1.5]),
        ([1.5], 3, [1.5, 1.5, 1.5]),
        ("$1 + 0.5", 2, [1.5, 1.5]),
        ([1, 2], 3, [1.0, 2.0, 2.0]),
        ([1, 2, 3], 2, [1.0, 2.0]),
        ([1, 2], None, [1.0, 2.0]),
        (1.5, None, None),
    ],
)
def test_a_spacing_has_a_size_for_each_axis_of_the_network(size, dims, expected, tmp_path):
    spacing = {"_target_": "Spacingd", "keys": ["image", "label"], "pixdim": size}
    network = {key: value for key, value in config()["the_net"].items() if key != "spatial_dims"}
    network |= {} if dims is None else {"spatial_dims": dims}
    assert find_parts(bundle_of(tmp_path, config(steps=[LOADS, spacing], the_net=network))).spacing == expected


@pytest.mark.parametrize("after", ["Orientationd", "Rotate90d", "Resized"])
def test_a_spacing_that_a_later_step_changes_is_not_told(after, tmp_path):
    steps = [*config()["steps"], {"_target_": "Spacingd", "keys": "image", "pixdim": [1, 2]}]
    assert find_parts(bundle_of(tmp_path, config(steps=steps))).spacing == [1.0, 2.0]
    later = [*steps, {"_target_": after, "keys": "image"}]
    assert find_parts(bundle_of(tmp_path / "later", config(steps=later))).spacing is None


def test_transforms_as_a_list_are_composed(tmp_path):
    cases = config()["cases"] | {"transform": "@steps"}
    configs = adopted_configs(find_parts(bundle_of(tmp_path, config(cases=cases))))
    assert configs["evaluate"]["transforms"]["transforms"][0]["_target_"] == "Compose"


def test_an_optimizer_as_an_expression_stays_one(tmp_path):
    opt = "$torch.optim.Adam(@net.parameters(), lr=1e-3)"
    configs = adopted_configs(find_parts(bundle_of(tmp_path, config(opt=opt))))
    assert configs["train"]["optimizer"] == "$torch.optim.Adam(@network.parameters(), lr=1e-3)"


DYNAMIC = {"_target_": "DynUNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "deep_supervision": True}


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (DYNAMIC, "runs use the first, also to train"),
        (DYNAMIC | {"deep_supervision": False}, None),
        ({"_target_": "monai.networks.nets.SegResNetDS", "dsdepth": "$1 + 1"}, "runs use the first, also to train"),
        ({"_target_": "SegResNetDS", "dsdepth": 1}, None),
        ({"_target_": "BasicUNetPlusPlus"}, "runs use the first, also to train"),
        ({"_target_": "scripts.nets.Own"}, "is not MONAI's"),
    ],
    ids=str,
)
def test_of_several_answers_the_first_is_used(network, told, tmp_path):
    parts = find_parts(bundle_of(tmp_path, config(the_net=network)))
    assert [told in note for note in parts.notes if "several tensors" in note] == ([] if told is None else [True])
    made = adopted_configs(parts)
    for name in ("train", "unlearn", "evaluate"):
        assert (made[name]["network_def"]["_target_"] == "mu_monai.adapters.first_answer") == (told is not None)


def test_a_loss_over_all_answers_trains_and_its_own_measures(tmp_path):
    loss = {"_target_": "DeepSupervisionLoss", "loss": config()["lossfn"], "weight_mode": "two"}
    made = adopted_configs(find_parts(bundle_of(tmp_path, config(the_net=DYNAMIC, lossfn=loss))))
    assert made["train"]["loss_of_all"] == loss | {"loss": "@loss"}
    assert made["train"]["train"]["trainer"]["loss_function"] == "@loss_of_all"
    assert made["train"]["first_network"]["in_training"] is False
    assert made["unlearn"]["train"]["trainer"]["loss_function"] == "@loss"
    assert made["unlearn"]["loss"]["_target_"] == "DiceCELoss"


def test_a_network_whose_last_answer_counts_is_refused(tmp_path):
    network = {"_target_": "BasicUNetPlusPlus", "deep_supervision": True}
    with pytest.raises(InputError, match="of which the last is the final one"):
        find_parts(bundle_of(tmp_path, config(the_net=network)))


CODE = "$open('seen', 'w')"


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"version": CODE}, "version = "),
        ({"version": "%train.json::net"}, "version = "),
        ({"version": "1.0.0", "changelog": {"1.0.0": CODE}}, "changelog#1.0.0 = "),
        ({"version": "1.0.0", "more": [{"_target_": "os.system"}]}, "more#0#_target_ = 'os.system'"),
        (
            {"network_data_format": {"outputs": {"pred": {"channel_def": {"0": "rest", "1": CODE}}}}},
            "network_data_format#outputs#pred#channel_def#1 = ",
        ),
    ],
)
def test_metadata_is_data(metadata, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = bundle_of(tmp_path, config(), metadata=metadata)
    with pytest.raises(InputError) as refusal:
        open_bundle(folder)
    assert f"{folder / 'configs' / 'metadata.json'}' has {place}" in str(refusal.value)
    assert "write plain text there" in str(refusal.value)
    assert not (tmp_path / "seen").exists()


def test_the_version_is_told_without_evaluating_it(tmp_path):
    configs = adopted_configs(find_parts(bundle_of(tmp_path, config())))
    assert configs["train"]["run_folder"]["bundle"]["version"] == "@_meta_::version"


@pytest.mark.parametrize("handlers", ["$[h for h in @hs]", ["$@hs[0] if True else None"], [{"_target_": "A"}, "$B()"]])
def test_an_inference_with_handlers_that_are_not_known_does_not_predict(handlers, tmp_path):
    """One of them might load other weights than those of the run."""
    load = [{"_target_": "LoadImaged", "keys": ["image"]}]
    checking = config()["checking"] | {"val_handlers": handlers}
    inference = config(training=None, checking=checking, steps=load, hs=[{"_target_": "StatsHandler"}])
    parts = find_parts(bundle_of(tmp_path, config(), inference=inference))
    assert parts.inference is None
    assert "in val_handlers, so whether it loads other weights is not known" in parts.unpredicted
    assert "inference" not in adopted_configs(parts)


def test_handlers_of_an_inference_are_kept_but_those_that_load_weights(tmp_path):
    load = [{"_target_": "LoadImaged", "keys": ["image"]}]
    handlers = ["@loads", {"_target_": "StatsHandler"}, "@also"]
    checking = config()["checking"] | {"val_handlers": handlers}
    named = {"loads": {"_target_": "CheckpointLoader", "load_path": "a.pt"}, "also": {"_target_": "MetricsSaver"}}
    inference = config(training=None, checking=checking, steps=load, **named)
    configs = adopted_configs(find_parts(bundle_of(tmp_path, config(), inference=inference)))
    assert configs["inference"]["handlers"] == [{"_target_": "StatsHandler"}, "@inference::also"]
