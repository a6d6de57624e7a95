"""The command line: help, exit codes, every problem at once, nothing half-written."""

import json
import os
import random
import shutil
import signal
import time

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from mu_monai import cli
from mu_monai.adapters import weights_sha256
from mu_monai.adapters.placement import NETWORKS
from mu_monai.data import write_phantoms
from mu_monai.files import read_json
from tests import programs

COMMANDS = [command.callback.__name__ for command in cli.app.registered_commands]
COMMANDS += [
    f"{group.name} {command.callback.__name__.replace('_', '-')}"
    for group in cli.app.registered_groups
    for command in group.typer_instance.registered_commands
]
UNLEARN = ["--set", "max_epochs=6", "--set", "batch_size=4", "--set", "learning_rate=0.01", "--quiet"]


def test_every_verb_is_a_command():
    verbs = ["split", "train", "unlearn", "evaluate", "report", "revert", "merge", "methods", "networks", "demo"]
    verbs += ["audit", "release", "verify", "predict", "compose", "compare", "milestones", "shards", "rollback"]
    verbs += ["request add", "request run", "request status", "request verify"]
    verbs += ["federation train", "federation forget-site", "federation compare", "federation demo"]
    verbs += ["bundle new", "bundle check", "bundle inspect", "bundle adopt"]
    assert sorted(COMMANDS) == sorted(verbs)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(cli.app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: mu-monai {command}" in " ".join(result.output.split())


def test_version(mu_monai):
    code, out, _ = mu_monai("--version")
    assert (code, out.strip()) == (0, "mu-monai 0.1.0")


def test_methods_lists_names_and_settings(mu_monai):
    code, out, _ = mu_monai("methods")
    assert code == 0
    assert "erase-to-retain" in out
    assert "--set method#forget_weight=3.0" in out


def test_networks_prints_a_row_per_network_and_number_of_dimensions(mu_monai):
    code, out, _ = mu_monai("networks")
    header, *rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert header[:3] == ["network", "dims", "weights"]
    assert {len(row) for row in rows} == {len(header)}
    names = {row[0] for row in rows}
    assert names == {kind.__name__ for kind in NETWORKS}
    assert {(row[0], row[1]) for row in rows} == {(name, dims) for name in names for dims in "23"}


def test_the_whole_job_from_images_to_report(mu_monai, phantom_splits, tmp_path, tiny):
    source = os.path.dirname(phantom_splits["isic"])
    settings = [part for setting in tiny for part in ("--set", setting)]
    split = tmp_path / "split.json"
    code, out, _ = mu_monai("split", f"{source}/manifest.csv", "--forget", "0.3", "--out", split)
    assert code == 0
    assert "forget" in out
    common = ["--split", split, "--quiet", "--device", "cpu"]
    teacher, retrained, student = (tmp_path / name for name in ("teacher", "retrained", "student"))
    assert mu_monai("train", "isic", *common, *settings, "--set", "max_epochs=2", "--out", teacher)[0] == 0
    command = ["train", "isic", *common, *settings, "--set", "max_epochs=2", "--subsets", "retain", "--out", retrained]
    assert mu_monai(*command)[0] == 0
    assert mu_monai("unlearn", "isic", *common, "--teacher", teacher, *UNLEARN, "--out", student)[0] == 0
    scores = (student / "scores.csv").read_bytes()
    code, out, _ = mu_monai("evaluate", student)
    assert code == 0
    table = [line.split() for line in out.splitlines()[-3:]]
    assert table[0] == ["retain", "forget", "validation", "test"]
    assert {row[0] for row in table[1:]} == {"student", "teacher"}
    assert (student / "scores.csv").read_bytes() == scores
    assert mu_monai("report", teacher, retrained, student, "--out", tmp_path / "report")[0] == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "phantom" in page
    assert mu_monai("revert", student, "--out", tmp_path / "teacher.pt")[0] == 0
    assert mu_monai("merge", student, "--out", tmp_path / "student.pt")[0] == 0
    assert json.loads((retrained / "run.json").read_text())["role"] == "retrained"


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory):
    """Pictures in a folder per class, with a table of patients and devices beside them."""
    drawn, folder = (tmp_path_factory.mktemp(name) for name in ("drawn", "classes"))
    table = write_phantoms("classes", drawn, patients=18, images_per_patient=1, size=32)
    for case in table.itertuples():
        (folder / case.diagnosis).mkdir(exist_ok=True)
        shutil.copy(case.image, folder / case.diagnosis / f"{case.case_id}.png")
    table = table.rename(columns={"case_id": "image_id"})
    table[["image_id", "patient_id", "device"]].to_csv(folder / "metadata.csv", index=False)
    return folder


