"""The audit of a run, from its folders to `audit.json` and what the command says."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.runs import RunRecord, file_digests, open_runs, read_record, write_record
from mu_monai.runs.numbers import worst_rates
from mu_monai.workflow import AuditOptions

KEYS = {
    *("format", "command", "created", "versions", "seed", "n_resamples", "split", "models", "records", "verdict"),
    *("patients", "subgroups", "attacks", "attacks_asked", "searched", "notes", "digest"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, phantom_splits, teachers):
    """A student and a retrained model of a tiny network, of the phantoms' split with a column of devices."""
    folder = tmp_path_factory.mktemp("audited")
    settings = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "image_size=[32, 32]", "max_epochs=1"]
    split = phantom_splits["isic"]
    for name, seed in (("", 0), ("-1", 1)):
        options = {"split": split, "settings": [*settings, f"seed={seed}"], "device": "cpu", "quiet": True}
        workflow.train("isic", out=folder / f"retrained{name}", subsets=["retain"], **options)
        workflow.unlearn("isic", teacher=teachers["isic"], out=folder / f"student{name}", **options)
    return folder


@pytest.fixture
def student(runs, tmp_path):
    """A copy of the student's run that a test may write into."""
    return shutil.copytree(runs / "student", tmp_path / "student")


def test_a_milestone_in_the_run_folder_is_found_and_what_hinders_that_is_noted(student, teachers, tmp_path):
    teacher = shutil.copytree(teachers["isic"], tmp_path / "teacher")
    last = sorted((teacher / "milestones").iterdir())[-1]
    shutil.copy(last, student / "notes.bin")
    options = AuditOptions(n_resamples=20, quiet=True)
    content = read_json(workflow.audit(student, teacher=teacher, options=options))
    assert [found["kind"] for found in content["searched"] if found["file"] == "notes.bin"] == ["earlier epoch"]
    last.write_bytes(b"damaged")
    content = read_json(workflow.audit(student, teacher=teacher, options=options))
    assert any(note.startswith("the run folder was not searched for earlier epochs") for note in content["notes"])


def test_scores_alone_tell_membership_patients_and_groups(student):
    file = workflow.audit(student, options=AuditOptions(n_resamples=50, quiet=True))
    content = read_json(file)
    assert file == student / "audit.json"
    assert set(content) == KEYS
    assert content["verdict"]["label"] == "CANNOT TELL"  # one or two forgotten phantoms
    assert {"auc[loss]", "dice"} <= {row["metric"] for row in content["records"]}
    exposures = [row["exposure"] for row in content["patients"]]
    assert exposures == sorted(exposures, reverse=True)
    assert content["models"]["student"]["weights"] == read_json(student / "run.json")["sha256"]["weights"]
    assert any("no retrained model was given" in note for note in content["notes"])
    assert any(found["file"].startswith("adapter/") for found in content["searched"])
    assert "NaN" not in file.read_text(encoding="utf-8")
    assert open_runs([student]).audit == content


def test_the_same_seed_gives_the_same_numbers(student, tmp_path):
    first, second = (
        read_json(workflow.audit(student, out=tmp_path / f"{name}.json", options=AuditOptions(n_resamples=20)))
        for name in ("a", "b")
    )
    for key in ("records", "verdict", "patients", "subgroups", "notes"):
        assert first[key] == second[key]


def test_with_a_reference_and_an_attack(runs, student):
    options = AuditOptions(references=[runs / "retrained"], attacks=["int8"], n_resamples=20, quiet=True)
    file = workflow.audit(student, options=options)
    content = read_json(file)
    found = {(row["metric"], row["attack"]) for row in content["records"]}
    assert {
        ("tow", ""),
        ("js", ""),
        ("weight_distance", ""),
        ("depth", ""),
        ("residual_knowledge", ""),
        ("auc[loss]", "int8"),
    } <= found
    assert content["attacks"] == [{"name": "int8", "settings": {"bits": 8}}]
    assert set(content["models"]) == {"teacher", "retrained", "student"}
    said = workflow.audit_summary(file)
    for text in (
        "CANNOT TELL: ",
        "AUC, loss: ",
        "should be ",
        "depth: ",
        "after attacks",
        "int8: ",
        "most exposed of",
        "note: ",
    ):
        assert text in said


