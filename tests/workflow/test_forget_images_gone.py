"""Unlearning when the images of the forget cases were deleted before."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from ignite.engine import Events

from mu_monai import workflow
from mu_monai.bundle.config import run_config
from mu_monai.bundle.find import shipped_bundles
from mu_monai.data import read_split
from mu_monai.engine import RunFolder
from mu_monai.errors import InputError
from mu_monai.methods import METHODS
from mu_monai.runs import read_record, write_record
from mu_monai.workflow.recipe import gone_problems

ABLE = [name for name, method in METHODS.items() if method.without_forget_images]
QUICK = ["max_epochs=2", "epoch_length=2", "batch_size=4", "score_interval=1"]
OWN = {
    "cf-k": ["method#k=2"],
    "eu-k": ["method#k=2"],
    "shrink-and-restore": ["method#probe_steps=2", "method#stop_at=rewind"],
}


def files_of(split, subset):
    return [Path(case[name]) for case in read_split(split).located[subset] for name in ("image", "label")]


@pytest.fixture(scope="module")
def deleted(tmp_path_factory, phantom_splits):
    """The split of a bundle's phantoms whose forget cases have no files any more."""

    @cache
    def split(bundle):
        folder = shutil.copytree(Path(phantom_splits[bundle]).parent, tmp_path_factory.mktemp("gone") / bundle)
        path = folder / Path(phantom_splits[bundle]).name
        for file in files_of(path, "forget"):
            if file.is_file():  # the label of a classifier is a name
                file.unlink()
        return path

    return split


@pytest.fixture(scope="module")
def run(tmp_path_factory, teachers, deleted):
    """Makes a run, by default without the images of the forget cases."""

    def make(method, bundle="isic", *, split=None, out=None, settings=(), gone=True, **options):
        return workflow.unlearn(
            bundle,
            split=split or deleted(bundle),
            teacher=teachers[bundle],
            out=out or tmp_path_factory.mktemp("runs") / method,
            method=method,
            settings=[*QUICK, *OWN.get(method, ()), *settings],
            forget_images_gone=gone,
            quiet=True,
            **options,
        )

    return make


@pytest.fixture(scope="module")
def finished(run):
    """A finished run of a method; tests only look at it, or copy it."""
    return cache(run)


@pytest.mark.parametrize("method", [name for name in ABLE if name != "shrink-and-restore"])
def test_a_method_that_looks_at_no_forget_case_gives_the_same_weights_without_them(
    run, finished, phantom_splits, method
):
    whole = run(method, split=phantom_splits["isic"], gone=False)
    assert read_record(finished(method)).sha256.weights == read_record(whole).sha256.weights
    assert read_record(finished(method)).forget_images == "gone"
    assert "forget_images" not in json.loads((whole / "run.json").read_text())


def test_damage_of_a_given_size_is_the_same_without_them(run, phantom_splits):
    settings = ["method#damage=0.3", "method#stop_at=null"]
    whole = run("shrink-and-restore", split=phantom_splits["isic"], gone=False, settings=settings)
    without = run("shrink-and-restore", settings=settings)
    assert read_record(without).sha256.weights == read_record(whole).sha256.weights


def test_retained_patients_stand_in_where_forget_cases_would_be_compared(finished):
    folder = finished("shrink-and-restore")
    curve = pd.read_csv(folder / "curve.csv")
    assert {"memorized_auc", "settled_auc", "retain_loss"} <= set(curve.columns)
    assert not [name for name in curve.columns if name.startswith("forget")]
    record = read_record(folder)
    assert record.measurements["damage"]["start_auc"] is not None
    assert record.measurements["margins"] is None
    assert [text for text in record.warnings if "nothing was measured on them" in text]


def test_files_that_still_exist_are_not_opened(run, finished, phantom_splits, tmp_path):
    folder = shutil.copytree(Path(phantom_splits["isic"]).parent, tmp_path / "damaged")
    split = folder / Path(phantom_splits["isic"]).name
    for file in files_of(split, "forget"):
        file.write_text("no picture")
    with pytest.raises(InputError, match="changed after"):
        run("rewind", split=split, gone=False)
    assert read_record(run("rewind", split=split)).sha256.weights == read_record(finished("rewind")).sha256.weights


@pytest.mark.parametrize("bundle", ["isic_classification", "volume3d"])
def test_classes_and_volumes_can_do_without_as_well(run, bundle, tmp_path):
    folder = run("shrink-and-restore", bundle)
    assert set(pd.read_csv(folder / "scores.csv")["subset"]) == {"retain", "validation", "test"}
    workflow.report([folder], out=tmp_path / "report")


@pytest.mark.parametrize("method", ["rewind", "shrink-and-restore"])
def test_the_report_says_what_cannot_be_measured(finished, teachers, tmp_path, method):
    page = workflow.report([teachers["isic"], finished(method)], out=tmp_path / "report").read_text()
    assert "1 patient (2 cases), whose images were gone so that nothing was measured on them" in page
    assert "nothing was measured on them: they have no scores" in page
    assert "forget" not in set(pd.read_csv(tmp_path / "report" / "tables" / "scores.csv")["subset"])


def test_without_the_option_missing_files_are_an_error(run, tmp_path):
    with pytest.raises(InputError, match="does not exist; put it back"):
        run("rewind", gone=False, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("subset", ["retain", "validation", "test"])
def test_other_files_must_be_there_and_unchanged(run, deleted, tmp_path, subset):
    split = shutil.copytree(deleted("isic").parent, tmp_path / "data") / deleted("isic").name
    image, label = files_of(split, subset)[:2]
    image.unlink()
    label.write_bytes(files_of(split, subset)[3].read_bytes() + b"x")
    with pytest.raises(InputError) as error:
        run("rewind", split=split)
    assert any(f"{str(image)!r} does not exist" in text for text in error.value.problems)
    assert any(f"{str(label)!r} changed after" in text for text in error.value.problems)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ABLE])
