"""Runs of two processes: every verb and task, against one process with the same batches; a killed one; refusals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.multiprocessing import start_processes

from mu_monai import workflow
from mu_monai.bundle.config import run_config
from mu_monai.bundle.trust import STRANGER
from mu_monai.errors import InputError
from mu_monai.runs import read_record
from mu_monai.workflow import several, trained_alike
from mu_monai.workflow.launching import launch
from mu_monai.workflow.trained_alike import changed_settings

# AdamW would amplify the rounding of gradients that are 0 in theory, such as those of biases before a normalization.
SGD = "optimizer#_target_=torch.optim.SGD"
METHODS = {
    "erase-to-retain": ["batch_size=2"],
    "calibrated-erase-to-retain": ["batch_size=2"],
    "rewind": ["batch_size=2", "epoch_length=2", "method#tolerance=0.49"],
    "gradient-ascent": ["batch_size=2"],
}
BUNDLES = {"masks": "isic", "volumes": "volume3d", "classes": "isic_classification"}
# Without BatchNorm, two processes that share a batch do what one does with all of it.
SMALL = {
    "masks": [
        *("network_def#channels=[4, 8]", "network_def#strides=[2]", 'network_def#norm="instance"'),
        "image_size=[32, 32]",
    ],
    "volumes": [
        *("network_def#channels=[4, 8]", "network_def#strides=[2]", 'network_def#norm="instance"'),
        *("patch_size=[16, 16, 16]", "spacing=[4, 4, 4]"),
    ],
    "classes": [
        *("network_def#layers=[1, 1, 1, 1]", "network_def#block_inplanes=[4, 8, 16, 32]", "image_size=[64, 64]"),
    ],
}


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _enter(rank, number, port, files, overrides, folder):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(number)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["MU_MONAI_HELD"] = str(Path(folder).resolve())
    run_config(files, overrides)
    assert not _threads_of_a_group()  # one that outlives the run may abort the process as Python ends


def _threads_of_a_group() -> list[str]:
    """The names of Gloo's threads in this process; none are known but on Linux."""
    names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


@pytest.fixture
def forked(monkeypatch):
    """Lets a run of several processes be so many copies of this one, which torchrun would start as new programs."""

    def use(number: int) -> None:
        def start(_processes, files, overrides, folder):
            arguments = (number, _free_port(), files, overrides, folder)
            start_processes(_enter, args=arguments, nprocs=number, start_method="fork")

        monkeypatch.setattr(several, "launch", start)

    return use


@pytest.fixture(scope="module")
def made() -> dict:
    return {}


@pytest.fixture
def teacher(forked, made, phantom_splits, tmp_path_factory):
    """A teacher by one or two processes, with the same batches."""

    def train(task: str, number: int) -> Path:
        if (task, number) not in made:
            forked(number)
            made[task, number] = workflow.train(
                BUNDLES[task],
                split=phantom_splits[BUNDLES[task]],
                out=tmp_path_factory.mktemp(f"{task}-{number}") / "teacher",
                settings=[*SMALL[task], "max_epochs=2", f"batch_size={4 // number}", "learning_rate=0.1", SGD],
                processes=2,
                quiet=True,
            )
        return made[task, number]

    return train


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model.pt", weights_only=True)


def same(one: Path, two: Path) -> None:
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-3, atol=1e-5)


def scores(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "scores.csv")


@pytest.mark.parametrize("task", ["masks", "volumes"])
def test_a_training_ends_with_the_weights_and_scores_of_one_process(teacher, task):
    one, two = teacher(task, 1), teacher(task, 2)
    if task == "masks":  # patches of volumes are drawn at random, by each process for its own cases
        same(one, two)
        pd.testing.assert_frame_equal(scores(one), scores(two), rtol=1e-2, atol=1e-4)
    assert scores(one)["case_id"].tolist() == scores(two)["case_id"].tolist()
    records = [read_record(run) for run in (one, two)]
    assert [record.processes for record in records] == [1, 2]
    assert records[0].cost == records[1].cost
    assert (two / "milestones").is_dir()


@pytest.mark.parametrize(
    ("task", "method"),
    [
        *(("masks", method) for method in METHODS),
        *(("volumes", method) for method in ("calibrated-erase-to-retain", "rewind")),
        *(("classes", method) for method in ("erase-to-retain", "gradient-ascent")),
    ],
)
def test_it_unlearns_and_evaluates(teacher, forked, phantom_splits, tmp_path, task, method):
    runs = []
    for number in (1, 2) if task == "masks" else (2,):
        origin = teacher(task, 2)
        forked(number)
        settings = [text.replace("batch_size=2", f"batch_size={4 // number}") for text in METHODS[method]]
        runs.append(
            workflow.unlearn(
                BUNDLES[task],
                split=phantom_splits[BUNDLES[task]],
                teacher=origin,
                method=method,
                out=tmp_path / f"by-{number}",
                settings=["max_epochs=2", "network#lora_dropout=0", "learning_rate=0.01", SGD, *settings],
                processes=2,
                quiet=True,
            )
        )
    if task == "masks":
        same(*runs)
    run = runs[-1]
    record, before = read_record(run), scores(run)
    assert (record.status, record.processes) == ("finished", 2)
    assert all(check.passed for check in record.checks), record.checks
    assert set(before["model"]) == {"teacher", "student"}
    if method == "erase-to-retain":
        (run / "scores.csv").unlink()
        workflow.evaluate(run, processes=2)
        pd.testing.assert_frame_equal(scores(run), before)
        workflow.evaluate(run)
        pd.testing.assert_frame_equal(scores(run), before)


