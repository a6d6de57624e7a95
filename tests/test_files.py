"""Files are whole or absent."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat

import pytest

from mu_monai.files import atomic_path, file_sha256, read_json, write_json


def test_the_target_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as path:
        path.write_text("whole")
        assert not target.exists()
        assert path.parent == target.parent  # a rename is atomic within one file system only
        assert path.suffix == ".txt"
    assert target.read_text() == "whole"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [None, "old"])
def test_after_any_exception_the_target_is_as_before_and_nothing_is_left(tmp_path, error, before):
    target = tmp_path / "a.txt"
    if before is not None:
        target.write_text(before)

    def write_half():
        with atomic_path(target) as path:
            path.write_text("half")
            raise error("stopped")

    with pytest.raises(error, match="stopped"):
        write_half()
    assert [item.read_text() for item in tmp_path.iterdir()] == ([] if before is None else [before])


def test_an_existing_file_is_replaced(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old and longer")
    with atomic_path(target) as path:
        path.write_text("new")
    assert target.read_text() == "new"


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with target.open() as reader:
        with atomic_path(target) as path:
            path.write_text("new")
        assert reader.read() == "old"


def test_missing_folders_are_made(tmp_path):
    with atomic_path(tmp_path / "a" / "b" / "c.txt") as path:
        path.write_text("x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_name_given_as_text_works(tmp_path):
    write_json(str(tmp_path / "a.json"), [1])
    assert read_json(str(tmp_path / "a.json")) == [1]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_file_has_the_permissions_of_any_new_file(tmp_path, mask):
    old = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        assert os.umask(mask) == mask, "the process keeps its mask"
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("content", [{"a": [1, 2.5, None, True]}, [], "Größe µ ✓", {"nested": {"b": "c"}}])
def test_json_comes_back_as_it_was_written(tmp_path, content):
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content


def test_json_is_readable_by_people(tmp_path):
    write_json(tmp_path / "a.json", {"grün": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "grün": 1\n}\n'


def test_content_that_is_no_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert read_json(tmp_path / "a.json") == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_the_sha_is_that_of_the_bytes(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_sha_of_a_gz_file_is_that_of_what_it_holds(tmp_path):
    for name, level in (("fast.nii.gz", 1), ("small.NII.GZ", 9)):
        (tmp_path / name).write_bytes(gzip.compress(b"voxels" * 1000, level))
    assert (tmp_path / "fast.nii.gz").read_bytes() != (tmp_path / "small.NII.GZ").read_bytes()
    digests = {file_sha256(file) for file in tmp_path.iterdir()}
    assert digests == {hashlib.sha256(b"voxels" * 1000).hexdigest()}


@pytest.mark.parametrize(
    "content",
    [b"no gzip", b"", gzip.compress(b"voxels" * 1000)[:-9], gzip.compress(b"voxels")[:10] + b"\xff" * 20],
    ids=["no gzip", "empty", "cut off", "garbage"],  # the bytes hold the time, and workers must agree on names
)
def test_a_gz_file_that_does_not_decompress_is_told_apart_by_its_bytes(tmp_path, content):
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert file_sha256(tmp_path / "a.nii.gz") == hashlib.sha256(content).hexdigest()


def test_the_sha_of_a_folder_is_that_of_its_files_under_whatever_names(tmp_path):
    for folder, names in (("first", "ab"), ("renamed", "ba"), ("other", "ab")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, "xy", strict=True):
            (tmp_path / folder / name).write_text(content)
    (tmp_path / "first" / ".hidden").write_text("does not count")
    (tmp_path / "other" / "b").write_text("z")
    first, renamed, other = (file_sha256(tmp_path / name) for name in ("first", "renamed", "other"))
    assert first == renamed != other