def test_other_methods_are_refused_with_those_that_can(method):
    problems = gone_problems(True, METHODS[method], [], {"forget_images_gone": False})
    needs = f"{METHODS[method].__name__} needs the images of the forget cases, which are gone (--forget-images-gone)"
    assert problems == [f"{needs}; use one of {', '.join(ABLE)}"]


def test_a_refused_method_writes_nothing(mu_monai, deleted, teachers, tmp_path):
    command = ["unlearn", "isic", "--split", deleted("isic"), "--teacher", teachers["isic"], "--out", tmp_path / "run"]
    code, _, err = mu_monai(*command, "--forget-images-gone")
    assert code == 2
    assert "error: EraseToRetain needs the images of the forget cases" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("bundle", "options", "told"),
    [
        (
            "isic",
            {"settings": ["method#hinge_weight=0.5"]},
            "hinge_weight=0.5 needs forget cases, whose images are gone",
        ),
        ("volume3d", {"forget_classes": ["lesion"]}, r"is for cases, and classes are to be forgotten here \(lesion\)"),
    ],
)
def test_what_needs_them_is_refused(run, bundle, options, told):
    with pytest.raises(InputError, match=told):
        run("shrink-and-restore", bundle, **options)


def test_a_bundle_that_would_read_them_is_refused(deleted, teachers, tmp_path):
    bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
    for file in bundle.rglob("unlearn.json"):
        text = file.read_text().replace('    "forget_images_gone": false,\n', "")
        file.write_text(text.replace(", forget_images_gone=@forget_images_gone", ""))
    with pytest.raises(InputError, match="config has no id 'forget_images_gone', so it reads the images"):
        workflow.unlearn(
            bundle,
            split=deleted("isic"),
            teacher=teachers["isic"],
            out=tmp_path / "run",
            method="rewind",
            forget_images_gone=True,
        )


def test_the_config_alone_refuses_a_method_that_needs_them(deleted, tmp_path, tiny):
    config = shipped_bundles()["isic"] / "unlearn.json"
    options = {"split": str(deleted("isic")), "run_dir": str(tmp_path / "run"), "forget_images_gone": True}
    with pytest.raises(InputError, match="EraseToRetain needs the images of the forget cases"):
        run_config([str(config)], options)


def test_the_config_id_is_as_good_as_the_option(run, finished):
    folder = run("retain-fine-tuning", gone=False, settings=["forget_images_gone=true"])
    assert read_record(folder).forget_images == "gone"
    assert read_record(folder).sha256.weights == read_record(finished("retain-fine-tuning")).sha256.weights


@pytest.mark.parametrize("method", ["rewind", "shrink-and-restore"])
def test_a_resumed_run_is_as_it_began(run, finished, tmp_path, monkeypatch, method):
    attach = RunFolder.attach

    def attach_and_interrupt(self, engine):
        attach(self, engine)

        @engine.on(Events.ITERATION_COMPLETED(once=3))
        def interrupt():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "attach", attach_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(method, out=tmp_path / "run")
    folder = run(method, out=tmp_path / "run", gone=False, resume=True)
    assert read_record(folder).sha256.weights == read_record(finished(method)).sha256.weights
    assert read_record(folder).forget_images == "gone"


def test_a_finished_run_is_scored_and_released_and_not_audited(finished, tmp_path, keys):
    folder = shutil.copytree(finished("retain-fine-tuning"), tmp_path / "run")
    before = (folder / "scores.csv").read_bytes()
    workflow.evaluate(folder)
    assert (folder / "scores.csv").read_bytes() == before
    out = workflow.release(folder, out=tmp_path / "released")
    with pytest.raises(InputError, match="neither how far they are forgotten nor their membership can be audited"):
        workflow.audit(folder)
    with pytest.raises(InputError, match="so a record could not say how far they are forgotten"):
        workflow.report([folder], out=tmp_path / "report", record=out, key=keys / "own.pem")
    with pytest.raises(InputError, match="a composition is measured on them"):
        workflow.compose(folder, finished("cf-k"), out=tmp_path / "composed")


def test_the_retrained_model_can_do_without(deleted, tmp_path, tiny):
    options = {"split": deleted("isic"), "settings": [*tiny, "max_epochs=1", "milestones=0"], "quiet": True}
    with pytest.raises(InputError, match="does not exist; put it back"):
        workflow.train("isic", subsets=["retain"], out=tmp_path / "refused", **options)
    run = workflow.train("isic", subsets=["retain"], out=tmp_path / "run", forget_images_gone=True, **options)
    assert (read_record(run).role, read_record(run).forget_images) == ("retrained", "gone")
    assert "forget" not in set(pd.read_csv(run / "scores.csv")["subset"])


def test_a_training_on_forget_cases_that_are_gone_is_refused(tmp_path):
    options = {"bundle": {"name": "isic"}, "split": "split.json", "seed": 0, "forget_images_gone": True}
    with pytest.raises(InputError, match="leaves no case of 'forget' to train on"):
        RunFolder(tmp_path / "run", subsets=["retain", "forget"], **options)
    assert RunFolder(tmp_path / "run", subsets=["retain"], **options).record["forget_images"] == "gone"


def test_a_record_that_says_anything_else_is_damaged(finished, tmp_path):
    folder = shutil.copytree(finished("rewind"), tmp_path / "run")
    write_record(folder, replace(read_record(folder), forget_images="here"))
    with pytest.raises(InputError, match="forget_images is 'here', which is not one of gone"):
        read_record(folder)