def test_images_that_changed_since_they_were_scored_are_not_attacked(runs, student, phantom_splits, tmp_path):
    folder = shutil.copytree(Path(phantom_splits["isic"]).parent, tmp_path / "data")
    split = folder / Path(phantom_splits["isic"]).name
    mask = folder / read_json(split)["test"][0]["label"]
    mask.write_bytes(mask.read_bytes() + b" ")
    options = AuditOptions(references=(runs / "retrained",), attacks=("int8",), quiet=True)
    with pytest.raises(InputError, match=r"changed after the split was made"):
        workflow.audit(student, split=split, options=options)
    assert not (student / "attacks").exists()


def test_a_report_shows_an_audit_beside_the_retrained_model_that_it_compared_with(runs, student, tmp_path):
    workflow.audit(student, options=AuditOptions(references=(runs / "retrained",), distances=False, quiet=True))
    workflow.report([student, runs / "retrained"], out=tmp_path / "page")
    with pytest.raises(InputError, match=r"compared it with another retrained model.*audit again"):
        workflow.report([student, runs / "retrained-1"], out=tmp_path / "other")


def test_a_loss_that_is_not_a_number_is_refused(student):
    scores = pd.read_csv(student / "scores.csv")
    scores.loc[(scores["model"] == "student") & (scores["subset"] == "test"), "loss"] = float("nan")
    scores.to_csv(student / "scores.csv", index=False)
    write_record(student, replace(read_record(student), files=file_digests(student)))
    with pytest.raises(InputError, match=r"the loss of the student on case .* is not a number"):
        workflow.audit(student, options=AuditOptions(quiet=True))


def test_the_summary_shows_an_attack_at_its_worst_rate(runs, student):
    options = AuditOptions(
        references=[runs / "retrained"], attacks=["retain-finetuning"], distances=False, n_resamples=20
    )
    file = workflow.audit(student, options=replace(options, quiet=True))
    content = read_json(file)
    worst = worst_rates(content["records"])["retain-finetuning"]
    assert len({row["attack"] for row in content["records"] if row["attack"]}) == 3
    lines = [line.strip() for line in workflow.audit_summary(file).split("\n") if "retain-finetuning (" in line]
    assert [line.partition(":")[0] for line in lines if not line.startswith("note")] == [
        f"retain-finetuning (learning rate {worst:g})"
    ]
    assert sum("after retain-finetuning" in note for note in content["notes"]) == 1


def test_attacks_of_the_audit_that_is_replaced_are_named(student, caplog):
    options = AuditOptions(attacks=["int8"], n_resamples=20, distances=False, quiet=True)
    workflow.audit(student, options=options)
    workflow.audit(student, options=replace(options, attacks=["int8", "int4"]))
    assert "replaces it" not in caplog.text
    workflow.audit(student, options=replace(options, attacks=["int4"]))
    assert "had int8" in caplog.text
    assert "--attacks int4,int8 " in caplog.text


def test_several_seeds_of_both_models_tell_how_alike_they_are(runs, student):
    options = AuditOptions(
        references=[runs / "retrained", runs / "retrained-1"],
        siblings=[runs / "student-1"],
        n_resamples=20,
        quiet=True,
    )
    content = read_json(workflow.audit(student, options=options))
    assert {"klom", "klom_gaussian"} <= {row["metric"] for row in content["records"]}
    ideal = {row["ideal"] for row in content["records"] if row["metric"] == "average_gap"}
    assert ideal
    assert 0.0 not in ideal
    assert any("KLoM" in note and "2 unlearned and 2 retrained models" in note for note in content["notes"])
    content = read_json(workflow.audit(student, options=replace(options, references=())))
    assert any(note.startswith("no KLoM") and "--reference, repeated" in note for note in content["notes"])


