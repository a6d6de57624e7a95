"""Jobs on workers: every engine with made jobs, lost workers, errors, the end, and what is refused before."""

import logging
import os
import sys
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from mu_monai.errors import InputError, RunError
from mu_monai.workflow.workers import on_ray, on_slurm, reach
from mu_monai.workflow.workers.job import Job, work
from mu_monai.workflow.workers.on_slurm import OnSlurm
from mu_monai.workflow.workers.processes import Processes
from mu_monai.workflow.workers.workers import run_jobs, worker_problems, working

ENGINES = {"2": None, "ray": "ray", "slurm": "submitit"}  # and the package that they need


@pytest.fixture(scope="module")
def made():
    """The functions of `made_jobs.py` under a name that workers can import."""
    file = Path(__file__).with_name("made_jobs.py")
    spec = spec_from_file_location("made_jobs", file)
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(file.parent))
        patch.setenv("PYTHONPATH", str(file.parent), prepend=":")
        patch.setitem(sys.modules, "made_jobs", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def job(made, tmp_path):
    def make(name, function, *arguments):
        return Job(name=name, place=tmp_path / name, function=getattr(made, function), arguments=arguments)

    return make


def test_jobs_start_in_their_order_and_a_lost_one_is_run_again_before_others(workers_here, job, tmp_path):
    jobs = [job(name, "write", tmp_path / name) for name in "abcd"]
    engine = workers_here(lost="a")
    assert sorted(done.job.name for done in run_jobs(engine, jobs)) == list("abcd")
    assert engine.started == ["a", "b", "a", "c", "d"]


def test_a_job_whose_workers_are_lost_three_times_fails_and_the_others_go_on(workers_here, job, tmp_path, caplog):
    jobs = [job(name, "write", tmp_path / name) for name in "abc"]
    errors = {done.job.name: done.error for done in run_jobs(workers_here(lost="bbbb"), jobs)}
    assert errors["a"] is errors["c"] is None
    assert isinstance(errors["b"], RunError)
    assert "3 workers were lost with it (last: ConnectionError: gone)" in str(errors["b"])
    assert caplog.text.count("its worker was lost") == 2


def test_an_error_is_the_result_of_its_job_and_what_it_warned_of_is_told(workers_here, job, caplog):
    jobs = [
        job("wrong", "refuse", "a is missing", "b is missing"),
        job("infinite", "fail", FloatingPointError("the loss is not finite")),
        job("ended", "fail", RunError("the disk is full", log="error.log")),
        job("odd", "fail", KeyError("case")),
        job("warned", "warn", "look"),
    ]
    with caplog.at_level(logging.INFO, "mu_monai"):
        found = {done.job.name: done for done in run_jobs(workers_here(), jobs)}
    assert found["wrong"].error.problems == ["a is missing", "b is missing"]
    assert isinstance(found["infinite"].error, FloatingPointError)
    assert found["ended"].error.log == "error.log"
    assert str(found["odd"].error) == "KeyError: 'case'"
    assert found["warned"].error is None
    assert "warned: look" in caplog.messages
    assert sum(" of 5: " in message for message in caplog.messages) == 5
    assert any(message.endswith("wrong failed") for message in caplog.messages)


def on_this_machine(monkeypatch):
    """Slurm's jobs as processes of this machine, which submitit offers for trying out."""
    monkeypatch.setattr(OnSlurm, "cluster", "local")
    monkeypatch.setattr(on_slurm.shutil, "which", lambda name: name)


@pytest.mark.parametrize("workers", ENGINES)
def test_an_engine_from_its_start_to_its_end(workers, made, job, tmp_path, monkeypatch):
    """A worker that is lost, an error that comes back whole, and an interrupted run that is written down."""
    if ENGINES[workers] and find_spec(ENGINES[workers]) is None:
        pytest.skip(f"{ENGINES[workers]} is not installed: pip install 'mu-monai[{workers}]'")
    on_this_machine(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["mu-monai", "compare", "isic"])
    (tmp_path / "split.json").write_text("{}")
    jobs = [job("own", "write", tmp_path / "own"), job("lost", "end", tmp_path / "lost", 1)]
    jobs += [job("wrong", "refuse", "a is missing", "b is missing"), job("warned", "warn", "look")]
    places = {"--split": tmp_path / "split.json", "--cache": None}
    ended = {}
    with suppress(KeyboardInterrupt), working(workers, None, folder=tmp_path / "out", places=places) as engine:
        if workers == "ray":
            assert [node["NodeManagerAddress"] for node in engine._nodes] == ["127.0.0.1"]
        ended = {done.job.name: done for done in run_jobs(engine, jobs)}
        future = engine.submit(work, job("run", "wait_for_the_end", tmp_path / "run"))
        while not (tmp_path / "run.begun").is_file() and not future.done():
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert ended.pop("wrong").error.problems == ["a is missing", "b is missing"]
    assert {name: done.error for name, done in ended.items()} == {"own": None, "lost": None, "warned": None}
    assert ended["warned"].warnings == ("look",)
    assert (tmp_path / "lost").is_file()
    process, command = (tmp_path / "own").read_text().split(" ", 1)
    assert (process == str(os.getpid()), command) == (False, "mu-monai compare isic")  # which a run records
    assert (tmp_path / "run").is_file() or workers == "slurm"  # which kills
    assert not any(tmp_path.glob(".*"))
    assert not (tmp_path / "out").exists()  # nothing was written to it


@pytest.mark.parametrize(
    ("workers", "share", "told"),
    [
        ("0", None, "--workers 0 is not allowed; use at least 1 process"),
        ("-1", None, "--workers -1 is not allowed"),
        ("many", None, "--workers 'many' is not known; use a number of processes"),
        ("2:a", None, "--workers '2:a' is not known"),
        ("ray:", None, "--workers 'ray:' is not known"),
        (None, 0.5, "--gpus-per-job is for workers"),
        ("2", 0.0, "--gpus-per-job 0 is not allowed; a job uses one GPU or a part of one"),
        ("2", 2.0, "--gpus-per-job 2 is not allowed"),
        ("3", 0.4, "--workers 3 with --gpus-per-job 0.4 needs 2 GPUs, and this machine has 1"),
        ("slurm", 0.5, "--gpus-per-job 0.5 is not for Slurm"),
        ("slurm", None, "sbatch is not found"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_starts(workers, share, told, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(on_slurm.shutil, "which", lambda name: None)
    assert any(told in text for text in worker_problems(workers, share))


@pytest.mark.parametrize(("workers", "package"), [("ray", "Ray"), ("slurm", "submitit")])
def test_an_engine_whose_package_is_missing_names_the_extra(workers, package, monkeypatch):
    for module in (on_ray, on_slurm):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert f"needs {package}, which is not installed: pip install 'mu-monai[{workers}]'" in "".join(
        worker_problems(workers, None)
    )


def test_an_address_where_nothing_answers_is_told_in_bounded_time(monkeypatch):
    monkeypatch.setattr(on_ray, "find_spec", lambda name: True)
    monkeypatch.setattr(on_ray, "_ANSWERS_IN", 0.1)
    asking = [sys.executable, "-c", "import time; time.sleep(60)"]  # Ray itself need not be installed
    run = on_ray.subprocess.run
    monkeypatch.setattr(on_ray.subprocess, "run", lambda command, **options: run(asking, **options))
    (told,) = worker_problems("ray:127.0.0.1:1", None)
    assert told.startswith("--workers ray:127.0.0.1:1 does not answer as a Ray cluster does (nothing for 0.1 s)")


def test_processes_share_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert worker_problems("4", 0.5) == []
    engine = Processes("4", 0.5, Path())
    assert [engine._gpu(number) for number in range(4)] == ["0", "0", "1", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [engine._gpu(number) for number in range(4)] == ["5", "5", "7", "7"]
    engine.close(now=True)


def test_a_worker_with_another_version_or_without_the_files_is_told(tmp_path, monkeypatch):
    split = tmp_path / "split.json"
    split.write_text("{}")
    with reach.expected(tmp_path / "out", {"--split": split, "--teacher": None}) as seen:
        assert reach.reached(seen) == []
        split.write_text("[]")
        (told,) = reach.reached(seen)
        assert f"does not see the file of --split ('{split}') as this command does" in told
        gone = replace(seen, files=tuple((name, path / "gone", digest) for name, path, digest in seen.files))
        assert len(reach.reached(gone)) == 3
        monkeypatch.setattr(reach, "__version__", "9")
        assert "has mu-monai 9, and this command is" in reach.reached(seen)[0]
    assert not (tmp_path / "out").exists()


def test_what_workers_lack_is_told_once_and_ends_them(workers_here, tmp_path, monkeypatch):
    closed = []

    class Elsewhere(workers_here):
        def submit_everywhere(self, function, *arguments):
            answers = [Future(), Future(), Future()]
            for answer in answers[:2]:
                answer.set_result(["a worker does not see it"])
            answers[2].set_exception(ModuleNotFoundError("No module named 'mu_monai'"))
            return answers

        def close(self, *, now):
            closed.append(now)

    monkeypatch.setattr("mu_monai.workflow.workers.workers._engine", lambda workers: (Elsewhere, ""))
    with (
        pytest.raises(InputError, match="cannot start") as told,
        working("ray", None, folder=tmp_path / "out", places={}),
    ):
        pass
    assert len(told.value.problems) == 2
    assert "install this version of mu-monai where workers run" in told.value.problems[1]
    assert closed == [True]


def test_a_cluster_without_the_gpus_or_that_others_could_reach_is_told():
    nodes = [{"Resources": {"CPU": 2.0, "GPU": 0.0}, "NodeManagerAddress": "192.0.2.2"}]
    told = list(on_ray._misfits(nodes, "", 0.5))
    assert "--gpus-per-job 0.5 does not fit: the largest machine of ray has 0 GPUs" in told[0]
    assert "--workers ray would listen on 192.0.2.2" in told[1]
    assert list(on_ray._misfits(nodes, "head:6379", 0.0)) == []