def test_the_whole_job_of_a_classifier_from_folders_to_weights(mu_monai, class_folders, tmp_path):
    split, teacher, student = (tmp_path / name for name in ("split.json", "teacher", "student"))
    where = "diagnosis == 'nevus' or diagnosis == 'melanoma'"
    code, out, _ = mu_monai("split", class_folders, "--forget-where", where, "--out", split)
    assert code == 0
    assert "layout class-folders" in out
    assert {case["label"] for case in read_json(split)["forget"]} == {"melanoma", "nevus"}
    common = ["isic_classification", "--split", split, "--quiet"]
    small = ["network_def#layers=[1, 1, 1, 1]", "network_def#block_inplanes=[4, 8, 16, 32]", "image_size=[32, 32]"]
    settings = [part for setting in (*small, "max_epochs=2") for part in ("--set", setting)]
    assert mu_monai("train", *common, *settings, "--out", teacher)[0] == 0
    assert mu_monai("unlearn", *common, "--teacher", teacher, *UNLEARN, "--out", student)[0] == 0
    code, out, _ = mu_monai("evaluate", student)
    assert code == 0
    assert "mean accuracy" in out
    scores = pd.read_csv(student / "scores.csv")
    assert set(scores.loc[scores["subset"] == "forget", "label"]) == {"melanoma", "nevus"}
    assert mu_monai("report", teacher, student, "--out", tmp_path / "report")[0] == 0
    assert "melanoma" in (tmp_path / "report" / "index.html").read_text()
    for verb, run in (("merge", student), ("revert", teacher)):
        assert mu_monai(verb, student, "--out", tmp_path / f"{verb}.pt")[0] == 0
        written, kept = (torch.load(path, weights_only=True) for path in (tmp_path / f"{verb}.pt", run / "model.pt"))
        assert weights_sha256(written) == weights_sha256(kept)


def test_a_preset_gives_way_to_where_adapters_go_and_to_settings(mu_monai, phantom_splits, teachers, tmp_path):
    common = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], *UNLEARN, "--preset", "paper-code"]
    common += ["--set", "max_epochs=1"]
    chosen = ["--lora-targets", r"model\.2\..*conv", "--set", "method#forget_weight=2"]
    for name, options in (("whole", []), ("part", chosen)):
        assert mu_monai("unlearn", "isic", *common, *options, "--out", tmp_path / name)[0] == 0
    whole, part = (read_json(tmp_path / name / "run.json") for name in ("whole", "part"))
    assert (whole["preset"], part["preset"]) == ("paper-code", "paper-code, changed")
    assert [run["method"]["settings"]["schedule"] for run in (whole, part)] == ["alternate_epoch", "alternate_epoch"]
    assert [run["method"]["settings"]["forget_weight"] for run in (whole, part)] == [3.0, 2]
    layers = [[layer["layer"] for layer in run["measurements"]["drift"]["layers"]] for run in (whole, part)]
    assert layers[1] == [layer for layer in layers[0] if layer.startswith("model.2.")] != []


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["--preset", "two-phases"], ["paper, paper-code, two-phase", "did you mean 'two-phase'"]),
        (
            ["--lora-targets", "decodr"],
            ["matches no", "decoder, head, all", "--lora-targets", "model.0.conv.unit0.conv"],
        ),
        (["--lora-targets", "("], ["nor a valid regular expression"]),
    ],
)
def test_a_wrong_preset_or_pattern_says_what_there_is(mu_monai, phantom_splits, teachers, tmp_path, chosen, expected):
    arguments = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], *UNLEARN, "--out", tmp_path / "run"]
    code, _, err = mu_monai("unlearn", "isic", *arguments, *chosen)
    assert code == 2
    assert [text for text in expected if text not in err] == []
    assert os.listdir(tmp_path) == []


def test_wrong_input_is_reported_all_at_once_with_code_2_and_nothing_is_written(mu_monai, phantom_splits, tmp_path):
    out = tmp_path / "run"
    wrong = ["--method", "erase-to-retian", "--set", "method#forget_wieght=2", "--set", "max_epoch=3"]
    code, _, err = mu_monai("unlearn", "isic", "--split", phantom_splits["isic"], *wrong, "--out", out)
    assert code == 2
    for expected in ("did you mean 'erase-to-retain'", "method#forget_weight", "max_epochs"):
        assert expected in err
    assert "Traceback" not in err
    assert not out.exists()


