"""A command reads its split once, and hashes every image once."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from mu_monai import files, workflow
from mu_monai.data import duplicates, read_split
from mu_monai.errors import InputError

QUICK = ["max_epochs=1", "learning_rate=0.01", "batch_size=4"]


@pytest.fixture
def seen(monkeypatch):
    """How often each file was read as text, and each image or mask hashed."""
    texts, hashed = Counter(), Counter()
    read, digest = files.read_text, files.file_sha256
    monkeypatch.setattr(files, "read_text", lambda path: texts.update([Path(path).resolve()]) or read(path))
    monkeypatch.setattr(duplicates, "file_sha256", lambda path: hashed.update([Path(path)]) or digest(path))
    return texts, hashed


def check(seen, split, readings):
    texts, hashed = seen
    assert texts[Path(split).resolve()] == readings
    assert set(hashed.values()) == {1}
    assert hashed.keys() >= {Path(case["image"]) for part in read_split(split).cases.values() for case in part}


@pytest.fixture
def job(phantom_splits, teachers, tmp_path):
    return {"split": phantom_splits["isic"], "teacher": teachers["isic"], "out": tmp_path / "run"}


def test_unlearning_that_is_refused_has_read_its_split_once(job, seen):
    """By the last check all others were done, and nothing is trained."""
    with pytest.raises(InputError) as caught:
        workflow.unlearn("isic", **job, settings=["max_epochs=0"], quiet=True)
    assert caught.value.problems == ["--set max_epochs=0 is not allowed; use a whole number of at least 1"]
    check(seen, job["split"], 1)


def test_the_split_of_the_teacher_is_read_where_it_is_another(job, seen, tmp_path):
    own = shutil.copytree(Path(job["split"]).parent, tmp_path / "own") / "split.json"
    content = json.loads(own.read_text())
    content["validation"], content["test"] = content["test"], content["validation"]
    own.write_text(json.dumps(content))
    with pytest.raises(InputError, match="max_epochs=0"):
        workflow.unlearn("isic", **job | {"split": own}, settings=["max_epochs=0"], quiet=True)
    check(seen, own, 1)
    assert seen[0][Path(job["split"]).resolve()] == 1


def test_unlearning_reads_it_once_beside_its_config_and_its_run_folder(job, seen):
    workflow.unlearn("isic", **job, settings=QUICK, quiet=True)
    check(seen, job["split"], 3)


def test_an_audit_reads_it_once(seen, unlearned):
    run = unlearned("isic")
    split = files.read_json(run / "run.json")["split"]["file"]
    for counter in seen:
        counter.clear()
    with pytest.raises(InputError, match="--by nothing is not a column"):
        workflow.audit(run, options=workflow.AuditOptions(by=["nothing"], quiet=True))
    assert seen[0][Path(split).resolve()] == 1


def test_an_evaluation_reads_it_once_beside_its_config(seen, unlearned, tmp_path):
    run = shutil.copytree(unlearned("isic"), tmp_path / "run")
    split = files.read_json(run / "run.json")["split"]["file"]
    for counter in seen:
        counter.clear()
    workflow.evaluate(run)
    check(seen, split, 2)


def test_a_run_whose_split_is_gone_says_so_and_no_more(unlearned, tmp_path):
    with pytest.raises(InputError) as caught:
        workflow.evaluate(unlearned("isic"), split=tmp_path / "gone.json")
    (problem,) = caught.value.problems
    assert str(tmp_path / "gone.json") in problem
    assert problem.endswith("does not exist; if it was moved, say where it is now: --split FILE")
