"""Two commands never write one folder at the same time."""

import os
import shutil
import signal
import time
from threading import Event, Thread

import pytest
from monai.bundle import ConfigWorkflow
from torch import nn

from mu_monai import workflow
from mu_monai.bundle import shipped_bundles
from mu_monai.bundle.config import parse_settings
from mu_monai.engine import ScoreSubsets
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.lock import writing
from tests import programs


@pytest.fixture
def held():
    """Hold the lock of a place in another thread, as another command would."""
    done, threads = Event(), []

    def hold(place):
        begun = Event()

        def body():
            with writing(place):
                begun.set()
                done.wait()

        threads.append(Thread(target=body))
        threads[-1].start()
        begun.wait()

    yield hold
    done.set()
    for thread in threads:
        thread.join()


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("split", ["{source}", "--forget", "0.3", "--out", "{out}"]),
        ("train", ["isic", "--split", "{split}", "--out", "{out}"]),
        ("unlearn", ["isic", "--split", "{split}", "--teacher", "{teacher}", "--out", "{out}"]),
        ("compose", ["{run}", "{run}", "--out", "{out}"]),
        ("evaluate", ["{out}"]),
        ("audit", ["{out}"]),
        ("audit", ["isic", "--weights", "{teacher}", "--split", "{split}", "--out", "{out}"]),
        ("audit", ["{run}", "--out", "{out}"]),
        ("predict", ["{run}", "{run}", "--out", "{out}"]),
        ("release", ["{run}", "--out", "{out}"]),
        ("report", ["{run}", "--out", "{out}"]),
        ("report", ["{run}", "--out", "{other}", "--record", "{out}", "--key", "key.pem"]),
        ("compare", ["isic", "--split", "{split}", "--teacher", "{teacher}", "--out", "{out}"]),
        ("demo", ["--out", "{out}"]),
    ],
)
def test_the_second_command_is_refused_at_once_and_writes_nothing(
    mu_monai, held, unlearned, teachers, phantom_splits, tmp_path, verb, arguments
):
    out = tmp_path / "out"
    if verb in ("evaluate", "audit"):
        shutil.copytree(unlearned("isic"), out)
    split = phantom_splits["isic"]
    places = {"out": out, "split": split, "source": os.path.join(os.path.dirname(split), "manifest.csv")}
    places |= {"teacher": teachers["isic"], "run": unlearned("isic"), "other": tmp_path / "other"}
    before = files(tmp_path)
    held(out)
    code, _, err = mu_monai(verb, *(argument.format(**places) for argument in arguments))
    assert code == 2
    assert f"is being written by another command (process {os.getpid()} on " in err
    assert files(tmp_path) == before


def test_a_config_that_monai_runs_holds_the_lock_as_well(held, phantom_splits, tiny, tmp_path):
    flow = ConfigWorkflow(
        str(shipped_bundles()["isic"] / "configs" / "train.json"),
        logging_file=False,
        split=phantom_splits["isic"],
        run_dir=str(tmp_path / "run"),
        quiet=True,
        max_epochs=1,
        **parse_settings(tiny),
    )
    flow.initialize()
    flow.parser.get_parsed_content("train::trainer")  # built before another command begins, so that it saw no folder
    held(tmp_path / "run")
    with pytest.raises(RuntimeError) as caught:
        flow.run()
    assert isinstance(caught.value.__cause__, InputError)
    assert "is being written by another command" in str(caught.value.__cause__)
    assert not (tmp_path / "run").exists()


def test_scores_are_not_written_into_a_folder_that_another_command_writes(held, tmp_path):
    held(tmp_path / "run")
    with pytest.raises(InputError, match="is being written by another command"):
        ScoreSubsets({}, nn.MSELoss()).write({}, tmp_path / "run")


def test_runs_of_one_process_follow_each_other(phantom_splits, tiny, tmp_path):
    run = workflow.train(
        "isic", split=phantom_splits["isic"], out=tmp_path / "run", settings=[*tiny, "max_epochs=1"], quiet=True
    )
    assert workflow.evaluate(run).is_file()
    assert os.listdir(tmp_path) == ["run"]
    with pytest.raises(InputError, match="exists"):
        workflow.train("isic", split=phantom_splits["isic"], out=run, settings=[*tiny, "max_epochs=1"], quiet=True)


def started(split, out, tiny, *more):
    settings = [part for setting in [*tiny, *more] for part in ("--set", setting)]
    return programs.Program("mu_monai", "train", "isic", "--split", split, "--out", out, "--quiet", *settings)


@pytest.mark.end_to_end
def test_of_two_commands_at_the_same_time_one_makes_the_run(phantom_splits, tiny, tmp_path):
    pair = [started(phantom_splits["isic"], tmp_path / "run", tiny, "max_epochs=2", f"seed={seed}") for seed in (3, 4)]
    errors = [process.communicate(timeout=120)[1] for process in pair]
    codes = [process.returncode for process in pair]
    assert sorted(codes) == [0, 2], errors
    assert "is being written by another command" in errors[codes.index(2)] or "exists" in errors[codes.index(2)]
    seed = (3, 4)[codes.index(0)]
    assert [read_json(tmp_path / "run" / name)["seed"] for name in ("run.json", "config.json")] == [seed, seed]
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.end_to_end
def test_what_a_killed_command_wrote_can_be_gone_on_with(mu_monai, phantom_splits, tiny, tmp_path):
    process = started(phantom_splits["isic"], tmp_path / "run", tiny, "max_epochs=500")
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    refused = started(phantom_splits["isic"], tmp_path / "run", tiny)
    assert f"(process {process.pid} on " in refused.communicate(timeout=60)[1]
    assert refused.returncode == 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    epochs = len((tmp_path / "run" / "curve.csv").read_text().splitlines()) + 2
    settings = [part for setting in [*tiny, f"max_epochs={epochs}"] for part in ("--set", setting)]
    command = ["train", "isic", "--split", phantom_splits["isic"], "--out", tmp_path / "run", "--quiet", "--resume"]
    assert mu_monai(*command, *settings)[0] == 0
    assert os.listdir(tmp_path) == ["run"]