def test_what_cannot_be_opened_is_told_all_at_once(mu_monai, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = ["--preset", "papr", "--teacher", "none.pt", "--set", "max_epochs"]
    code, _, err = mu_monai("unlearn", "isic", "--split", "none.json", *wrong, "--out", "x")
    assert code == 2
    for expected in ("preset 'papr' is not in the bundle", "teacher 'none.pt' has no weights", "is not KEY=VALUE"):
        assert expected in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("budget", ["-1", "nan", "inf"])
def test_a_budget_is_a_share(mu_monai, phantom_splits, teachers, tmp_path, budget):
    options = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--budget", budget]
    code, _, err = mu_monai("unlearn", "isic", *options, "--method", "rewind", "--out", tmp_path / "run")
    assert code == 2
    assert f"--budget {budget} is not allowed" in err


@pytest.mark.parametrize(
    ("bundle", "of", "told"),
    [
        ("volume3d", "isic", "holds pictures, and the bundle takes volumes (network_def#spatial_dims is 3); use a"),
        ("isic", "volume3d", "holds volumes, and the bundle reads pictures; use a bundle for volumes"),
    ],
)
def test_a_split_of_another_bundle_is_told(mu_monai, phantom_splits, tmp_path, bundle, of, told):
    code, _, err = mu_monai("train", bundle, "--split", phantom_splits[of], "--out", tmp_path / "run")
    assert code == 2
    assert told in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "isicc", "--out", "x"], "did you mean 'isic'"),
        (["train", "isic", "--split", "none.json", "--out", "x"], "does not exist"),
        (["train", "isic", "--subsets", "test", "--out", "x"], "--subsets test cannot be trained on"),
        (["train", "isic", "--set", "max_epochs", "--out", "x"], "is not KEY=VALUE"),
        (["train", "isic", "--overlay", "huge", "--out", "x"], "paper_size"),
        (["unlearn", "isic", "--teacher", "none.pt", "--out", "x"], "teacher 'none.pt' has no weights"),
        (["train", "isic", "--device", "gpu9", "--out", "x"], "--device gpu9 cannot be used"),
        (["train", "isic", "--subsets", "", "--out", "x"], "--subsets is empty"),
        (["train", "isic", "--set", "max_epochs=0", "--out", "x"], "max_epochs=0 is not allowed"),
        (["evaluate", "nowhere"], "is not a run folder"),
        (["revert", "nowhere", "--out", "x.pt"], "is not a run folder"),
        (["report", "nowhere", "--out", "x"], "nowhere"),
        (["split", "nowhere"], "does not exist"),
    ],
)
def test_each_wrong_input_says_what_to_do(mu_monai, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    code, _, err = mu_monai(*arguments)
    assert code == 2
    assert expected in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("network#scope=(", "nor a valid regular expression"),
        ("method#forget_weight=abc", "method#forget_weight=abc is not allowed; use a number of 0 or more"),
        ("learning_rate=abc", "the config cannot be built (TypeError"),
        ("network_def#channels=[16]", "the length of `channels`"),
    ],
)
def test_settings_of_the_wrong_type_are_wrong_input(mu_monai, phantom_splits, tmp_path, setting, expected):
    arguments = ["--split", phantom_splits["isic"], "--set", setting, "--out", tmp_path / "run"]
    code, _, err = mu_monai("unlearn", "isic", *arguments)
    assert code == 2
    assert expected in err
    assert not (tmp_path / "run").exists()


def test_scores_are_not_filed_under_digests_that_are_not_theirs(mu_monai, phantom_splits, teachers, tmp_path):
    run = tmp_path / "teacher"
    shutil.copytree(teachers["isic"], run)
    weights = torch.load(run / "model.pt", weights_only=True)
    torch.save({name: value + 1 for name, value in weights.items()}, run / "model.pt")
    split = read_json(phantom_splits["isic"])
    folder = os.path.dirname(phantom_splits["isic"])
    for case in [case for subset in ("retain", "forget", "validation", "test") for case in split[subset]]:
        case |= {key: os.path.join(folder, case[key]) for key in ("image", "label")}
    split["provenance"]["sha256"] = {os.path.join(folder, k): v for k, v in split["provenance"]["sha256"].items()}
    split["forget"], split["test"] = split["test"], split["forget"]
    (tmp_path / "swapped.json").write_text(json.dumps(split))
    before = (run / "scores.csv").read_bytes()
    code, _, err = mu_monai("evaluate", run, "--split", tmp_path / "swapped.json")
    assert code == 2
    assert "model.pt" in err
    assert "holds other cases or subsets" in err
    assert (run / "scores.csv").read_bytes() == before


