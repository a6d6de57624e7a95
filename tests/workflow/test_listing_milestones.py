"""What milestones are worth: one row each, the model last, and nothing of the test set."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from mu_monai import workflow
from mu_monai.adapters.milestones import find_milestones, memorized_at
from mu_monai.errors import InputError
from mu_monai.files import file_sha256
from mu_monai.runs import RunRecord
from mu_monai.runs.record import write_record


@pytest.fixture(scope="module")
def trained(phantom_splits, small_images, tmp_path_factory):
    """A training of four epochs with its milestones."""
    settings = [*small_images["isic"], "max_epochs=4", "score_interval=4"]
    out = tmp_path_factory.mktemp("milestones") / "teacher"
    return workflow.train("isic", split=phantom_splits["isic"], out=out, settings=settings, quiet=True)


def test_their_size_is_said_before_the_training(phantom_splits, small_images, tmp_path, caplog):
    caplog.set_level("INFO", logger="mu_monai")
    settings = [*small_images["isic"], "max_epochs=2", "score_interval=2"]
    run = workflow.train("isic", split=phantom_splits["isic"], out=tmp_path / "run", settings=settings, quiet=True)
    (line,) = [record.message for record in caplog.records if "will be kept in" in record.message]
    (file,) = (run / "milestones").iterdir()
    said = float(re.search(r"after epochs 1 .* \(1 files of ([\d.]+) MB\); milestones=0 keeps none", line)[1])
    assert said == pytest.approx(file.stat().st_size / 1e6, abs=0.1)


def test_a_training_keeps_them_with_how_much_it_had_memorized(trained):
    record = json.loads((trained / "run.json").read_text())
    assert list(find_milestones(trained / "milestones")) == [1, 2, 3]
    assert {name for name in record["files"] if name.startswith("milestones/")} == {
        f"milestones/epoch-000{epoch}.safetensors" for epoch in (1, 2, 3)
    }
    assert record["cost"]["steps"] == 4 * -(-record["cost"]["passes"] // (4 * 3 * 8))


def test_each_has_a_row_and_the_model_is_the_last(trained):
    table = workflow.milestones(trained)
    assert list(table) == ["epoch", "dice", "loss", "auc", "smoothed"]
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert table["dice"].between(0, 1).all()
    assert table["auc"].between(0, 1).all()
    milestones = table[:-1]
    assert milestones["smoothed"].is_monotonic_increasing
    assert milestones["smoothed"].mean() == pytest.approx(milestones["auc"].mean())
    known = [memorized_at(file) for file in find_milestones(trained / "milestones").values()]
    assert milestones["auc"].tolist() == known  # rewind goes by what the training measured
    assert pd.isna(table["smoothed"].iloc[-1])


def test_those_of_monais_saver_are_read(trained, tmp_path):
    weights = torch.load(trained / "model.pt", weights_only=True)
    torch.save({"network": weights, "optimizer": {}}, tmp_path / "model_epoch=2.pt")
    table = workflow.milestones(trained, folder=tmp_path)
    assert table["epoch"].tolist() == [2, 4]
    assert table["loss"].iloc[0] == table["loss"].iloc[1]


def test_a_changed_one_is_refused(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    file = run / "milestones" / "epoch-0002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"epoch-0002.safetensors' is not the file that the run wrote"):
        workflow.milestones(run)


def test_a_run_without_any_and_a_split_without_validation_are_refused(trained, teachers, tmp_path):
    bare = shutil.copytree(trained, tmp_path / "bare", ignore=shutil.ignore_patterns("milestones"))
    with pytest.raises(InputError, match=r"holds no milestones"):
        workflow.milestones(bare)
    record = json.loads((trained / "run.json").read_text())
    own = Path(record["split"]["file"])
    other = own.parent / "without.json"
    other.write_text(json.dumps(json.loads(own.read_text()) | {"validation": []}))
    with pytest.raises(InputError, match=r"without.json' holds other cases or subsets than"):
        workflow.milestones(trained, split=other)
    with pytest.raises(InputError, match=r"gone.json' of .* does not exist; if it was moved, say where"):
        workflow.milestones(trained, split=own.parent / "gone.json")
    blind = shutil.copytree(trained, tmp_path / "blind")
    record["split"]["file"], record["sha256"]["split"] = str(other), file_sha256(other)
    write_record(blind, RunRecord.from_json(record))
    with pytest.raises(InputError, match=r"no validation cases.*--validation"):
        workflow.milestones(blind)


def test_none_are_kept_on_request(phantom_splits, small_images, tmp_path):
    settings = [*small_images["isic"], "max_epochs=2", "score_interval=2", "milestones=0"]
    run = workflow.train("isic", split=phantom_splits["isic"], out=tmp_path / "run", settings=settings, quiet=True)
    assert not (run / "milestones").exists()


@pytest.mark.parametrize("number", ["-1", "1.5", "true"])
def test_a_number_that_is_none_is_refused(phantom_splits, small_images, tmp_path, number):
    settings = [*small_images["isic"], f"milestones={number}"]
    with pytest.raises(InputError, match=r"whole number of 0 or more"):
        workflow.train("isic", split=phantom_splits["isic"], out=tmp_path / "run", settings=settings, quiet=True)
    assert not (tmp_path / "run").exists()