def test_every_problem_at_once_and_nothing_is_written(runs, student, teachers):
    wrong = {"references": [teachers["isic"]], "siblings": [runs / "retrained"], "attacks": ["int9"], "seed": -1}
    options = AuditOptions(**wrong, by=["scanner"], shadows=2, pool="pool", device="nowhere")
    with pytest.raises(InputError) as error:
        workflow.audit(student, options=options)
    problems = "\n".join(error.value.problems)
    for text in (
        f"--reference '{teachers['isic']}' is the run of a teacher; give that of a retrained model",
        "--sibling",
        "attack 'int9' is not known",
        "--by scanner is not a column of the split",
        "--shadows 2 is not allowed",
        "--seed -1 is not allowed",
        "--device nowhere cannot be used",
    ):
        assert text in problems
    assert not (student / "audit.json").exists()


def test_models_that_are_given_twice_are_refused(runs, student):
    both = AuditOptions(references=[runs / "retrained"] * 2, siblings=[student, runs / "student-1"])
    with pytest.raises(InputError) as error:
        workflow.audit(student, options=both)
    twice, itself = error.value.problems
    assert twice.startswith(f"--reference '{runs / 'retrained'}' has the weights of '{runs / 'retrained'}'; give every")
    assert itself.startswith(f"--sibling '{student}' has the weights of '{student}'; give every model once")


def test_another_unlearning_is_not_a_sibling(runs, student, tmp_path):
    other = shutil.copytree(runs / "student-1", tmp_path / "other")
    record = read_record(other)
    method = replace(record.method, settings={**record.method.settings, "gamma": 7})
    write_record(other, replace(record, method=method, max_epochs=9))
    with pytest.raises(InputError, match=r"not the same unlearning as .*settings .*; max_epochs 9 instead of 1\)"):
        workflow.audit(student, options=AuditOptions(siblings=[other]))


def test_shadow_models_need_a_pool(student):
    with pytest.raises(InputError, match="--shadows N and --pool FOLDER"):
        workflow.audit(student, options=AuditOptions(shadows=4))


def test_a_model_that_forgot_nothing_is_refused(teachers):
    with pytest.raises(InputError, match=r"is the run of a teacher.* give an unlearning run"):
        workflow.audit(teachers["isic"])


def test_where_a_class_was_forgotten_nobody_is_to_be_told(student):
    record = read_json(student / "run.json") | {"forget_classes": ["lesion"]}
    write_record(student, RunRecord.from_json({**record, "files": file_digests(student)}))
    with pytest.raises(InputError, match="forgot the classes lesion in every case"):
        workflow.audit(student)


def test_another_model_than_the_original_is_no_teacher(runs, student, tmp_path):
    with pytest.raises(InputError, match=r"--teacher .* is not the model that .*SHA-256"):
        workflow.audit(student, teacher=runs / "retrained")
    with pytest.raises(InputError, match="does not exist; if it was moved"):
        workflow.audit(student, teacher=tmp_path / "none.pt")


def test_weights_of_another_model_are_not_attacked(runs, student):
    shutil.copy(runs / "retrained/model.pt", student / "model.pt")
    with pytest.raises(InputError, match="is not the file that the run wrote"):
        workflow.audit(student, options=AuditOptions(attacks=["int8"]))


def test_a_model_that_was_not_unlearned_here(runs, teachers, phantom_splits, tmp_path):
    """The scores of an adopted model are those of the run that it came from."""
    given = {"split": phantom_splits["isic"], "teacher": teachers["isic"]}
    options = AuditOptions(references=[runs / "retrained"], n_resamples=20, device="cpu", quiet=True)
    out = tmp_path / "adopted"
    adopted = workflow.adopt("isic", weights=runs / "student/model.pt", out=out, **given, options=options)
    record = read_json(adopted / "run.json")
    assert (record["verb"], record["role"], record["bundle"]["name"]) == ("audit", "student", "isic")
    keys = ["model", "subset", "case_id"]
    found, expected = (pd.read_csv(path / "scores.csv").set_index(keys)["loss"] for path in (adopted, runs / "student"))
    pd.testing.assert_series_equal(found.sort_index(), expected.sort_index(), rtol=1e-4)
    content = read_json(workflow.audit(adopted, options=options))
    assert content["verdict"]["label"] == "CANNOT TELL"
    assert not content["searched"]
    assert not any(note.startswith("the run folder was searched") and "--teacher" in note for note in content["notes"])
    report = workflow.report([adopted, runs / "retrained"], out=tmp_path / "report")
    assert "Can it still be told" in report.read_text(encoding="utf-8")


