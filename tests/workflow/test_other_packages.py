"""A method of another package goes through every command, and one that is only named goes nowhere."""

from __future__ import annotations

import shutil
import sys

import pytest

from mu_monai import workflow
from mu_monai.bundle import find_bundle, open_bundle
from mu_monai.bundle.config import read_config
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.errors import InputError
from mu_monai.files import read_json, write_json
from mu_monai.runs import RunRecord, read_record, write_record
from mu_monai.workflow.auditing.shadows import _unlearning
from mu_monai.workflow.unlearning import unable_problems

QUICK = ["--set", "max_epochs=1", "--set", "epoch_length=1", "--device", "cpu", "--quiet"]
TWIN = """
from dataclasses import dataclass
from mu_monai.methods import UnlearningMethod

@dataclass(kw_only=True)
class EraseToRetain(UnlearningMethod):
    "Not ours."
    tasks = ("classification",)
    task: str = "classification"
"""


@pytest.fixture
def places(phantom_splits, teachers):
    return lambda bundle: ["--split", phantom_splits[bundle], "--teacher", teachers[bundle]]


@pytest.fixture
def own_bundle(tmp_path):
    """Makes a bundle like `isic`, whose own method is another."""

    def make(target, name="isic"):
        folder = shutil.copytree(find_bundle("isic"), tmp_path / "bundle")
        shutil.rmtree(folder / "docs", ignore_errors=True)
        for file in (folder / "configs").glob("*.json"):
            content = read_json(file)
            if "bundle_name" in content:
                write_json(file, content | {"bundle_name": name, "bundle_root": str(folder)})
        config = read_json(folder / "configs" / "unlearn.json")
        method = {key: config["method"][key] for key in ("forget_loader", "task")}
        write_json(folder / "configs" / "unlearn.json", config | {"method": {"_target_": target, **method}})
        return folder

    return make


@pytest.fixture
def run(installed, fading, mu_monai, places, tmp_path):
    """A run of a method that another package registers."""
    installed("hospital-forget", fading, fading="hospital_forget:Fading")
    settings = ["--method", "fading", "--set", "method#strength=0.2", "--out", tmp_path / "run"]
    code, _, error = mu_monai("unlearn", "isic", *places("isic"), *settings, *QUICK)
    assert code == 0, error
    return tmp_path / "run"


def test_it_unlearns_by_its_name_with_its_recipe_and_settings(run):
    record = read_json(run / "run.json")
    assert record["method"]["name"] == "Fading"
    assert record["method"]["settings"]["strength"] == 0.2
    assert record["status"] == "finished"
    assert record["parameters"]["share"] == 1, "its recipe trains all weights"
    assert read_json(run / "config.json")["learning_rate"] == 1e-3
    assert read_json(run / "config.json")["method"]["_target_"] == "hospital_forget.Fading"
    assert "size" in (run / "curve.csv").read_text().splitlines()[0]


def test_its_settings_are_checked_as_ours_are(installed, fading, mu_monai, places, tmp_path):
    installed("hospital-forget", fading, fading="hospital_forget:Fading")
    wrong = ["--method", "fading", "--set", "method#strength=2", "--out", tmp_path / "run"]
    code, _, error = mu_monai("unlearn", "isic", *places("isic"), *wrong, *QUICK)
    assert (code, "method#strength=2 is not allowed; use a number in [0, 1]" in error) == (2, True)
    code, _, error = mu_monai("unlearn", "isic", *places("isic"), "--method", "fadin", "--out", tmp_path / "run")
    assert (code, "did you mean 'fading'?" in error) == (2, True)


def test_it_forgets_classes_where_it_says_so(installed, fading, mu_monai, places, tmp_path):
    installed("hospital-forget", fading, fading="hospital_forget:Fading")
    wanted = ["--method", "fading", "--forget-class", "lesion", "--out", tmp_path / "run"]
    code, _, error = mu_monai("unlearn", "volume3d", *places("volume3d"), *wanted, *QUICK)
    assert code == 0, error
    assert read_json(tmp_path / "run" / "run.json")["method"]["settings"]["forget_classes"] == [2]
    other = ["--method", "scrub", "--forget-class", "lesion", "--out", tmp_path / "other"]
    code, _, error = mu_monai("unlearn", "volume3d", *places("volume3d"), *other, *QUICK)
    assert code == 2
    assert "Scrub cannot forget classes (lesion), only cases" in error
    assert "use a method that can (erase-to-retain, fading)" in error


def test_it_is_compared_with_ours(installed, fading, mu_monai, places, tmp_path):
    installed("hospital-forget", fading, fading="hospital_forget:Fading")
    chosen = ["--methods", "fading", "--trials", "2", "--out", tmp_path / "out"]
    code, out, error = mu_monai("compare", "isic", *places("isic"), *chosen, *QUICK)
    assert code == 0, error
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["teacher", "retrained", "fading"]
    content = read_json(tmp_path / "out" / "comparison.json")
    assert [trial["settings"] for trial in content["trials"]] == [[], ["method#strength=0.9"]]
    (row,) = [row for row in content["rows"] if row["label"] == "fading"]
    assert (row["paper"], row["status"]) == ("nobody's", "finished")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"target": "hospital_forget.Fading"}, id="the run names its class"),
        pytest.param({}, id="of an earlier version: its config does"),
    ],
)
def test_shadow_models_repeat_it(said, run, places, tmp_path):
    record = read_json(run / "run.json")
    write_record(run, RunRecord.from_json(record | {"method": record["method"] | said}))
    overlay, _ = _unlearning(run, read_record(run), STRANGER)
    assert overlay["method"]["_target_"] == "hospital_forget.Fading"
    write_json(tmp_path / "overlay.json", overlay)
    _, split, _, teacher = places("isic")
    again = workflow.unlearn(
        "isic", split=split, teacher=teacher, out=tmp_path / "again", overlays=[str(tmp_path / "overlay.json")]
    )
    assert read_json(again / "run.json")["method"] == record["method"]
    assert read_json(again / "run.json")["sha256"]["weights"] == record["sha256"]["weights"]