def test_an_overlay_is_stronger_than_what_the_teachers_run_brings(mu_monai, phantom_splits, teachers, tmp_path):
    overlay = tmp_path / "small.json"
    overlay.write_text(json.dumps({"image_size": [16, 16]}))
    arguments = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], *UNLEARN, "--out", tmp_path / "run"]
    assert mu_monai("unlearn", "isic", *arguments, "--overlay", overlay)[0] == 0
    assert read_json(tmp_path / "run" / "config.json")["image_size"] == [16, 16]


def test_an_existing_run_folder_is_not_touched(mu_monai, phantom_splits, teachers):
    before = (teachers["isic"] / "run.json").read_bytes()
    code, _, err = mu_monai("train", "isic", "--split", phantom_splits["isic"], "--out", teachers["isic"])
    assert code == 2
    assert "exists; give another one" in err
    assert (teachers["isic"] / "run.json").read_bytes() == before


def test_a_teacher_of_another_network_is_refused_with_the_names_that_differ(
    mu_monai, phantom_splits, teachers, tmp_path
):
    arguments = [
        "--split",
        phantom_splits["isic"],
        "--teacher",
        shutil.copy(teachers["isic"] / "model.pt", tmp_path / "bare.pt"),
        "--out",
        tmp_path / "run",
    ]
    code, _, err = mu_monai("unlearn", "isic", *arguments)  # a bare file does not bring its small network along
    assert code == 2
    assert "has shape (4, 3, 3, 3) in the file and (16, 3, 3, 3) in the network" in err
    assert not (tmp_path / "run").exists()


def test_a_split_that_leaks_what_the_teacher_saw_is_refused(mu_monai, phantom_splits, teachers, tmp_path):
    manifest = os.path.join(os.path.dirname(phantom_splits["isic"]), "manifest.csv")
    other = tmp_path / "other.json"
    assert mu_monai("split", manifest, "--forget", "0.3", "--seed", "7", "--out", other)[0] == 0
    arguments = ["--split", other, "--teacher", teachers["isic"], "--out", tmp_path / "run"]
    code, _, err = mu_monai("unlearn", "isic", *arguments)
    assert code == 2
    assert "was trained on it" in err


def test_a_request_after_the_training_is_met_from_the_teachers_split(mu_monai, phantom_splits, teachers, tmp_path):
    split = read_json(phantom_splits["isic"])
    (tmp_path / "ids.txt").write_text(split["retain"][0]["patient_id"] + "\n")
    request = tmp_path / "request.json"
    code, _, _ = mu_monai("split", phantom_splits["isic"], "--forget-ids", tmp_path / "ids.txt", "--out", request)
    assert code == 0
    run = tmp_path / "run"
    arguments = ["--split", request, "--teacher", teachers["isic"], *UNLEARN, "--out", run]
    assert mu_monai("unlearn", "isic", *arguments)[0] == 0
    scores = pd.read_csv(run / "scores.csv")
    earlier = {case["patient_id"] for case in split["forget"]}  # an earlier request stays met
    expected = {split["retain"][0]["patient_id"]} | earlier
    assert set(scores.loc[scores["subset"] == "forget", "patient_id"]) == expected


def test_options_without_effect_on_a_split_file_are_refused(mu_monai, phantom_splits, tmp_path):
    arguments = ["--forget", "0.3", "--validation", "0.5", "--on-duplicates", "drop", "--out", tmp_path / "x.json"]
    code, _, err = mu_monai("split", phantom_splits["isic"], *arguments)
    assert code == 2
    assert "--validation 0.5 has no effect" in err
    assert "--on-duplicates drop has no effect" in err
    assert not (tmp_path / "x.json").exists()


def test_nothing_to_forget_cannot_be_unlearned(mu_monai, phantom_splits, tmp_path):
    manifest = os.path.join(os.path.dirname(phantom_splits["isic"]), "manifest.csv")
    assert mu_monai("split", manifest, "--out", tmp_path / "split.json")[0] == 0
    code, _, err = mu_monai("unlearn", "isic", "--split", tmp_path / "split.json", "--out", tmp_path / "run")
    assert code == 2
    assert "subset 'forget'" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("schedule", ["joint", "alternate_epoch"])
