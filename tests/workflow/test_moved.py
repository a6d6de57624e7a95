"""A study that was moved as a whole: every command that needs its split or teacher can be told where they are."""

import logging
import shutil
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.data import open_split, read_split, write_split
from mu_monai.data.shards import only
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json, write_json
from mu_monai.keys import SUBSETS
from mu_monai.runs import RunRecord, read_record
from mu_monai.runs.folder import file_digests
from mu_monai.runs.record import write_record
from mu_monai.workflow.moved import own_split
from mu_monai.workflow.unlearning import trained_otherwise


def leave(folder, old):
    """Make the record of a run name places under a folder that does not exist."""
    record = read_json(folder / "run.json")
    record["split"]["file"] = str(old / "data" / "split.json")
    if record.get("teacher"):
        record["teacher"] = str(old / "teacher" / "model.pt")
    write_record(folder, RunRecord.from_json({**record, "files": file_digests(folder)}))


@pytest.fixture
def study(tmp_path, unlearned, teachers, phantom_splits):
    """Data, split, teacher and student in one folder, which was called `old` when they were made."""
    new, old = tmp_path / "new", tmp_path / "old"
    shutil.copytree(Path(phantom_splits["isic"]).parent, new / "data")
    for name, source in (("teacher", teachers["isic"]), ("student", unlearned("isic"))):
        leave(shutil.copytree(source, new / name), old)
    return new


def given(study, *names):
    places = {"--split": study / "data" / "split.json", "--teacher": study / "teacher"}
    return [text for name in names for text in (name, places[name])]


