"""Bundles of anybody's, in many shapes: from their own lists to a released bundle, without a line of JSON."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from adopted.shapes import SHAPES, make_bundle
from mu_monai import workflow
from mu_monai.adapters import read_weights
from mu_monai.bundle.trust import Trust
from mu_monai.files import read_json
from mu_monai.runs import open_run
from tests import programs

METHODS = [("erase-to-retain", ["network#scope=all"]), ("shrink-and-restore", ["epoch_length=2"])]


@pytest.mark.parametrize(("number", "name"), enumerate(SHAPES), ids=SHAPES)
def test_a_bundle_goes_from_its_lists_to_its_release(number, name, tmp_path, caplog, monkeypatch):
    """Verbs take the untouched bundle; the release differs in weights and metadata alone, and predicts alike.

    Each shape is unlearned by one of the methods, and every third is audited; `test_verbs.py` has the rest.
    """
    caplog.set_level(logging.ERROR)
    bundle = make_bundle(name, tmp_path)
    before = {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if _counts(path)}
    split = tmp_path / "split.json"
    workflow.split(tmp_path / "data", out=split, from_bundle=bundle, forget=workflow.ForgetChoice(fraction=0.3))
    assert {case["case_id"] for case in read_json(split)["test"]}.isdisjoint(_trained(bundle, tmp_path))
    teacher, trust = tmp_path / "teacher", Trust(bundle=bundle)
    workflow.train(bundle, split=split, out=teacher, settings=["max_epochs=1"], quiet=True)
    method, settings = METHODS[number % len(METHODS)]
    run = workflow.unlearn(
        bundle,
        split=split,
        teacher=teacher,
        out=tmp_path / "run",
        method=method,
        settings=["max_epochs=1", *settings],
        quiet=True,
    )
    workflow.evaluate(run, trust=trust)
    if number % 3 == 0:
        workflow.audit(run, teacher=teacher, options=_options(), trust=trust)
        workflow.report([run], out=tmp_path / "report")
        assert (tmp_path / "report" / "index.html").is_file()
    predicted = workflow.predict(run, split=split, out=tmp_path / "predicted", trust=trust)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", False)  # as usual: the bundle's own modules are compiled when tried
        workflow.release(run, out=tmp_path / "released", trust=trust)
    told = read_json(tmp_path / "released" / "release.json")["told"]
    assert told[-1].startswith("its own inference was run on a case of its split, and gave the same as predict")
    assert any(path.is_file() for path in predicted.rglob("*"))
    assert before == {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if _counts(path)}
    _check_released(tmp_path / "released" / name, bundle, run)


def _trained(bundle: Path, folder: Path) -> set[str]:
    from mu_monai.bundle.adopted.cases import listed_cases
    from mu_monai.bundle.adopted.parts import find_parts
    from mu_monai.data.case_files import image_files

    listed = listed_cases(find_parts(bundle), folder / "data")
    return {Path(image_files(entry["image"])[0]).name.partition(".")[0] for entry in listed.trained}


def _options() -> workflow.AuditOptions:
    return workflow.AuditOptions(distances=False, n_resamples=20, quiet=True)


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _check_released(released: Path, bundle: Path, run: Path) -> None:
    """Weights in the container that came in, two new entries and a version in the metadata, and all else the same."""
    assert read_weights(released / "models" / "model.pt").keys() == read_weights(bundle / "models" / "model.pt").keys()
    changed = {"models/model.pt", "configs/metadata.json"}
    for path in sorted(path for path in released.rglob("*") if path.is_file()):
        name = path.relative_to(released).as_posix()
        assert name in changed or path.read_bytes() == (bundle / name).read_bytes()
    old, new = (json.loads((place / "configs" / "metadata.json").read_text()) for place in (bundle, released))
    assert {key for key in new if new[key] != old.get(key)} == {"version", "changelog", "unlearning"}
    assert new["unlearning"]["weights_sha256"] == open_run(run).record.sha256.weights
    assert not (released / "large_files.yml").exists()


def test_monais_own_command_runs_the_released_bundle(tmp_path):
    """As somebody who has only MONAI runs it, with the cases that `predict` was given: the same files, byte by byte."""
    bundle = make_bundle("list_with_folds", tmp_path)
    split, run, trust = tmp_path / "split.json", tmp_path / "run", Trust(bundle=bundle)
    workflow.split(tmp_path / "data", out=split, from_bundle=bundle, forget=workflow.ForgetChoice(fraction=0.3))
    workflow.unlearn(
        bundle, split=split, teacher=None, out=run, settings=["max_epochs=1", "epoch_length=2"], quiet=True
    )
    workflow.release(run, out=tmp_path / "released", trust=trust)
    predicted = workflow.predict(run, split=split, out=tmp_path / "predicted", trust=trust)
    released = tmp_path / "released" / bundle.name
    images = [case["image"] for case in read_json(split)["test"]]
    files = [str((tmp_path / image).resolve()) for image in images]
    command = ["run", "--config_file", released / "configs" / "inference.json"]
    options = ["--bundle_root", released, "--datalist", files, "--output_dir", tmp_path / "theirs"]
    programs.run("monai.bundle", *command, *options, cwd=tmp_path, check=True)
    names = {path.name: path.read_bytes() for path in predicted.rglob("*") if path.is_file()}
    assert names == {path.name: path.read_bytes() for path in (tmp_path / "theirs").rglob("*") if path.is_file()}
    assert len(names) == len(files)