def test_a_run_that_blows_up_stops_and_keeps_no_model(mu_monai, phantom_splits, teachers, tmp_path, schedule):
    out = tmp_path / "run"
    arguments = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--out", out, "--quiet"]
    settings = ["--set", "learning_rate=1e30", "--set", f"method#schedule={schedule}", "--set", "max_epochs=2"]
    code, _, err = mu_monai("unlearn", "isic", *arguments, *settings)
    assert code == 1
    assert "the loss is nan" in err or "the loss is inf" in err or "no longer finite" in err
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    assert not (out / "model.pt").exists()


def test_a_full_disk_is_said_in_plain_words(mu_monai, phantom_splits, teachers, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mu_monai.engine.run.save_checkpoint", full)
    arguments = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--out", tmp_path / "run"]
    code, _, err = mu_monai("unlearn", "isic", *arguments, *UNLEARN)
    assert code == 1
    assert "No space left on device" in err
    assert "Traceback" not in err


def test_a_run_cannot_be_resumed_with_other_settings(mu_monai, phantom_splits, teachers, tmp_path, monkeypatch):
    out = tmp_path / "run"
    arguments = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--out", out, *UNLEARN]
    with monkeypatch.context() as patch:
        patch.setattr("mu_monai.engine.run.RunFolder._complete", _raise_interrupt)
        assert mu_monai("unlearn", "isic", *arguments)[0] == 130
    changed = ["--set", "learning_rate=0.001", "--set", "network#r=2", "--resume"]
    code, _, err = mu_monai("unlearn", "isic", *arguments, *changed)
    assert code == 2
    assert "config id 'learning_rate' was 0.01 and is now 0.001" in err
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert mu_monai("unlearn", "isic", *arguments, "--resume")[0] == 0


def _raise_interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def long_command(phantom_splits, teachers):
    def command(out, *more):
        arguments = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--out", out, *UNLEARN]
        settings = ["--set", "max_epochs=60", "--set", "score_interval=60"]
        return ["unlearn", "isic", *arguments, *settings, *more]

    return command


@pytest.fixture(scope="module")
def uninterrupted(long_command, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    programs.run("mu_monai", *long_command(out), check=True)
    return out


@pytest.mark.end_to_end
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_at_a_random_moment_resumes_to_the_same_weights(long_command, uninterrupted, tmp_path, stop):
    command, whole, broken = long_command, uninterrupted, tmp_path / "broken"
    code = _stopped(command(broken), broken, stop)
    assert not (broken / "model.pt").exists(), "it finished before it was stopped"
    assert code in (
        (-signal.SIGKILL,) if stop == signal.SIGKILL else (130, -signal.SIGINT)
    )  # a shell sees 130 for both
    if stop != signal.SIGKILL:
        assert json.loads((broken / "run.json").read_text())["status"] == "interrupted"
    programs.run("mu_monai", *command(broken, "--resume"), check=True)
    first, second = (torch.load(folder / "model.pt", weights_only=True) for folder in (whole, broken))
    assert weights_sha256(first) == weights_sha256(second)
    assert pd.read_csv(broken / "curve.csv")["epoch"].tolist() == list(range(1, 61))


def _stopped(command, folder, stop) -> int:
    """Start a run and send it a signal at a random moment after its first checkpoint; its exit code."""
    process = programs.Program("mu_monai", *command)
    while not (folder / "checkpoints" / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.5))
    process.send_signal(stop)
    return process.wait(timeout=60)


@pytest.mark.end_to_end
def test_adapters_off_are_the_teacher_in_a_new_process(phantom_splits, teachers, tmp_path, mu_monai):
    run = tmp_path / "run"
    arguments = ["--split", phantom_splits["chase"], "--teacher", teachers["chase"], "--out", run, *UNLEARN]
    assert mu_monai("unlearn", "chase", *arguments)[0] == 0
    shutil.copytree(run, tmp_path / "moved")
    out = tmp_path / "teacher.pt"
    programs.run("mu_monai", "revert", tmp_path / "moved", "--out", out, check=True)
    teacher, reverted = (torch.load(path, weights_only=True) for path in (teachers["chase"] / "model.pt", out))
    assert all(torch.equal(teacher[name], reverted[name]) for name in teacher)