COMMANDS = {
    "evaluate a student": (["evaluate", "student"], ["--split", "--teacher"]),
    "evaluate a teacher": (["evaluate", "teacher"], ["--split"]),
    "audit weights": (["audit", "student", "--attacks", "int8", "--quiet"], ["--split", "--teacher"]),
    "audit groups": (["audit", "student", "--by", "device", "--quiet"], ["--split"]),
    "release": (["release", "student", "--out", "released"], ["--split", "--teacher"]),
    "merge": (["merge", "student", "--out", "student.pt"], ["--teacher"]),
    "revert": (["revert", "student", "--out", "teacher.pt"], ["--teacher"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_the_options_that_help_and_they_help(mu_monai, study, monkeypatch, name):
    monkeypatch.chdir(study)
    command, needed = COMMANDS[name]
    code, _, error = mu_monai(*command)
    assert code == 2
    for option in needed:
        assert f"{option} " in error
    assert "make one with" not in error
    assert "Traceback" not in error
    code, said, error = mu_monai(*command, *given(study, *needed))
    assert code == 0, error
    assert said


def test_a_release_tries_a_case_of_the_split_that_it_is_given(mu_monai, study):
    command = ["release", study / "student", *given(study, "--teacher", "--split"), "--out"]
    assert "predicted a case of its split" in mu_monai(*command, study / "a")[1]
    split = study / "split.json"
    shutil.copy(study / "data" / "split.json", split)
    assert (
        "predicted no case: the images of the split were moved" in mu_monai(*command, study / "b", "--split", split)[1]
    )


def test_runs_are_composed_and_audited_where_they_are_now(study):
    other = shutil.copytree(study / "student", study / "other")
    runs = [study / "student", other]
    with pytest.raises(InputError, match=r"--split FILE(.|\n)*--teacher RUN"):
        workflow.compose(*runs, out=study / "composed", quiet=True)
    split, teacher = study / "data" / "split.json", study / "teacher"
    settings = ["max_epochs=1"]
    composed = workflow.compose(
        *runs, out=study / "composed", split=split, teacher=teacher, settings=settings, quiet=True
    )
    record = read_json(composed / "run.json")
    assert record["teacher"] == str(teacher / "model.pt")
    assert record["split"]["file"] == str(split)


def test_another_split_or_teacher_than_the_runs_is_refused(study, unlearned):
    content = read_json(study / "data" / "split.json")
    content["test"], content["validation"] = content["validation"], content["test"]
    write_json(study / "data" / "other.json", content)
    for verb in (workflow.evaluate, workflow.audit, lambda run, **more: workflow.release(run, out=study / "r", **more)):
        with pytest.raises(InputError, match="holds other cases or subsets"):
            verb(study / "student", split=study / "data" / "other.json", teacher=study / "teacher")
    for verb in (workflow.evaluate, workflow.audit):
        with pytest.raises(InputError, match=r"are not those of the teacher|is not the model that"):
            verb(study / "student", split=study / "data" / "split.json", teacher=unlearned("isic"))
        with pytest.raises(InputError, match="--split FILE"):
            verb(study / "student", split=study / "gone.json", teacher=study / "teacher")


def other_image(study):
    """A split of the same cases, of which one has another image."""
    content = read_json(study / "data" / "split.json")
    case, other = content["test"][:2]
    digests = content["provenance"]["sha256"]
    (study / "data" / "other.png").write_bytes((study / "data" / other["image"]).read_bytes() + b"\0")
    case["image"], digests["other.png"] = "other.png", file_sha256(study / "data" / "other.png")
    write_json(study / "data" / "other.json", content)
    return study / "data" / "other.json"


def test_the_same_cases_are_known_by_another_file_with_other_paths_and_without_scores(study):
    split = study / "elsewhere" / "split.json"
    split.parent.mkdir()
    content = read_json(study / "data" / "split.json")
    content["provenance"]["made again"] = True
    write_json(study / "data" / "split.json", content)
    located = read_split(study / "data" / "split.json")
    everything = {name: located.located[name] for name in SUBSETS}
    write_split(split, only(located, everything))
    scores = study / "student" / "scores.csv"
    scores.unlink()
    assert workflow.evaluate(study / "student", split=split, teacher=study / "teacher") == scores
    assert scores.is_file()


def test_other_images_of_the_same_cases_are_refused(study):
    split, teacher = other_image(study), study / "teacher"
    before = (study / "student" / "scores.csv").read_bytes()
    with pytest.raises(InputError, match=r"holds other images or labels than .* had"):
        workflow.evaluate(study / "student", split=split, teacher=teacher)
    assert (study / "student" / "scores.csv").read_bytes() == before


def test_a_run_of_an_earlier_version_knows_its_cases_by_their_ids(study):
    record = read_json(study / "student" / "run.json")
    del record["split"]["cases"]
    write_record(study / "student", RunRecord.from_json(record))
    assert "cases" not in read_json(study / "student" / "run.json")["split"]
    workflow.evaluate(study / "student", split=other_image(study), teacher=study / "teacher")


@pytest.mark.parametrize("verb", ["predict", "report"])
def test_what_needs_neither_works_as_it_is(mu_monai, study, verb):
    image = study / "data" / read_json(study / "data" / "split.json")["test"][0]["image"]
    more = {"predict": [study / "student", image], "report": [study / "student", study / "teacher"]}
    code, _, error = mu_monai(verb, *more[verb], "--out", study / "out")
    assert code == 0, error


def test_whether_a_moved_teacher_was_trained_on_the_forgotten_is_checked_or_said(study, caplog):
    own = open_split(study / "data" / "split.json")
    assert trained_otherwise(own, study / "teacher") == []
    content = read_json(study / "data" / "split.json")
    content["forget"], content["test"] = content["test"], content["forget"]
    write_json(study / "data" / "other.json", content)
    with caplog.at_level(logging.WARNING, "mu_monai"):
        assert trained_otherwise(open_split(study / "data" / "other.json"), study / "teacher") == []
    assert "is not checked; put it back, or make the split from the teacher's own" in caplog.text


def written_over(study, name):
    """The split file that a run names, in which there is another split now."""
    file = study / "data" / "split.json"
    record = read_json(study / name / "run.json")
    record["split"]["file"] = str(file)
    write_record(study / name, RunRecord.from_json(record))
    content = read_json(file)
    content["forget"], content["test"] = content["test"], content["forget"]
    write_json(file, content)
    return file


def test_a_split_that_was_written_over_the_teachers_is_not_taken_for_it(study, caplog):
    file = written_over(study, "teacher")
    with caplog.at_level(logging.WARNING, "mu_monai"):
        assert trained_otherwise(open_split(file), study / "teacher") == []
    assert "or another one was written in its place" in caplog.text
    assert own_split(study / "teacher", read_record(study / "teacher")) is None
    file.write_text("[]")
    assert own_split(study / "teacher", read_record(study / "teacher")) is None


def test_the_teachers_split_with_other_paths_is_still_its_own(study):
    file, other = study / "teacher.json", study / "data" / "other.json"
    content = read_json(study / "data" / "split.json")
    content["forget"], content["test"] = content["test"], content["forget"]
    write_json(other, content)
    located = read_split(study / "data" / "split.json")
    write_split(file, only(located, {name: located.located[name] for name in SUBSETS}))  # beside the run
    assert file_sha256(file) != read_record(study / "teacher").sha256.split
    problems = trained_otherwise(open_split(other), study / "teacher")
    assert any("is to be forgotten, but the teacher" in text for text in problems)
    assert any(f"is in 'test', but the teacher '{study / 'teacher'}' was trained on it" in text for text in problems)


def test_a_release_takes_no_case_of_another_split_that_was_written_over_its_own(mu_monai, study):
    written_over(study, "student")
    code, _, error = mu_monai("release", study / "student", *given(study, "--teacher"), "--out", study / "a")
    assert code == 2
    assert "holds other cases or subsets" in error
    assert not (study / "a").exists()
