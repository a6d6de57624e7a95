"""Statements: every file by its digest, and what is no longer so."""

import hashlib

import pytest

from mu_monai.record import RECORD_JSON, file_problems, statement, type_problem


@pytest.fixture
def folder(tmp_path):
    for name in ("bundle/a.txt", "bundle/.hidden", "b.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / RECORD_JSON).write_text("not of itself")
    return tmp_path


def test_every_file_is_a_subject_by_the_digest_of_its_bytes(folder):
    said = statement(folder, {"format": 1})
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert {entry["name"]: entry["digest"]["sha256"] for entry in said["subject"]} == {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("bundle/a.txt", "bundle/.hidden", "b.gz")
    }
    assert said["predicate"] == {"format": 1}
    assert type_problem(said) == ""
    assert file_problems(folder, said["subject"]) == []


def test_changed_missing_and_extra_files_are_named(folder):
    subject = statement(folder, {})["subject"]
    (folder / "b.gz").write_bytes(b"B.gz")
    (folder / "bundle" / "a.txt").unlink()
    (folder / "bundle" / "b").write_text("new")
    assert file_problems(folder, subject) == [
        "'b.gz' was changed after signing",
        "'bundle/a.txt' is missing",
        "'bundle/b' was added after signing",
    ]
    assert "'bundle/a.txt' is missing" not in file_problems(folder, subject, absent=["bundle/a.txt"])


def test_a_link_is_never_the_file_that_was_signed(folder, tmp_path_factory):
    subject = statement(folder, {})["subject"]
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a.txt"
    (folder / "bundle" / "a.txt").rename(elsewhere)
    (folder / "bundle" / "a.txt").symlink_to(elsewhere)
    (folder / "more").symlink_to(elsewhere.parent)
    assert file_problems(folder, subject) == [
        "'bundle/a.txt' was changed after signing",
        "'more' was added after signing",
    ]
    signed = statement(folder, {})["subject"]
    links = [f"'{name}' was changed after signing" for name in ("bundle/a.txt", "more")]
    assert file_problems(folder, signed) == links  # what a link leads to may change


@pytest.mark.parametrize("content", [None, [], {}, {"_type": "https://in-toto.io/Statement/v0.1"}])
def test_other_statements_are_told(content):
    assert type_problem(content).startswith("_type is ")


def test_the_formats_that_are_read(folder):
    for made in (1, 2):
        assert type_problem(statement(folder, {"format": made})) == ""
    for made in (3, 0, True, 2.0, "2", None):
        expected = f"the record has format {made!r}; this version reads the formats 1, 2"
        assert type_problem(statement(folder, {"format": made})) == expected


def test_a_file_that_is_about_to_be_added_is_a_subject(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "c"
    elsewhere.write_bytes(b"c")
    said = statement(folder, {}, added={"evidence/c": elsewhere, "b.gz": elsewhere})["subject"]
    found = {entry["name"]: entry["digest"]["sha256"] for entry in said}
    assert found["evidence/c"] == found["b.gz"] == hashlib.sha256(b"c").hexdigest()
    assert [entry["name"] for entry in said] == sorted(found)


def test_a_file_that_is_named_twice_is_told(folder):
    said = statement(folder, {})["subject"]
    assert "the record names a file twice" in file_problems(folder, [*said, said[0]])
