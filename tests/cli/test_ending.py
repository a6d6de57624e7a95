"""Whatever goes wrong ends in one line and an exit code, also under MONAI's own command."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mu_monai.bundle import shipped_bundles
from mu_monai.cli.ending import INTERRUPTED, end_monai
from mu_monai.errors import InputError
from mu_monai.files import read_json
from tests import programs

BUNDLES = shipped_bundles()
AGAIN = "(a run that had begun has the traceback in its error.log)"


def wrapped(error):
    """An error as MONAI hands it on."""
    try:
        try:
            raise error
        except BaseException as cause:
            raise RuntimeError("Failed to evaluate {the whole config}\nover many lines") from cause
    except RuntimeError as failed:
        return failed


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("x is wrong"), 2, "error: x is wrong"),
        (wrapped(InputError("x is\nwrong")), 2, "error: x is\\nwrong"),
        (wrapped(wrapped(FloatingPointError("the loss is nan"))), 1, "error: the loss is nan"),
        (
            wrapped(OSError(28, "No space left on device")),
            1,
            "error: a file cannot be written (OSError: [Errno 28] No space left on device); make room or choose a "
            "place that can be written, and continue with --resume if an epoch was finished",
        ),
        (wrapped(TypeError("no such\nargument\x1b[2K")), 1, f"error: TypeError: no such argument\\x1b[2K {AGAIN}"),
        (KeyError("id"), 1, f"error: KeyError: 'id' {AGAIN}"),
        (KeyboardInterrupt(), 130, "interrupted; --resume True continues a run from its last finished epoch"),
    ],
)
def test_an_error_is_one_line_with_its_code(capsys, error, code, line):
    with pytest.raises(SystemExit) as stop:
        end_monai(type(error), error, None)
    assert stop.value.code == code
    assert tuple(capsys.readouterr()) == ("", line + "\n")


@pytest.mark.parametrize(
    "error", [KeyError("x"), ZeroDivisionError("by zero"), RecursionError("too deep"), OSError("?")]
)
@pytest.mark.parametrize("debug", [True, False])
def test_whatever_a_command_raises_is_one_line_and_debug_shows_where(mu_monai, monkeypatch, error, debug):
    def fail():
        raise error

    monkeypatch.setattr("mu_monai.workflow.methods", fail)
    code, out, err = mu_monai(*(["--debug"] if debug else []), "methods")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"error: {type(error).__name__}: ")
    assert ("Traceback (most recent call last)" in err) == debug
    assert ("--debug" in err) != debug
    assert debug or len(err.splitlines()) == 1


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN, print])
def test_sigterm_is_ctrl_c_unless_the_program_handles_it(mu_monai, monkeypatch, before):
    used = []
    monkeypatch.setattr("mu_monai.workflow.methods", lambda: used.append(signal.getsignal(signal.SIGTERM)) or [])
    was = signal.signal(signal.SIGTERM, before)
    try:
        mu_monai("methods")
        assert used == [signal.default_int_handler if before == signal.SIG_DFL else before]
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, was)


def test_only_monais_command_gets_another_hook():
    code = "import sys, mu_monai; print(sys.excepthook is sys.__excepthook__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_library_that_ends_the_program_is_not_taken_for_success(mu_monai, monkeypatch):
    def stop():
        raise SystemExit(5)

    monkeypatch.setattr("mu_monai.workflow.methods", stop)
    assert mu_monai("methods")[0] == 5


def test_a_broken_pipe_elsewhere_is_not_taken_for_success(mu_monai, monkeypatch):
    def stop():
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("mu_monai.workflow.methods", stop)
    assert mu_monai("methods")[0] == 128 + signal.SIGPIPE


def monai(config, folder, *overrides):
    return programs.run("monai.bundle", "run", "--config_file", config, *overrides, cwd=folder)


def shrunk(bundle, phantom_splits, small_images):
    settings = [part for setting in small_images[bundle] for part in f"--{setting}".split("=", 1)]
    return ["--split", phantom_splits[bundle], *settings]


@pytest.mark.end_to_end
def test_the_typed_command_works_as_often_as_it_is_typed(phantom_splits, small_images, tmp_path):
    """`python -m monai.bundle run --config_file bundles/isic/unlearn.json`, and the other configs that write."""
    options = shrunk("isic", phantom_splits, small_images)
    typed = {
        "unlearn.json": ("runs/isic-unlearned", ["--max_epochs", "1"]),
        "configs/evaluate.json": ("runs/isic-evaluation", []),
        "configs/inference.json": ("predictions/isic", []),
    }
    for config, (place, more) in typed.items():
        again = [] if config == "configs/inference.json" else [f"{place}-2"]
        for folder in (place, *again):
            done = monai(BUNDLES["isic"] / config, tmp_path, *options, *more)
            assert done.returncode == 0, done.stderr[-2000:]
            assert done.stdout.count(f"writing into '{folder}'") == 1
            assert list((tmp_path / folder).iterdir())
    assert sorted(os.listdir(tmp_path / "runs")) == [
        *("isic-evaluation", "isic-evaluation-2", "isic-unlearned", "isic-unlearned-2")
    ]
    records = [read_json(tmp_path / "runs" / name / "run.json") for name in ("isic-unlearned", "isic-unlearned-2")]
    assert records[0]["sha256"]["weights"] == records[1]["sha256"]["weights"]


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("name", ["train", "unlearn", "evaluate", "inference"])
def test_every_config_that_writes_takes_a_folder_of_its_own(bundle, name):
    config = read_json(BUNDLES[bundle] / "configs" / f"{name}.json")
    place = config["output_dir" if name == "inference" else "run_dir"]
    assert place.startswith("$mu_monai.engine.own_folder('")
    assert ("resume=@resume" in place) == ("resume" in config)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("overrides", "code", "expected"),
    [
        (["--split", "nowhere.json"], 2, "split file 'nowhere.json' does not exist"),
        (["--split", "{split}", "--run_dir", "mine"], 2, "the run folder 'mine' exists"),
        (["--split", "{split}", "--resume", "True"], 2, "none of 'runs/isic-unlearned', "),
        (["--split", "{split}", "--method#forget_wieght", "2"], 1, "unexpected keyword argument 'forget_wieght'"),
        (["--split", "{split}", "--method#forget_weight", "-2"], 2, "forget_weight"),
        (
            ["--split", "{split}", "--learning_rate", "1e30", "--image_size", "[32,32]"],
            1,
            "no longer finite|the loss is",
        ),
        (["--split", "{split}", "--run_dir", "/dev/full/run", "--image_size", "[32,32]"], 2, "is not a folder"),
    ],
)
def test_what_goes_wrong_under_monais_command_is_one_line(phantom_splits, tmp_path, overrides, code, expected):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = monai(
        BUNDLES["isic"] / "unlearn.json", tmp_path, *(o.format(split=phantom_splits["isic"]) for o in overrides)
    )
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert any(text in last for text in expected.split("|"))
    if code == 2:  # nothing is left but what was there
        assert list(tmp_path.glob("runs/*")) == []


@pytest.mark.end_to_end
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_under_monais_command_is_one_line_and_the_newest_run_is_resumed(
    phantom_splits, small_images, tmp_path, stop
):
    config, options = BUNDLES["isic"] / "unlearn.json", shrunk("isic", phantom_splits, small_images)
    command = ["run", "--config_file", config, *options, "--max_epochs", "300"]
    process = programs.Program("monai.bundle", *command, cwd=tmp_path)
    run = tmp_path / "runs" / "isic-unlearned"
    while not (run / "checkpoints" / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(stop)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("interrupted")
    epochs = len((run / "curve.csv").read_text().splitlines()) + 1
    done = monai(config, tmp_path, *options, "--max_epochs", epochs, "--resume", "True")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "resuming 'runs/isic-unlearned'" in done.stdout
    assert read_json(run / "run.json")["status"] == "finished"
    assert os.listdir(tmp_path / "runs") == ["isic-unlearned"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("audit", "run"), "interrupted; the same command continues: attacks that were finished are kept"),
        (("--debug", "compare", "isic"), "interrupted; the same command continues a run from its last finished epoch"),
        (("unlearn", "isic"), "interrupted; --resume continues a run from its last finished epoch"),
        (("federation", "train", "isic"), "interrupted; --resume continues after the last finished round"),
        (("federation", "demo"), "interrupted"),
        (("request", "run", "ledger"), "interrupted; the same command continues a run from its last finished epoch"),
        (("request", "status", "ledger"), "interrupted"),
        (("predict", "run"), "interrupted"),
    ],
)
def test_an_interrupted_command_says_how_it_continues(mu_monai, monkeypatch, command, said):
    monkeypatch.setattr("mu_monai.cli.program.app", lambda **_: INTERRUPTED)
    assert mu_monai(*command) == (130, "", f"{said}\n")