def test_what_several_made_is_used_in_one_process(forked, phantom_splits, monkeypatch, tmp_path):
    split = phantom_splits["isic"]
    forked(2)
    both = {"split": split, "processes": 2, "quiet": True}
    settings = [*SMALL["masks"], "max_epochs=1", "batch_size=2"]
    origin = workflow.train("isic", out=tmp_path / "teacher", settings=settings, **both)
    settings = ["max_epochs=1", "batch_size=3", "amp=true"]
    run = workflow.unlearn("isic", teacher=origin, out=tmp_path / "run", settings=settings, **both)
    assert read_record(run).precision == "bf16"
    image = Path(split).parent / json.loads(Path(split).read_text())["test"][0]["image"]
    (mask,) = workflow.predict(run, images=[image], out=tmp_path / "masks").iterdir()
    assert mask.stat().st_size > 0
    assert (workflow.release(run, out=tmp_path / "release") / "release.json").is_file()
    # another model is trained alike in one process: a step takes the cases of both
    for made, name, size in ((origin, "train", 4), (run, "unlearn", 6)):
        alike = changed_settings(made, read_record(made), name, STRANGER)
        assert (alike["batch_size"], alike["max_epochs"], alike["image_size"]) == (size, 1, [32, 32])
        assert alike.get("amp") is (True if made == run else None)
        assert not {"train", "backend", "finalize"} & set(alike)
    monkeypatch.setattr(trained_alike, "_BATCH", "cases_per_step")  # a bundle may call it otherwise
    with pytest.raises(InputError, match=r"2 processes made .*, and its bundle has no cases_per_step"):
        changed_settings(run, read_record(run), "unlearn", STRANGER)


@pytest.fixture
def training(phantom_splits, tmp_path):
    def command(*more):
        settings = [word for text in SMALL["masks"] for word in ("--set", text)]
        return [
            *(sys.executable, "-m", "mu_monai", "train", "isic", "--split", phantom_splits["isic"], *settings),
            *("--set", "batch_size=2", "--out", str(tmp_path / "run"), "--processes", "2", "--quiet", *more),
        ]

    return command


@pytest.mark.end_to_end
def test_a_killed_process_ends_the_run_which_can_be_resumed(training, tmp_path):
    run = tmp_path / "run"
    started = subprocess.Popen(training("--set", "max_epochs=100000"), stderr=subprocess.PIPE, text=True)
    while not (run / "checkpoints" / "last.pt").is_file():
        assert started.poll() is None, started.communicate()[1]
        time.sleep(0.1)
    os.kill(_child(started.pid, rank=1), signal.SIGKILL)
    _, told = started.communicate(timeout=120)
    assert started.returncode == 1
    assert "ended without a reason" in told.splitlines()[-1]
    epochs = len(pd.read_csv(run / "curve.csv"))
    done = subprocess.run(training("--resume", "--set", f"max_epochs={epochs + 1}"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["processes"]) == ("finished", 2)
    assert record["command"].startswith(("mu-monai", sys.executable)) or "mu_monai" in record["command"]
    assert not (run / "error.log").exists()


def _child(parent: int, rank: int) -> int:
    """The process of a rank, among all that descend from a command."""
    import psutil

    for child in psutil.Process(parent).children(recursive=True):
        if child.environ().get("RANK") == str(rank):
            return child.pid
    raise AssertionError("no such process")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"processes": 0}, "--processes: 0 processes are not allowed; use 1, 2"),
        ({"processes": 2, "device": "cpu"}, "--device cpu and --processes 2 exclude each other"),
        ({"processes": 2, "method": "influence"}, "--processes 2: InfluenceUnlearning needs all cases in one process"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(teachers, phantom_splits, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        workflow.unlearn(
            "isic", split=phantom_splits["isic"], teacher=teachers["isic"], out=tmp_path / "run", **options
        )
    assert not (tmp_path / "run").exists()


def test_more_processes_than_gpus_are_refused(monkeypatch, phantom_splits, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="2 processes need as many GPUs, and this machine has 1; use at most 1"):
        workflow.train("isic", split=phantom_splits["isic"], out=tmp_path / "run", processes=2)


@pytest.mark.end_to_end
def test_what_a_process_refuses_reaches_the_user(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"imports": ["$import mu_monai"], "run": ["$mu_monai.bundle_root('nowhere')"]}))
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(InputError, match="nowhere"):
        launch(1, [str(file)], {}, tmp_path / "run")
