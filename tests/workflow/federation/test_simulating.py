"""The process that runs the simulator, with another program in the place of NVFlare's."""

import os
import shutil
import time
from dataclasses import replace

import psutil
import pytest

from mu_monai.adapters import read_weights
from mu_monai.errors import InputError, RunError
from mu_monai.runs.federation import read_federation
from mu_monai.workflow.federation import simulating
from mu_monai.workflow.federation.simulating import LOG, finish, simulated


@pytest.fixture
def running(trained):
    """A federation of which nothing is done."""
    before = read_federation(trained)
    undone = tuple(replace(each, bytes=None, passes=None) for each in before.rounds)
    return trained, replace(before, status="running", rounds=undone, numbers=())


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Puts a shell script in the place of Python."""

    def put(*lines):
        script = tmp_path / "program"
        script.write_text("\n".join(["#!/bin/sh", *lines]))
        script.chmod(0o755)
        monkeypatch.setattr(simulating.sys, "executable", str(script))
        monkeypatch.setattr(simulating, "_LOOK", 0.05)

    return put


def test_a_simulator_that_fails_without_a_reason_has_a_log(running, program):
    folder, federation = running
    program("echo no network", "exit 3")
    with pytest.raises(RunError, match=r"simulator ended with exit code 3; .*simulator\.log"):
        simulated({folder: federation})
    assert (folder / LOG).read_text() == "no network\n"
    assert read_federation(folder) == federation


def test_the_reason_of_a_site_is_that_of_the_command(running, program):
    folder, federation = running
    program("""echo '{"problems": ["the loss is odd"], "text": ""}' > "$MU_MONAI_REASON" """)
    with pytest.raises(InputError, match="the loss is odd"):
        simulated({folder: federation})


def test_no_site_outlives_an_interruption(running, program, monkeypatch):
    folder, federation = running
    program(f"sleep 60 & echo $! > {folder}/site", "wait")

    def interrupted(*arguments):
        while not (folder / "site").is_file() or not (folder / "site").read_text():
            os.sched_yield()
        raise KeyboardInterrupt

    monkeypatch.setattr(simulating, "_tell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulated({folder: federation})
    site = int((folder / "site").read_text())
    deadline = time.monotonic() + 30  # a kill takes effect a moment later
    while alive(site) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(site)


def alive(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_was_interrupted_after_the_last_round_only_lacks_its_model(trained, program):
    program("exit 1")  # nothing is to be simulated
    federation = replace(read_federation(trained), status="running")
    (trained / "federation.json").unlink()
    simulating.write_federation(trained, federation)
    simulated({trained: federation}, resume=True)
    assert not read_federation(trained).finished
    finish(trained)
    assert read_federation(trained).finished
    assert read_weights(trained / "model.pt")["weight"].tolist() == [4.0]


def test_several_are_run_in_one_simulator_and_every_round_is_told_with_its_folder(running, program, caplog):
    caplog.set_level("INFO", "mu_monai")
    folder, federation = running
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    simulating.write_federation(other, federation)
    done = federation.after(replace(federation.rounds[0], bytes=1, passes=1, said=("it is slow",)))
    simulating.write_federation(other.parent / "done", done)
    program(
        f"echo $* > {folder.parent}/arguments", f"cp {other.parent}/done/federation.json {other}", "sleep 1", "exit 3"
    )
    with pytest.raises(RunError):
        simulated({folder: federation, other: federation})
    assert (folder.parent / "arguments").read_text().split()[-2:] == [str(folder), str(other)]
    assert (folder / LOG).is_file()
    assert not (other / LOG).exists()
    assert caplog.messages == ["other: round 1 is over: train at north, south", "north, south: it is slow"]
