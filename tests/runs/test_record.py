"""`run.json` is read in one place, and tells of every change to the files of its run."""

import json
import random
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json
from mu_monai.runs import add_files, changed_files, file_digests, open_run, read_record, read_stamped
from mu_monai.runs.record import VERBS, training_passes
from mu_monai.runs.stamped import write_stamped

METHOD = {"name": "EraseToRetain", "settings": {}}
RECORD = {
    "verb": "unlearn",
    "status": "finished",
    "role": "student",
    "method": METHOD,
    "bundle": {"name": "isic", "root": "bundles/isic"},
    "sha256": {"split": "b" * 64, "weights": "a" * 64},
    "split": {"file": "split.json"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for name in ("config.json", "model.pt", "scores.csv", "examples.npz", "curve.csv", "adapter/base.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    write_stamped(folder / "run.json", {"format": 2, **{**RECORD, "files": file_digests(folder)}})
    return folder


@given(st.dictionaries(st.text(min_size=1).filter(lambda key: key not in ("format", "digest")), JSON, max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_and_any_change_is_noticed(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("stamped") / "a.json"
    write_stamped(file, {"format": 2, **content})
    found = read_stamped(file)
    assert {key: found[key] for key in content} == json.loads(json.dumps(content))
    for key in content:
        file.write_text(json.dumps({**found, key: "changed"}))
        with pytest.raises(InputError, match="was changed after it was written"):
            read_stamped(file)
    file.write_text(json.dumps({key: value for key, value in found.items() if key != "digest"}))
    with pytest.raises(InputError, match="was changed after it was written"):
        read_stamped(file)


@pytest.mark.parametrize("content", ["[]", "3", '{"format": 3}', '{"format": true}', "{}"])
def test_other_formats_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match="this version reads format 1 and 2"):
        read_stamped(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["config.json", "model.pt", "scores.csv", "examples.npz", "curve.csv", "adapter"])
@pytest.mark.parametrize("how", ["changed", "removed", "added"])
def test_every_file_is_compared_where_it_is_used(run, name, how):
    file = run / ("adapter/base.json" if name == "adapter" else name)
    if how == "removed":
        (run / "adapter" / "kept").touch()
        file.unlink()
    elif how == "added":
        known = dict(read_record(run).files)
        del known[file.relative_to(run).as_posix()]
        write_stamped(run / "run.json", {"format": 2, **{**RECORD, "files": known}})
    else:
        content = bytearray(file.read_bytes())
        content[random.Random(name).randrange(len(content))] ^= 1
        file.write_bytes(content)
    assert open_run(run).record.files
    with pytest.raises(InputError, match=file.name):
        open_run(run, name)


def test_adapters_may_be_destroyed_as_a_whole_but_not_in_part(run):
    (run / "adapter" / "other").write_text("b")
    write_stamped(run / "run.json", {"format": 2, **{**RECORD, "files": file_digests(run)}})
    (run / "adapter" / "other").unlink()
    with pytest.raises(InputError, match="other"):
        open_run(run, "adapter", "model.pt")
    shutil.rmtree(run / "adapter")
    assert open_run(run, "adapter", "model.pt")


def test_a_file_that_is_written_anew_is_known_again(run):
    (run / "scores.csv").write_text("new")
    assert changed_files(run, read_record(run), ["scores.csv"])
    add_files(run, "scores.csv")
    assert open_run(run, "scores.csv", "model.pt").record.files["scores.csv"] == file_sha256(run / "scores.csv")


def test_a_folder_that_is_not_a_run_gets_no_record(tmp_path):
    (tmp_path / "scores.csv").write_text("a")
    add_files(tmp_path, "scores.csv")
    assert not (tmp_path / "run.json").exists()
    with pytest.raises(InputError, match="is not a run folder"):
        read_record(tmp_path)


def test_a_run_of_format_1_is_read_and_its_config_is_still_compared(run, caplog):
    old = {**RECORD, "format": 1, "sha256": {**RECORD["sha256"], "config": file_sha256(run / "config.json")}}
    (run / "run.json").write_text(json.dumps(old))
    (run / "scores.csv").write_text("changed")
    assert open_run(run, "config.json", "scores.csv").record.format == 1
    assert "earlier version" in caplog.text
    (run / "config.json").write_text("changed")
    with pytest.raises(InputError, match=r"config\.json"):
        open_run(run, "config.json")


def test_what_is_written_anew_in_a_run_of_format_1_is_known_and_the_rest_is_not(run):
    old = {**RECORD, "format": 1, "sha256": {**RECORD["sha256"], "config": file_sha256(run / "config.json")}}
    (run / "run.json").write_text(json.dumps(old))
    (run / "scores.csv").write_text("anew")
    add_files(run, "scores.csv")
    assert open_run(run, "config.json", "scores.csv", "model.pt", "adapter").record.format == 1
    (run / "model.pt").write_text("not noticed")
    (run / "scores.csv").write_text("noticed")
    with pytest.raises(InputError) as caught:
        open_run(run, "model.pt", "scores.csv")
    assert [("scores.csv" in text) for text in caught.value.problems] == [True]


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_that_is_not_finished_is_not_opened(run, status):
    write_stamped(run / "run.json", {"format": 2, **{**RECORD, "status": status}})
    assert read_record(run).status == status
    with pytest.raises(InputError, match=status):
        open_run(run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("status", value) for value in (None, "done", 3, [], {})),
        *(("role", value) for value in (None, "judge", 3)),
        *(("verb", value) for value in (None, "audits", [], True)),
        *(("sha256", value) for value in (None, [], "a", {"weights": 3})),
        *(("split", value) for value in ("a", [], {"file": 3}, {"file": "a", "provenance": []})),
        *(("bundle", value) for value in (3, "isic", {"name": ["isic"]})),
        *(("method", value) for value in (None, "a", [], {"name": 3}, {"settings": []})),
        *(("files", value) for value in ([], "a", 3)),
        *(("checks", {}), ("warnings", "a"), ("teacher", 3), ("seconds", True), ("parameters", [])),
    ],
)
def test_what_is_of_another_type_is_named(run, key, value):
    write_stamped(run / "run.json", {"format": 2, **{**RECORD, key: value}})
    with pytest.raises(InputError, match=key):
        read_record(run)


def test_every_problem_of_a_record_comes_at_once(run):
    write_stamped(run / "run.json", {"format": 2, **{**RECORD, "status": "done", "role": 3, "teacher": 4}})
    with pytest.raises(InputError) as caught:
        read_record(run)
    assert len(caught.value.problems) >= 3


def test_a_run_may_be_moved(run, tmp_path):
    shutil.move(run, tmp_path / "moved")
    assert open_run(tmp_path / "moved", "model.pt", "adapter").record.verb in VERBS
    assert read_json(tmp_path / "moved" / "run.json")["format"] == 2


def test_the_training_that_a_student_came_from_is_that_before_its_unlearning(tmp_path):
    def made(name, verb, cost, teacher=None):
        place = tmp_path / name
        place.mkdir()
        method = {"method": METHOD} if verb == "unlearn" else {}
        weights = None if teacher is None else str(tmp_path / teacher / "model.pt")
        record = {**RECORD, "method": None, **method, "verb": verb, "cost": cost, "teacher": weights}
        write_stamped(place / "run.json", {"format": 2, **record})
        return place

    made("teacher", "train", {"passes": 2450, "steps": 75, "share": None})
    made("student", "unlearn", {"passes": 147, "steps": 5, "share": 147 / 2450}, "gone")
    made("rolled-back", "unlearn", {"passes": 0, "steps": 0, "share": 0.0}, "student")
    made("unknown", "unlearn", {"passes": 147, "steps": 5, "share": None}, "gone")
    made("round", "unlearn", {"passes": 0, "steps": 0, "share": None}, "about")
    made("about", "unlearn", {"passes": 0, "steps": 0, "share": None}, "round")
    names = ("teacher", "student", "rolled-back", "unknown", "round", "nowhere")
    passes = {name: training_passes(tmp_path / name) for name in names}
    assert passes == {**dict.fromkeys(names[:3], 2450), **dict.fromkeys(names[3:])}
