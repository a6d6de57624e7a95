"""Reading of run folders: what is accepted, and what is refused with every problem at once."""

import json

import numpy as np
import pandas as pd
import pytest

from mu_monai.errors import InputError
from mu_monai.runs import open_runs
from mu_monai.runs.examples import read_examples
from tests.report.conftest import make_examples


def edit(path, change):
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


def test_the_runs_come_by_role_and_the_teacher_once(all_runs):
    runs = open_runs(reversed(all_runs))
    assert list(runs.by_role) == ["teacher", "retrained", "student"]
    assert runs.main.role == "student"
    assert not runs.scores.duplicated(["model", "case_id"]).any()
    assert set(runs.scores["model"]) == {"teacher", "retrained", "student"}
    assert runs.provenance["phantom"] is True


def test_the_retrained_models_answers_join_the_examples_of_the_student(all_runs):
    assert {"teacher", "student", "retrained"} <= set(open_runs(all_runs).examples)


def test_answers_on_other_cases_do_not_join(all_runs):
    path = all_runs[1] / "examples.npz"
    with np.load(path) as arrays:
        np.savez(path, **dict(arrays) | {"case_id": np.array([f"other{i}" for i in range(6)])})
    assert "retrained" not in open_runs(all_runs).examples


def test_ids_stay_text(make_run):
    folder = make_run("student")
    numbered = lambda t: t.assign(case_id=t.groupby("model").cumcount().map("{:04d}".format), patient_id="NA")  # noqa: E731
    edit(folder / "scores.csv", numbered)
    scores = open_runs([folder]).scores
    assert scores["case_id"].iloc[0] == "0000"
    assert set(scores["patient_id"]) == {"NA"}


def test_curve_and_examples_may_be_absent(make_run):
    folder = make_run("student", figures=False)
    runs = open_runs([folder])
    assert runs.main.curve.empty
    assert runs.examples == {}


def test_every_problem_comes_at_once(make_run, tmp_path):
    unfinished = make_run("teacher", status="interrupted")
    (unfinished / "scores.csv").unlink()
    with pytest.raises(InputError, match="is not a run folder") as caught:
        open_runs([tmp_path / "nothing", unfinished])
    assert len(caught.value.problems) == 3
    assert "'interrupted', not finished" in str(caught.value)
    assert "has no scores.csv" in str(caught.value)


def test_no_folder():
    with pytest.raises(InputError, match="give one or more of teacher, retrained and student"):
        open_runs([])


def test_two_runs_of_one_role(make_run):
    with pytest.raises(InputError, match=r"2 runs have the role student .*one run of each role"):
        open_runs([make_run("student"), make_run("student", "again")])


def test_other_split_and_bundle(make_run):
    other = make_run("retrained", sha256={"split": "0" * 64}, bundle={"name": "chase"})
    with pytest.raises(InputError, match=r"(?s)do not share one split.*do not share one bundle"):
        open_runs([make_run("student"), other])


def forget_hash(folder, name):
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del record["sha256"][name]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize(("role", "name"), [("teacher", "weights"), ("student", "starting_weights")])
def test_a_teacher_scored_differently_where_no_hash_tells(make_run, role, name):
    folders = {"teacher": make_run("teacher"), "student": make_run("student")}
    forget_hash(folders[role], name)
    scores = folders["teacher"] / "scores.csv"
    edit(scores, lambda t: t.assign(dice=t["dice"] - 5e-5))
    open_runs(folders.values())
    edit(scores, lambda t: t.assign(dice=t["dice"].where(t.index != 5, t["dice"] - 2e-4)))
    with pytest.raises(InputError, match="disagree about the dice of the teacher on case 'retain_p01_1'"):
        open_runs(folders.values())


@pytest.mark.parametrize("order", [1, -1])
def test_the_same_teacher_scored_on_another_device(make_run, order):
    teacher, student = make_run("teacher"), make_run("student")
    edit(teacher / "scores.csv", lambda t: t.assign(dice=t["dice"] - 3e-3))
    runs = open_runs([teacher, student][::order])
    found = runs.scores[runs.scores["model"] == "teacher"]["dice"].tolist()
    assert found == runs.by_role["teacher"].scores["dice"].tolist()  # its own run's, in whatever order they are given


@pytest.mark.parametrize("order", [1, -1])
def test_a_student_of_another_teacher(make_run, order):
    teacher, student = make_run("teacher"), make_run("student")
    record = json.loads((teacher / "run.json").read_text(encoding="utf-8"))
    record["sha256"]["weights"] = "e5" * 32
    (teacher / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match=r"did not start from the weights of the teacher '.*teacher'") as caught:
        open_runs([teacher, student][::order])
    assert f"starting weights {'c3' * 32}, of the teacher's weights {'e5' * 32}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="iou"), "no column 'iou'"),
        (lambda t: t.assign(bce="low"), "text in 'bce'"),
        (lambda t: t[t["model"] == "teacher"], "no row of .* 'student'"),
        (lambda t: pd.concat([t, t.head(2)]), "has 2 cases twice, 'retain_p00_0' first"),
    ],
)
def test_scores_that_cannot_be_used(make_run, change, message):
    folder = make_run("student")
    edit(folder / "scores.csv", change)
    with pytest.raises(InputError, match=message):
        open_runs([folder])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "{", "is not valid JSON"),
        ("run.json", "[]", "has format 'list'; this version reads format 1 and 2"),
        ("run.json", json.dumps({"format": 3}), "has format 3"),
        ("run.json", json.dumps({"format": 2}), "was changed after it was written"),
        (
            "run.json",
            json.dumps({"format": 1, "status": "finished", "role": "judge"}),
            "role is 'judge', which is not one of",
        ),
        ("scores.csv", "", "is not a readable table"),
        ("curve.csv", 'a,b\n"', "is not a readable table"),
        ("examples.npz", "no archive", "is not a readable archive"),
    ],
)
def test_damaged_files(make_run, name, content, message):
    folder = make_run("student")
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        open_runs([folder])


def test_examples_that_do_not_fit_together(make_run):
    folder = make_run("student")
    np.savez(folder / "examples.npz", case_id=np.array(["a"]), subset=np.array(["retain"]))
    with pytest.raises(InputError, match="no array 'image', 'label'"):
        open_runs([folder])
    arrays = {"case_id": np.array(["a"]), "subset": np.array(["retain"]), "image": np.zeros((2, 4, 4, 1))}
    np.savez(folder / "examples.npz", label=np.zeros((1, 4, 4)), **arrays)
    with pytest.raises(InputError, match="has arrays of different lengths"):
        open_runs([folder])


def test_examples_are_never_unpickled(make_run):
    folder = make_run("student")
    np.savez(folder / "examples.npz", case_id=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="is not a readable archive"):
        open_runs([folder])


@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_archive_of_examples_is_told_or_was_not_needed(make_run, compressed):
    file = make_run("student", figures=False) / "examples.npz"
    save = np.savez_compressed if compressed else np.savez
    save(file, **make_examples(("teacher", "student"), size=16))
    expected = read_examples(file)
    whole = file.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 400)):
        for changed in (whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :], whole[:place]):
            file.write_bytes(changed)
            try:
                found = read_examples(file)
            except InputError as error:
                assert "examples.npz" in str(error)  # noqa: PT017
            else:
                assert {"case_id", "subset", "image", "label"} <= set(found)
                assert all(np.array_equal(found[name], expected[name]) for name in found)