def test_without_the_original_it_says_what_is_not_known(runs, phantom_splits, tmp_path):
    given, options = {"weights": runs / "student", "split": phantom_splits["isic"]}, AuditOptions(n_resamples=20)
    adopted = workflow.adopt("isic", out=tmp_path / "adopted", **given, options=replace(options, device="cpu"))
    content = read_json(workflow.audit(adopted, options=options))
    assert "not known whether these patients ever had" in content["verdict"]["but"]
    assert set(content["models"]) == {"student"}
    assert any(note.startswith("the run folder was searched") and "--teacher" in note for note in content["notes"])
    assert all(math.isfinite(row["exposure"]) for row in content["patients"])


@pytest.mark.parametrize("attacks", [(), ("int8",)])
def test_an_original_that_was_not_scored_is_refused(runs, teachers, phantom_splits, tmp_path, attacks):
    given, options = {"weights": runs / "student", "split": phantom_splits["isic"]}, AuditOptions(attacks=attacks)
    adopted = workflow.adopt("isic", out=tmp_path / "adopted", **given, options=AuditOptions(device="cpu"))
    with pytest.raises(
        InputError, match=r"made without a teacher, .* score it as well: mu-monai audit BUNDLE"
    ) as error:
        workflow.audit(adopted, teacher=teachers["isic"], options=options)
    assert len(error.value.problems) == 1
    assert "put the original file back" not in str(error.value)


def test_what_was_adopted_is_not_scored_again(runs, student, phantom_splits):
    with pytest.raises(InputError, match=r"is already a run.* --weights .*--split: mu-monai audit"):
        workflow.adopt("isic", weights=runs / "student", split=phantom_splits["isic"], out=student)


def test_what_cannot_be_adopted_is_said_at_once(phantom_splits, tmp_path):
    weights, out = tmp_path / "model.pt", tmp_path / "out"
    torch.save({"layer": torch.zeros(1)}, weights)
    out.mkdir()
    (out / "notes.txt").write_text("kept")
    options = AuditOptions(device="nowhere")
    with pytest.raises(InputError) as error:
        workflow.adopt("isic", weights=weights, split=tmp_path / "none.json", out=out, options=options)
    problems = "\n".join(error.value.problems)
    for text in ("--out", "does not exist", "--device nowhere", "do not fit the bundle's network"):
        assert text in problems
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("is_there", [True, False])
def test_what_the_audit_would_refuse_is_said_before_a_model_is_scored(teachers, phantom_splits, tmp_path, is_there):
    teacher, split = teachers["isic"], phantom_splits["isic"] if is_there else tmp_path / "none.json"
    wrong = {"references": [teacher], "siblings": [teacher], "attacks": ["int9"], "by": ["scanner"]}
    options = AuditOptions(**wrong, shadows=4, pool=None, seed=-1, device="nowhere")
    with pytest.raises(InputError) as error:
        workflow.adopt("isic", weights=teacher, split=split, out=tmp_path / "out", options=options)
    problems = "\n".join(error.value.problems)
    for text in ("attack 'int9'", "--pool FOLDER", "--seed -1", "--device nowhere"):
        assert problems.count(text) == 1
    for text in ("--reference", "--sibling", "--by scanner is not a column"):
        assert (text in problems) == is_there
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gone", [True, False])
def test_a_search_without_the_original_says_so(student, teachers, tmp_path, gone):
    """The original's file is gone, or another one is in its place."""
    record = read_json(student / "run.json")
    place = tmp_path / "original.pt"
    if not gone:
        state = {name: value + 1 for name, value in torch.load(teachers["isic"] / "model.pt").items()}
        torch.save(state, place)
    write_record(student, RunRecord.from_json({**(record | {"teacher": str(place)}), "files": file_digests(student)}))
    content = read_json(workflow.audit(student, options=AuditOptions(n_resamples=5, quiet=True)))
    assert any(note.startswith("the run folder was searched") and "--teacher" in note for note in content["notes"])
    assert any(found["file"].startswith("adapter/") for found in content["searched"])
