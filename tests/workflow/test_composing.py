"""Composing two runs: from the command to the report, and what does not go together."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from mu_monai import workflow
from mu_monai.engine import RunFolder
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.runs import RunRecord, file_digests, write_record


@pytest.fixture(scope="module")
def second(tmp_path_factory, teachers, phantom_splits):
    """A further run of the teacher that `unlearned` starts from."""
    return workflow.unlearn(
        "isic",
        split=phantom_splits["isic"],
        teacher=teachers["isic"],
        out=tmp_path_factory.mktemp("second") / "second",
        settings=["max_epochs=1", "learning_rate=0.02", "batch_size=4", "seed=1"],
        quiet=True,
    )


@pytest.fixture
def altered(unlearned, tmp_path):
    """A copy of a run with another record."""

    def change(**changes):
        folder = tmp_path / "altered"
        shutil.copytree(unlearned("isic"), folder)
        record = read_json(folder / "run.json")
        for key, value in changes.items():
            record[key] = record[key] | value if isinstance(value, dict) else value
        write_record(folder, RunRecord.from_json({**record, "files": file_digests(folder)}))
        return folder

    return change


def test_two_runs_become_one_whose_report_shows_all_three(mu_monai, unlearned, second, teachers, tmp_path):
    first, out = unlearned("isic"), tmp_path / "composed"
    code, told, _ = mu_monai("compose", first, second, "--out", out, "--set", "max_epochs=2", "--quiet")
    assert code == 0
    assert "mean Dice" in told
    record = read_json(out / "run.json")
    assert record["method"]["name"] == "Composition"
    assert record["method"]["settings"]["good_forget"] == str(second)
    assert record["max_epochs"] == 2
    assert record["sha256"]["starting_weights"] == read_json(first / "run.json")["sha256"]["starting_weights"]
    assert all(check["passed"] for check in record["checks"])
    own, before = read_json(out / "config.json"), read_json(first / "config.json")
    assert own["image_size"] == before["image_size"]
    assert own["network_def"] == before["network_def"]
    assert mu_monai("report", teachers["isic"], out, "--out", tmp_path / "report")[0] == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert f"has the features of &#39;{first}&#39; and the head of &#39;{second}&#39;" in page
    assert "fine-tuned on retained cases for 2 epochs" in page
    table = pd.read_csv(tmp_path / "report" / "tables" / "composed.csv").set_index("model")
    assert table.index.tolist() == ["teacher", "retains well", "forgets well", "composed"]
    for name, run, model in (("retains well", first, "student"), ("teacher", first, "teacher")):
        scores = pd.read_csv(run / "scores.csv").groupby(["model", "subset"])["dice"].mean()
        assert table.loc[name, "forget"] == pytest.approx(scores[model, "forget"])
    shutil.move(second, tmp_path / "moved")
    try:
        workflow.report([out], out=tmp_path / "report")
    finally:
        shutil.move(tmp_path / "moved", second)
    assert "Not shown, since the run " in (tmp_path / "report" / "index.html").read_text()


def test_shares_and_kinds_are_passed_on(unlearned, second, tmp_path):
    run = workflow.compose(
        unlearned("isic"), second, out=tmp_path / "run", how="adapters", share=0.2, fine_tune="head", quiet=True
    )
    settings = read_json(run / "run.json")["method"]["settings"]
    assert (settings["how"], settings["share"], settings["fine_tune"]) == ("adapters", 0.2, "head")


def test_an_interrupted_composition_goes_on(mu_monai, unlearned, second, tmp_path, monkeypatch):
    command = ["compose", unlearned("isic"), second, "--set", "max_epochs=2", "--set", "batch_size=4", "--quiet"]
    assert mu_monai(*command, "--out", tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "_epoch", _interrupted(RunFolder._epoch))
        with pytest.raises(KeyboardInterrupt):
            workflow.compose(*command[1:3], out=tmp_path / "run", settings=["max_epochs=2", "batch_size=4"], quiet=True)
    assert mu_monai(*command, "--out", tmp_path / "run", "--resume")[0] == 0
    whole, resumed = (read_json(tmp_path / name / "run.json") for name in ("whole", "run"))
    assert whole["sha256"]["weights"] == resumed["sha256"]["weights"]
    assert whole["measurements"] == resumed["measurements"]


def _interrupted(epoch):
    """Ctrl-C at the end of the first epoch, which is kept."""

    def run(self, engine):
        epoch(self, engine)
        raise KeyboardInterrupt

    return run


def test_runs_that_do_not_belong_together_are_refused_with_every_problem(unlearned, altered, tmp_path):
    foreign = altered(
        role="teacher", sha256={"starting_weights": "a" * 64, "split": "b" * 64}, bundle={"name": "chase"}
    )
    with pytest.raises(InputError) as caught:
        workflow.compose(
            unlearned("isic"), foreign, out=tmp_path / "x", share=0.3, settings=["max_epoch=1"], quiet=True
        )
    told = "\n".join(caught.value.problems)
    for expected in (
        "is the run of a teacher; compose two unlearning runs",
        "differ in their starting weights",
        "differ in their split",
        "differ in their bundle (isic, chase)",
        "--share 0.3 has no effect with --how head",
        "--set 'max_epoch' is not an id of this config; the closest are max_epochs",
    ):
        assert expected in told
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "interrupted"}, "is interrupted, not finished"),
        ({"forget_classes": ["lesion"]}, "forgot the classes lesion in every case; compose runs that forgot patients"),
        ({"teacher": None}, "does not name its teacher"),
        ({"sha256": {"weights": "c" * 64}}, "are not those that the run made"),
    ],
)
def test_a_run_that_cannot_be_composed_is_refused(unlearned, altered, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        workflow.compose(unlearned("isic"), altered(**changes), out=tmp_path / "x", quiet=True)


def test_a_place_that_no_config_can_name_is_refused(unlearned, second, tmp_path):
    with pytest.raises(InputError, match=r"--out '.*c#6' .* MONAI config"):
        workflow.compose(unlearned("isic"), second, out=tmp_path / "c#6", quiet=True)


def test_a_run_with_itself_and_models_that_are_used_otherwise_are_refused(unlearned, altered, tmp_path):
    first = unlearned("isic")
    with pytest.raises(InputError, match="is given twice; compose two runs"):
        workflow.compose(first, first, out=tmp_path / "x", quiet=True)
    other = altered()
    config = read_json(other / "config.json") | {"image_size": [64, 64]}
    (other / "config.json").write_text(json.dumps(config))
    write_record(other, RunRecord.from_json({**read_json(other / "run.json"), "files": file_digests(other)}))
    with pytest.raises(InputError, match=r"config id 'image_size' is \[32, 32\] in .* and \[64, 64\] in"):
        workflow.compose(first, other, out=tmp_path / "x", quiet=True)
