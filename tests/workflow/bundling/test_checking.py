"""A bundle that breaks a rule is refused with a sentence that names it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.bundle import shipped_bundles
from mu_monai.errors import InputError

GONE = object()
SPLIT = "$str(mu_monai.data.phantom_split('vessels', @dataset_dir))"
RESEED, STOP = {"_target_": "mu_monai.engine.Reseed", "seed": "@seed"}, {"_target_": "mu_monai.engine.StopOnNonFinite"}
LOADER = {"_target_": "monai.data.DataLoader", "batch_size": 2}


def copied(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(shipped_bundles()[name], folder / name))


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A copy of a bundle, to be broken."""
    return copied("isic", tmp_path)


def edit(bundle: Path, config: str, key: str, value) -> None:
    """Set an id of a config, or take it away; its twin is copied again."""
    file = bundle / "configs" / f"{config}.json"
    content = json.loads(file.read_text())
    *parents, last = key.split("::")
    level = content
    for parent in parents:
        level = level[int(parent) if isinstance(level, list) else parent]
    last = int(last) if isinstance(level, list) else last
    if value is GONE:
        del level[last]
    else:
        level[last] = value
    file.write_text(json.dumps(content))
    if (bundle / file.name).is_file():
        shutil.copyfile(file, bundle / file.name)


def problems(bundle: Path) -> list[str]:
    try:
        workflow.check_bundle(bundle)
    except InputError as error:
        return error.problems
    return []


@pytest.mark.parametrize("name", shipped_bundles())
def test_weights_may_be_missing(name, tmp_path):
    copy = copied(name, tmp_path)
    shutil.rmtree(copy / "models")
    assert "without models/model.pt, 'unlearn' needs --teacher" in workflow.check_bundle(copy)[-1]


