"""One command at a time writes a place, and a lock ends with whoever holds it."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from mu_monai.errors import InputError
from mu_monai.lock import writes, writing

HOLD = """
import sys, time
from mu_monai.errors import InputError
from mu_monai.lock import writing
try:
    with writing(sys.argv[1]):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
except InputError as error:
    print(error, flush=True)
"""


def hold(place, seconds=60.0):
    return subprocess.Popen([sys.executable, "-c", HOLD, str(place), str(seconds)], stdout=subprocess.PIPE, text=True)


def held_elsewhere(place):
    """Whether another thread is refused."""

    def attempt():
        with writing(place):
            pass

    with ThreadPoolExecutor(1) as pool:
        return isinstance(pool.submit(attempt).exception(), InputError)


def test_another_process_is_refused_and_told_who_holds_it(tmp_path):
    process = hold(tmp_path / "run")
    assert process.stdout.readline() == "held\n"
    expected = (
        rf"run' is being written by another command \(process {process.pid} on \S+\); wait for it or give another"
    )
    with pytest.raises(InputError, match=expected), writing(tmp_path / "run"):
        pass
    with writing(tmp_path / "other"):
        pass
    process.kill()
    process.wait()


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_nothing_locked(tmp_path, stop):
    process = hold(tmp_path / "run")
    assert process.stdout.readline() == "held\n"
    process.send_signal(stop)
    process.wait()
    with writing(tmp_path / "run"):
        assert held_elsewhere(tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_of_many_at_the_same_time_one_gets_it(tmp_path):
    processes = [hold(tmp_path / "run", 5) for _ in range(6)]
    first = [process.stdout.readline() for process in processes]
    assert sorted("held" in line for line in first) == [False] * 5 + [True]
    for process in processes:
        process.kill()
        process.wait()


def test_parts_of_the_holder_hold_it_too_and_other_threads_do_not(tmp_path):
    with writing(tmp_path / "run"):
        with writing(tmp_path / "link" / ".." / "run"):
            assert held_elsewhere(tmp_path / "run")
        assert held_elsewhere(tmp_path / "run")
    assert not held_elsewhere(tmp_path / "run")


def test_a_link_is_the_place_that_it_leads_to(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with writing(tmp_path / "link"):
        assert held_elsewhere(tmp_path / "run")


def test_the_lock_lies_beside_the_folder_and_goes_with_the_folders_that_it_needed(tmp_path):
    run = tmp_path / "a" / "b" / "run"
    with writing(run):
        assert os.listdir(run.parent) == [".run.lock"]
    assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError), writing(run):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []
    with writing(run):
        run.mkdir()
    assert os.listdir(run.parent) == ["run"]
    assert os.listdir(run) == []


@pytest.mark.parametrize("inside", ["x", "a/x"])
def test_a_place_inside_a_file_is_refused_before_any_work(tmp_path, inside):
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(InputError, match=r"x' cannot be written: '.*notes.txt' is not a folder; give another path"):
        writing(tmp_path / "notes.txt" / inside).__enter__()
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_folder_where_nothing_can_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    """Of a folder that exists, what counts is the folder itself: what it lies in may belong to somebody else."""
    (tmp_path / "locked" / "run").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    with pytest.raises(InputError, match=r"other' cannot be written: nothing can be written in '.*locked'"):
        writing(tmp_path / "locked" / "other").__enter__()
    with writing(tmp_path / "locked" / "run"):
        pass


def refuse(monkeypatch, folders, number):
    """Let the system refuse locks in folders."""
    acquire = FileLock.acquire

    def refused(self, *args, **kwargs):
        if str(Path(self.lock_file).parent) in map(str, folders):
            raise OSError(number, os.strerror(number))
        return acquire(self, *args, **kwargs)

    monkeypatch.setattr(FileLock, "acquire", refused)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOLCK, errno.ENOSYS])
def test_where_nothing_can_be_written_beside_it_the_lock_lies_in_the_temporary_folder(tmp_path, monkeypatch, number):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    refuse(monkeypatch, [tmp_path], number)
    with writing(tmp_path / "run"):
        assert len(os.listdir(temporary)) == 1
        assert held_elsewhere(tmp_path / "run")
        assert not held_elsewhere(tmp_path / "other")
    assert os.listdir(temporary) == []


def test_without_any_lock_the_work_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    refuse(monkeypatch, [tmp_path, tempfile.gettempdir()], errno.ENOLCK)
    with writing(tmp_path / "run"):
        pass
    assert "cannot be locked" in caplog.text


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".run.lock").symlink_to(tmp_path / "precious")
    with writing(tmp_path / "run"):
        assert held_elsewhere(tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_circle_of_links_is_wrong_input(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "run")
    with pytest.raises(InputError, match="give another"), writing("a\0b"):
        pass


def test_a_function_holds_what_it_says_that_it_writes(tmp_path):
    @writes("out|run", "record")
    def write(run, *, out=None, record=None):
        return [held_elsewhere(tmp_path / name) for name in ("run", "out", "record")]

    run, out, record = (tmp_path / name for name in ("run", "out", "record"))
    assert write(run) == [True, False, False]
    assert write(run, out=out) == [False, True, False]
    assert write(run, record=str(record)) == [True, False, True]