def test_a_run_of_somebody_elses_class_is_not_repeated_with_ours(run):
    record = read_json(run / "run.json")
    theirs = {"name": "EraseToRetain", "settings": {}, "target": "elsewhere.EraseToRetain"}
    with pytest.raises(InputError, match=r"the method 'elsewhere.EraseToRetain' of .*--trust-config"):
        _unlearning(run, RunRecord.from_json(record | {"method": theirs}), STRANGER)
    ours = theirs | {"target": "mu_monai.methods.erase_to_retain.EraseToRetain"}
    overlay, _ = _unlearning(run, RunRecord.from_json(record | {"method": ours}), STRANGER)
    assert overlay["method"]["_target_"].startswith("mu_monai.methods.")


@pytest.mark.parametrize("how", ["target", "config"])
def test_what_a_received_run_names_is_not_imported(how, run, tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    record = read_json(run / "run.json")
    if how == "target":
        record["method"]["target"] = "harmful.Method"
    else:
        config = read_json(run / "config.json")
        write_json(run / "config.json", config | {"method": config["method"] | {"_target_": "harmful.Method"}})
        record["files"].pop("config.json")
        record = {key: value for key, value in record.items() if key != "format"} | {"format": 1}
        record["sha256"]["config"] = None
        record["method"] = {key: record["method"][key] for key in ("name", "settings")}
        write_record(run, RunRecord.from_json(record))
    with pytest.raises(InputError, match=r"'harmful.Method' of .*--trust-config"):
        _unlearning(run, RunRecord.from_json(record), STRANGER)
    assert "harmful" not in sys.modules


def test_a_bundle_may_name_a_class_that_no_package_registers(
    fading, mu_monai, places, own_bundle, tmp_path, monkeypatch
):
    (tmp_path / "beside.py").write_text(fading)
    monkeypatch.syspath_prepend(str(tmp_path))
    bundle, out = own_bundle("beside.Fading"), tmp_path / "run"
    code, _, error = mu_monai("unlearn", bundle, *places("isic"), "--out", out, *QUICK)
    assert code == 0, error
    overlay, _ = _unlearning(out, read_record(out), Trust(bundle=bundle))
    assert overlay["method"]["_target_"] == "beside.Fading"
    with pytest.raises(InputError, match=r"'beside.Fading' of .* name the bundle whose config has it \(--bundle\)"):
        _unlearning(out, read_record(out), STRANGER)
    trusted, _ = _unlearning(out, read_record(out), Trust(config=True))
    assert trusted["method"]["_target_"] == "beside.Fading"
    sys.modules.pop("beside")


def test_what_a_bundles_method_says_of_itself_decides_on_classes(fading, tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text(fading)
    (tmp_path / "factory.py").write_text("def made(**settings): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    parser = read_config(open_bundle("volume3d").files("unlearn"))
    assert unable_problems(["lesion"], parser, {}) == []
    assert unable_problems(["lesion"], parser, {"method::_target_": "beside.Fading"}) == []
    assert unable_problems(["lesion"], parser, {"method::_target_": "factory.made"}) == [], "nothing is known of it"
    (told,) = unable_problems(["lesion"], parser, {"method::_target_": "mu_monai.methods.Scrub"})
    assert told.startswith("Scrub cannot forget classes (lesion), only cases; use a method that can (erase-to-retain)")
    for module in ("beside", "factory"):
        sys.modules.pop(module)


def test_a_class_of_our_name_is_judged_by_what_it_is_itself(mu_monai, places, own_bundle, tmp_path, monkeypatch):
    (tmp_path / "neighbor.py").write_text(TWIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    bundle = own_bundle("neighbor.EraseToRetain")
    code, _, error = mu_monai("unlearn", bundle, *places("isic"), "--out", tmp_path / "run", *QUICK)
    assert code == 2
    assert "EraseToRetain cannot forget in a segmentation task" in error
    ours = ["--method", "erase-to-retain", "--out", tmp_path / "ours"]
    code, _, error = mu_monai("unlearn", bundle, *places("isic"), *ours, *QUICK)
    assert code == 0, error
    assert "forget_weight" in read_json(tmp_path / "ours" / "run.json")["method"]["settings"]
    sys.modules.pop("neighbor")


def test_a_method_that_is_called_as_a_config_of_the_bundle_is_not_given_that_config(
    installed, fading, mu_monai, places, tmp_path
):
    installed("hospital-forget", fading, paper="hospital_forget:Fading", train="hospital_forget:Fading")
    for name in ("paper", "train"):
        code, _, error = mu_monai(
            "unlearn", "isic", *places("isic"), "--method", name, "--out", tmp_path / name, *QUICK
        )
        assert code == 0, error
        record = read_json(tmp_path / name / "run.json")
        assert (record["method"]["name"], record["preset"]) == ("Fading", None)