BROKEN = [
    # copies, names and what must be equal
    ("train", "bundle_name", "other", "train.json' has bundle_name = 'other', and the bundle's folder is 'isic'"),
    ("unlearn", "bundle_root", "$mu_monai.bundle_root('chase')", "unlearn.json' has bundle_root = .*'isic'"),
    (
        "evaluate",
        "image_size",
        [128, 128],
        r"differ in 'image_size', .*\[256, 256\] in train.json, unlearn.json, infer",
    ),
    ("inference", "network_def::channels::0", 8, "differ in 'network_def'.* in inference.json"),
    ("unlearn", "loss::sigmoid", GONE, "differ in 'loss'.* in unlearn.json"),
    ("evaluate", "transforms::transforms::2::a_max", 1, "differ in 'transforms'"),
    ("inference", "split", SPLIT, "differ in 'split'"),
    ("evaluate", "datasets::cache_rate", 0.0, "differ in 'datasets'"),
    ("inference", "preprocessing::transforms::1::b_min", 0, "step 2 on an image is .*'b_min': -1.*'b_min': 0"),
    ("inference", "preprocessing::transforms::2::mode", "nearest", "step 3 on an image is"),
    ("inference", "preprocessing::transforms::2::align_corners", True, "step 3 on an image is"),
    ("inference", "preprocessing::transforms::3", GONE, "step 4 on an image is .* and nothing in 'preprocessing'"),
    (
        "paper-code",
        "preset",
        "released",
        "paper-code.json' says that it is the preset 'released'; .* 'paper-code'",
    ),
    ("unlearn", "network::r", 4, "says that it is the preset 'paper', whose file .* network::r"),
    ("unlearn", "preset", "unheard", "the preset 'unheard', and there is no 'configs/unheard.json'"),
    (
        "calibrated-erase-to-retain",
        "method::_target_",
        "mu_monai.methods.NPO",
        "named after a method, and its 'method' is NPO; .* mu_monai.methods.CalibratedEraseToRetain",
    ),
    # ids, components and references
    ("paper", "method#forget_wieght", 1.0, "paper.json': 'method#forget_wieght' .* method#forget_weight"),
    ("paper_size", "network_deff", {}, "paper_size.json': 'network_deff' is not an id"),
    ("train", "subsets", GONE, "train.json' has no id 'subsets'"),
    ("inference", "dataset_dir", GONE, "inference.json' has no id 'dataset_dir'"),
    (
        "unlearn",
        "optimizer::_target_",
        "torch.optim.Adamm",
        "optimizer .* 'torch.optim.Adamm', which cannot be imported",
    ),
    ("evaluate", "loss::_target_", "DiceCE", "evaluate.json': loss .* 'DiceCE', which cannot be imported"),
    ("paper_size", "network_def::_target_", "nowhere.Net", "paper_size.json': network_def .* 'nowhere.Net'"),
    ("train", "loss::_target_", "torch.nn", "loss .* 'torch.nn', which cannot be imported"),
    (
        "unlearn",
        "method::unseen_loader::dataset",
        "@datasets::validation",
        "unlearn.json': method::unseen_loader::dataset refers to '@datasets::validation', and there is no such id",
    ),
    ("train", "scorer::batch_size", "@batch_sise", "refers to '@batch_sise', .*; did you mean 'batch_size'"),
    ("calibrated-erase-to-retain", "method::unseen_loader::batch_size", "$2 * @bach", "refers to '@bach'"),
    # handlers and trainer
    ("train", "handlers", [STOP, RESEED, "@scorer", "@run_folder"], "put mu_monai.engine.Reseed first"),
    ("train", "handlers", [RESEED, STOP, "@run_folder", "@scorer"], "end with '@scorer' and '@run_folder'"),
    ("train", "handlers", [RESEED, "@scorer", "@run_folder"], "add mu_monai.engine.StopOnNonFinite"),
    (
        "unlearn",
        "handlers",
        [RESEED, STOP, "@method", "@scorer", "@run_folder"],
        "put '@method' before StopOnNonFinite",
    ),
    ("unlearn", "handlers", [RESEED, STOP, "@scorer", "@run_folder"], "put '@method' before StopOnNonFinite"),
    (
        "unlearn",
        "handlers",
        [RESEED, "@method", {"_target_": "mu_monai.engine.MixedPrecision"}, STOP, "@scorer", "@run_folder"],
        "put mu_monai.engine.MixedPrecision before '@method'",
    ),
    ("train", "train::trainer::decollate", True, "decollate must be false"),
    ("unlearn", "train::trainer::decollate", GONE, "decollate must be false"),
    ("train", "train::trainer::train_handlers", GONE, r"train_handlers must be '\$@handlers'"),
    ("unlearn", "run_folder::teacher", None, "run_folder::teacher is None; .* '@teacher'"),
    ("train", "run_folder::seed", 3, "run_folder::seed is 3; .* '@seed'"),
    ("unlearn", "network::_target_", "mu_monai.adapters.load_student", "network must be a mu_monai.adapters.Student"),
    ("unlearn", "optimizer::params", "$@network.parameters()", "optimizer::params must take '@network.trainable"),
    ("train", "run", ["$@scorer.write({}, @run_dir)", "$@train::trainer.run()"], "run must call '@train::trainer.run"),
    ("unlearn", "run", ["$@train::trainer.run()"], "run must call"),
    # subsets
    ("unlearn", "train::dataset", "$@datasets['validation']", "train::dataset sees validation cases"),
    ("train", "subsets", ["retain", "test"], "train::dataset sees test cases; it may see retain and forget"),
    ("unlearn", "method::unseen_loader::dataset", "$@datasets['test']", "method::unseen_loader sees test cases"),
    ("unlearn", "method::extra", "$@scorer.loaders['test']", "method sees test cases"),
    ("unlearn", "method::forget_loader::dataset", "$@datasets['retain']", "method::forget_loader sees no forget cases"),
    (
        "calibrated-erase-to-retain",
        "method::forget_loader::dataset",
        "$@datasets['forget'] + @datasets['test']",
        "calibrated-erase-to-retain.json': method::forget_loader sees test cases",
    ),
    # tasks, activations, metadata and network
    (
        "unlearn",
        "method::task",
        "classification",
        "several tasks; .*'classification' as method::task of u",
    ),
    ("train", "run_folder::bundle::task", "detection", "is 'detection'; use segmentation or classification"),
    (
        "unlearn",
        "method::_target_",
        "mu_monai.methods.BoundaryExpand",
        "is for classification, .*not for segmentation",
    ),
    (
        "unlearn",
        "method::softmax",
        True,
        "different activations .*sigmoid by the loss of train.json.*softmax by method::softm",
    ),
    (
        "inference",
        "postprocessing::transforms::0",
        {"_target_": "Activationsd", "softmax": True},
        "softmax by the postpr",
    ),
    ("metadata", "version", GONE, "metadata.json' has no 'version'"),
    ("metadata", "changelog", {}, "the changelog has no entry .* '0.1.0'"),
    (
        "metadata",
        "network_data_format::outputs::pred::num_channels",
        GONE,
        "no 'network_data_format::outputs::pred::num",
    ),
    (
        "metadata",
        "network_data_format::outputs::pred::num_channels",
        2,
        "masks have one channel, and .* has 2",
    ),
    ("metadata", "network_data_format::outputs::pred::num_channels", 2, "names 1 .*channels and counts 2"),
    (
        "metadata",
        "network_data_format::outputs::pred::num_channels",
        2,
        r"output is not what .*channel number `1` doesn",
    ),
    (
        "metadata",
        "network_data_format::inputs::image::num_channels",
        1,
        "the network's output is not what 'configs/metad",
    ),
    ("inference", "network_def::channels", [16], "the network cannot be built"),
    ("inference", "network_def::num_res_units", 1, "model.pt' do not fit the bundle's network"),
]


@pytest.mark.parametrize(("config", "key", "value", "expected"), BROKEN)
def test_one_edit_is_named(bundle, config, key, value, expected):
    edit(bundle, config, key, value)
    found = problems(bundle)
    assert [text for text in found if re.search(expected, text)], found


