"""Files are whole or absent."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import stat

import pytest

from mu_monai.errors import InputError
from mu_monai.files import (
    atomic_path,
    file_sha256,
    read_json,
    read_text,
    shape_problems,
    special_problem,
    write_json,
)


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
    [
        b"no gzip",
        gzip.compress(b"voxels" * 1000)[:-9],
        gzip.compress(b"voxels")[:10] + b"\xff" * 20,
        gzip.compress(b"voxels" * 1000)[:-8] + b"crc!" + (6000).to_bytes(4, "little"),
        gzip.compress(b"voxels" * 1000)[:-4] + (6001).to_bytes(4, "little"),
    ],
    ids=["no gzip", "cut off", "garbage", "checksum", "length"],  # the bytes hold the time: workers must agree on names
)
def test_a_gz_file_that_is_damaged_has_no_digest(tmp_path, content):
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nii\.gz' is damaged .*; replace it by"):
        file_sha256(tmp_path / "a.nii.gz")


def test_the_sha_of_a_folder_is_that_of_its_files_under_whatever_names(tmp_path):
    for folder, names in (("first", "ab"), ("renamed", "ba"), ("other", "ab")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, "xy", strict=True):
            (tmp_path / folder / name).write_text(content)
    (tmp_path / "first" / ".hidden").write_text("does not count")
    (tmp_path / "other" / "b").write_text("z")
    first, renamed, other = (file_sha256(tmp_path / name) for name in ("first", "renamed", "other"))
    assert first == renamed != other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (rb'{"a": "\ud800"}', "is not valid JSON"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8 text"),
        (b"[]", "it holds a list instead of a mapping"),
        (b"null", "it holds null instead of a mapping"),
        (b"{}", "it has no key 'a'"),
        (b'{"a": "1"}', r"a holds text \('1'\) instead of a whole number"),
        (b'{"a": true}', r"a holds true or false \(True\) instead of a whole number"),
        (b'{"a": NaN}', r"a holds a number \(nan\) instead of a whole number"),
    ],
)
def test_json_that_is_damaged_or_something_else_is_told(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_json(tmp_path / "a.json", {"a": int})
    assert caught.match("a.json'")


def test_json_that_is_not_there_is_told(tmp_path):
    for path, message in ((tmp_path / "gone.json", "does not exist"), (tmp_path, "cannot be read"), ("a\0b", "cannot")):
        with pytest.raises(InputError, match=message):
            read_json(path)


@pytest.mark.parametrize(
    ("content", "shape", "problems"),
    [
        ({"a": 1}, {"a": float, "b": int}, ["it has no key 'b'"]),
        ({"a": None}, {"a": str | None}, []),
        ({"a": 3}, {"a": str | None}, ["a holds a whole number (3) instead of text or null"]),
        ([{"a": 1}, 2], [{"a": int}], ["entry 2 holds a whole number (2) instead of a mapping"]),
        ({"a": [[1, "x"]]}, {"a": [[int]]}, ["a, entry 1, entry 2 holds text ('x') instead of a whole number"]),
        (True, object, []),
        (True, bool, []),
    ],
)
def test_every_place_of_another_shape_is_told(content, shape, problems):
    assert shape_problems(content, shape) == problems


@pytest.mark.skipif(os.name != "posix", reason="POSIX files")
class TestWhatIsNotAnOrdinaryFile:
    @pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/environ", "/proc", "/sys", "/dev"])
    @pytest.mark.parametrize("read", [read_json, read_text, file_sha256])
    def test_what_belongs_to_the_system_is_not_opened(self, path, read, tmp_path):
        if not os.path.exists(path):
            pytest.skip(f"this system has no {path}")
        link = tmp_path / "a.json"
        link.symlink_to(path)
        for named in (path, link):
            with pytest.raises(InputError, match="is not an ordinary file"):
                read(named)

    def test_a_pipe_and_a_socket_are_not_opened(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(tmp_path / "socket"))
            for name in ("pipe", "socket"):
                with pytest.raises(InputError, match="it is a device, a pipe or a socket"):
                    file_sha256(tmp_path / name)

    def test_files_folders_and_links_to_them_are_ordinary(self, tmp_path):
        (tmp_path / "file").write_text("x")
        (tmp_path / "link").symlink_to("file")
        (tmp_path / "folder").mkdir()
        assert [special_problem(tmp_path / name) for name in ("file", "link", "folder", "gone", "a\0")] == [None] * 5
        assert file_sha256(tmp_path / "link") == file_sha256(tmp_path / "file")
        with pytest.raises(InputError, match="is not a path"):
            file_sha256("a\0b")


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done, sync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(stat.S_ISDIR(os.fstat(handle).st_mode)), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), rename(*paths)))
    write_json(tmp_path / "a.json", 1)
    assert done == [False, "rename", True] if os.name == "posix" else done[:2] == [False, "rename"]


def test_a_write_that_fails_names_the_file(tmp_path):
    def fill(error):
        with atomic_path(tmp_path / "a.txt"):
            raise error

    for error in (OSError(28, "No space left on device"), OSError("it is full")):
        with pytest.raises(OSError, match=r"a\.txt") as caught:
            fill(error)
        assert caught.match("No space left|it is full")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        *({}, [], "text", None, 1.5, [[]], {"a": {}}, [{}], {"a": [], "b": [[], {}]}, float("nan")),
        {
            "rows": [{"a": 1, "b": [1, 2, {"c": None}]}, {"d": 'quotes " and \n lines, "x": '}],
            "é": True,
            "last": (1, (2,)),
        },
        {1: "one", None: [True], False: {2.5: 3}},
        {str(number): number for number in range(2500)} | {"nested": list(range(2500))},
        [{"case_id": str(number), "image": ["a", "b"] if number == 1200 else "a"} for number in range(2500)],
    ],
)
def test_json_is_written_as_python_indents_it(content, tmp_path):
    write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def test_an_iterator_is_written_as_a_list(tmp_path):
    write_json(tmp_path / "a.json", {"rows": map(str, range(3)), "none": iter(())})
    assert read_json(tmp_path / "a.json") == {"rows": ["0", "1", "2"], "none": []}
