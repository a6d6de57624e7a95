"""Whatever a run raises, wherever it does, its reason comes out, and its traceback is kept."""

from __future__ import annotations

import json

import pytest

from mu_monai.bundle.config import run_config
from mu_monai.errors import InputError, RunError
from mu_monai.runs.error_log import ERROR_LOG
from tests.bundle.raising import KINDS

PLACES = ("transform", "worker", "network", "loss", "writer")
# What a transform raises comes out of a worker alike, whatever it is; each failed worker is waited for 5 seconds.
OF_WORKERS = ("memory alone", "a worker", "half a picture", "wrong input")
FULL = "the memory is full"
SAID = {  # what is wrong, and the advice
    "CPU memory": (FULL, "batch_size"),
    "memory of numpy": (FULL, "patch_size"),
    "memory alone": (FULL, "cache_gib=0"),
    "GPU memory": ("the memory of the GPU is full", "batch_size"),
    "GPU libraries": ("the memory of the GPU is full", "--device"),
    "one value": ("a batch has one image", "batch_size"),
    "one pixel": ("one value per channel of an image", "image_size"),
    "a worker": ("a process that loads images has died", "num_workers"),
    "workers": ("a process that loads images has died", "num_workers"),
    "a full disk": ("a file cannot be written", "make room"),
    "a quota": ("a file cannot be written", "--resume"),
    "a lambda": ("cannot be given to another process", "replace the lambda"),
    "a function within": ("cannot be given to another process", "num_workers 0"),
    "torch's writer": ("a file cannot be written", "make room"),
    "no picture": ("a file cannot be read", "replace the file"),
    "half a picture": ("a file cannot be read", "replace the file"),
    "anything": ("KeyError: 'site'", ""),
}


@pytest.fixture
def train(tmp_path):
    """Trains for one epoch, with a part that fails."""

    def run(place, kind):
        def part(of, *places):
            return {"_target_": f"tests.bundle.raising.{of}", "kind": kind if place in places else ""}

        blank = {"_target_": "tests.bundle.raising.Blank"}
        loading = {"num_workers": int(place == "worker"), "batch_size": 2}
        content = {
            "imports": ["$import torch"],
            "cases": [{"case_id": f"c{number}", "image": f"/x/{number}.png"} for number in range(2)],
            "transforms": {"_target_": "Compose", "transforms": [part("Failing", "transform", "worker"), blank]},
            "dataset": {"_target_": "Dataset", "data": "@cases", "transform": "@transforms"},
            "loader": {"_target_": "monai.data.DataLoader", "dataset": "@dataset", **loading},
            "network": part("Network", "network"),
            "train": {
                "trainer": {
                    "_target_": "SupervisedTrainer",
                    "device": "cpu",
                    "max_epochs": 1,
                    "train_data_loader": "@loader",
                    "network": "@network",
                    "optimizer": "$torch.optim.SGD(@network.parameters(), 0.1)",
                    "loss_function": part("Loss", "loss"),
                    "train_handlers": [part("Writer", "writer")],
                }
            },
            "initialize": [],
            "run": ["$@train::trainer.run()"],
        }
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / "metadata.json").write_text("{}")
        (tmp_path / "configs" / "train.json").write_text(json.dumps(content))
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "run.json").write_text("{}")
        run_config([str(tmp_path / "configs" / "train.json")], {"run_dir": str(tmp_path / "run")})

    return run


@pytest.mark.parametrize(
    ("kind", "place"), [(kind, place) for kind in SAID for place in PLACES if place != "worker" or kind in OF_WORKERS]
)
def test_the_reason_comes_out_in_one_line_and_the_traceback_is_kept(train, tmp_path, place, kind):
    with pytest.raises(RunError) as caught:
        train(place, kind)
    line, (reason, advice) = str(caught.value), SAID[kind]
    assert reason in line
    assert advice in line
    assert "\n" not in line
    assert "Failed to evaluate" not in line
    assert "Traceback" not in line
    log = (tmp_path / "run" / ERROR_LOG).read_text()
    assert caught.value.log == tmp_path / "run" / ERROR_LOG
    assert "raising.py" in log
    assert log.count("Traceback (most recent call last)") >= 2


def test_the_traceback_of_an_earlier_attempt_goes_with_it(train, tmp_path):
    with pytest.raises(RunError):
        train("loss", "CPU memory")
    train("", "")
    assert not (tmp_path / "run" / ERROR_LOG).exists()


@pytest.mark.parametrize(
    ("kind", "type_", "place"),
    [
        *(("wrong input", InputError, place) for place in PLACES),
        *(("no number", FloatingPointError, place) for place in PLACES if place != "worker"),
    ],
)
def test_what_speaks_for_itself_comes_out_as_it_is(train, tmp_path, place, kind, type_):
    with pytest.raises(type_) as caught:
        train(place, kind)
    assert str(caught.value) == str(KINDS[kind]())
    assert (tmp_path / "run" / ERROR_LOG).exists() == (type_ is not InputError)
    assert getattr(caught.value, "problems", None) == getattr(KINDS[kind](), "problems", None)


@pytest.mark.parametrize("kind", ["no picture", "half a picture", "anything"])
@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("transform", "case 'c0' ('/x/0.png'): "),
        ("network", "the batch of 'c0', 'c1': "),
        ("loss", "the batch of 'c0', 'c1': "),
    ],
)
def test_the_case_or_the_batch_is_named(train, place, kind, named):
    with pytest.raises(RunError) as caught:
        train(place, kind)
    assert str(caught.value).startswith(named)


@pytest.mark.parametrize("attempt", range(3))
def test_a_worker_that_is_killed_is_told(train, attempt):
    with pytest.raises(RunError, match=r"a process that loads images has died, usually for lack of memory .*Killed"):
        train("worker", "killed")


def test_no_run_folder_is_made_for_a_traceback(train, tmp_path, monkeypatch):
    monkeypatch.setattr("mu_monai.runs.error_log.is_run", lambda folder: False)
    with pytest.raises(RunError) as caught:
        train("loss", "CPU memory")
    assert caught.value.log is None
    assert not (tmp_path / "run" / ERROR_LOG).exists()