@pytest.mark.parametrize("name", ["configs/train.json", "configs/evaluate.json", "LICENSE", "docs/README.md"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    assert [text for text in problems(bundle) if f"'{name}' is missing" in text]


@pytest.mark.parametrize("name", ["unlearn.json", "metadata.json", "logging.conf"])
@pytest.mark.parametrize("change", ["gone", "edited", "gone from configs"])
def test_twins_that_are_not_equal_are_named(bundle, name, change):
    place = bundle / "configs" / name if change == "gone from configs" else bundle / name
    if change == "edited":
        place.write_text(place.read_text() + " ")
    else:
        place.unlink()
    if (name, change) == ("metadata.json", "gone from configs"):
        with pytest.raises(InputError, match=r"'configs/metadata\.json' is missing"):
            workflow.check_bundle(bundle)
    else:
        assert [text for text in problems(bundle) if text.startswith(f"'{name}' and 'configs/{name}' differ")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{", "is not valid JSON"), ("[]", "instead of a mapping"), ('{"loss": "%a.json::b"}', "parsed")],
)
def test_a_config_that_cannot_be_read_is_named_beside_other_problems(bundle, text, expected):
    (bundle / "configs" / "train.json").write_text(text)
    edit(bundle, "unlearn", "train::trainer::decollate", True)
    found = problems(bundle)
    assert [text for text in found if "train.json" in text and expected in text], found
    assert [text for text in found if "decollate must be false" in text]


def test_metadata_that_cannot_be_read_are_the_one_problem_told_of_them(bundle):
    (bundle / "configs" / "metadata.json").write_text("{")
    assert [text for text in problems(bundle) if "metadata.json" in text and "not valid JSON" in text]
    assert not [text for text in problems(bundle) if "cannot be parsed" in text]


@pytest.mark.parametrize("value", [None, 3, [], {}, [3], "@nowhere"], ids=str)
def test_values_of_another_kind_are_problems_and_no_crash(bundle, value):
    places = {
        "unlearn": ["method::task", "preset", "handlers", "run", "train::trainer::train_handlers", "method::softmax"],
        "train": ["transforms::transforms", "run_folder::bundle::task", "loss", "train::dataset", "optimizer"],
        "inference": ["preprocessing::transforms", "postprocessing::transforms", "network_def"],
        "metadata": ["version", "changelog", "network_data_format::outputs::pred::channel_def"],
        "calibrated-erase-to-retain": ["method"],
    }
    for config, keys in places.items():
        for key in keys:
            edit(bundle, config, key, value)
    assert len(problems(bundle)) > 5


def test_a_renamed_folder_is_named_once_for_each_config(bundle):
    found = problems(bundle.rename(bundle.with_name("mine")))
    assert len(found) == 8
    assert all("the bundle's folder is 'mine'" in text for text in found)


@pytest.mark.parametrize("config", ["train", "unlearn", "evaluate"])
def test_the_channels_of_a_softmax_are_named(tmp_path, config):
    bundle = copied("volume3d", tmp_path)
    edit(bundle, config, "scorer::classes", GONE)
    (found,) = problems(bundle)
    assert f"configs/{config}.json' has no scorer::classes" in found


def test_classes_are_those_of_the_metadata_in_their_order(tmp_path):
    bundle = copied("isic_classification", tmp_path)
    edit(bundle, "metadata", "network_data_format::outputs::pred::channel_def::0", "nevus")
    (found,) = problems(bundle)
    assert "channels nevus, basal cell carcinoma" in found


def test_an_overlay_that_refers_to_what_only_its_base_has_is_in_order(bundle):
    (bundle / "configs" / "slow.json").write_text(json.dumps({"learning_rate": "$0.1 / @max_epochs"}))
    assert problems(bundle) == []


def test_a_reference_to_itself_is_no_trap(bundle):
    edit(bundle, "train", "handlers", "@handlers")
    edit(bundle, "unlearn", "run", "@run")
    assert [text for text in problems(bundle) if "unlearn.json': run must call" in text]


def test_nothing_is_written_and_no_other_expression_is_executed(bundle, tmp_path):
    trace = tmp_path / "executed"
    code = f"$__import__('pathlib').Path({str(trace)!r}).touch()"
    for config, key in (("train", "seed"), ("unlearn", "seed"), ("evaluate", "weights"), ("inference", "images")):
        edit(bundle, config, key, code)
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    assert problems(bundle) == []
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before
    assert not trace.exists()


def test_the_command_lists_everything_at_once(bundle, mu_monai):
    code, out, _ = mu_monai("bundle", "check", bundle)
    assert (code, len(out.splitlines())) == (0, 3)
    edit(bundle, "train", "train::trainer::decollate", True)
    edit(bundle, "metadata", "authors", GONE)
    (bundle / "LICENSE").unlink()
    code, out, err = mu_monai("bundle", "check", bundle)
    assert (code, out) == (2, "")
    assert "3 problems:" in err
    assert [text in err for text in ("decollate", "has no 'authors'", "'LICENSE' is missing")] == [True] * 3


def test_a_folder_that_is_not_a_bundle_is_refused(mu_monai, tmp_path):
    code, _, err = mu_monai("bundle", "check", tmp_path)
    assert (code, "is neither a folder with configs/metadata.json" in err) == (2, True)
