"""A config that is told no place gets a folder of its own each time, and resumes the newest that can be."""

import subprocess
import sys

import pytest

from mu_monai.engine import own_folder
from mu_monai.errors import InputError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def checkpoint(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.pt").write_bytes(b"")


def test_each_folder_is_new_and_stays_relative_to_where_one_is():
    assert [own_folder("runs/a") for _ in range(3)] == ["runs/a", "runs/a-2", "runs/a-3"]
    assert own_folder("runs/b") == "runs/b"


def test_a_gap_or_a_file_of_that_name_is_not_in_the_way(tmp_path):
    (tmp_path / "runs" / "a-3").mkdir(parents=True)
    (tmp_path / "runs" / "a").write_text("a file")
    assert [own_folder("runs/a") for _ in range(2)] == ["runs/a-2", "runs/a-4"]


def test_an_empty_folder_is_removed_at_the_end_of_the_program_and_no_other(tmp_path):
    code = (
        "from mu_monai.engine import own_folder; own_folder('runs/a'); open(own_folder('runs/a') + '/x', 'w').close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a-2"]


def test_the_newest_that_can_be_resumed_is_resumed(tmp_path):
    for name in ("a", "a-2", "a-3", "a-10", "a-11", "b-12", "a-x"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("a", "a-3", "a-10", "b-12", "a-x"):
        checkpoint(tmp_path / "runs" / name)
    assert own_folder("runs/a", resume=True) == "runs/a-10"


def test_the_first_one_can_be_resumed(tmp_path):
    checkpoint(tmp_path / "runs" / "a")
    assert own_folder("runs/a", resume=True) == "runs/a"


def test_nothing_to_resume_is_said_and_nothing_is_made(tmp_path):
    with pytest.raises(InputError, match=r"none of 'runs/a', .* --run_dir"):
        own_folder("runs/a", resume=True)
    assert list(tmp_path.iterdir()) == []
