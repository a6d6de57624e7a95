"""The comparison of all methods: killed and gone on with, nothing made twice, problems told before training."""

import csv
import json
import shutil
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.attacks import ATTACKS
from mu_monai.audit.verdicts import RULES
from mu_monai.bundle import shipped_bundles
from mu_monai.engine import RunFolder
from mu_monai.errors import InputError
from mu_monai.files import read_json, write_json
from mu_monai.keys import RETRAINED
from mu_monai.methods import METHODS
from mu_monai.methods.method import UnlearningMethod
from mu_monai.runs import RunRecord, file_digests, write_record
from mu_monai.workflow import CompareOptions
from mu_monai.workflow.comparing import runs as comparison_runs
from mu_monai.workflow.comparing.comparing import _numbers, _with_ratios
from mu_monai.workflow.comparing.plan import read_plan
from mu_monai.workflow.comparing.runs import _is_by_this_version

TINY = ["max_epochs=2", "epoch_length=1"]
QUICK = {"settings": TINY, "n_resamples": 20}
ABLE = [name for name, method in METHODS.items() if "segmentation" in method.tasks and "two runs" not in method.needs]
KILLED = "retain-fine-tuning"


def stamps(folder):
    """When the files of the finished runs of a comparison were written."""
    runs = [path.parent for path in folder.rglob("run.json") if read_json(path)["status"] == "finished"]
    return {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*") if path.is_file()}


def rows_of(file):
    return {(row["label"], row["seed"]): row for row in read_json(file)["rows"]}


@pytest.fixture(scope="module")
def given(phantom_splits, teachers):
    return {"split": phantom_splits["isic"], "teacher": teachers["isic"]}


@pytest.fixture(scope="module")
def compared(given, tmp_path_factory):
    """All methods compared, killed within a run; gives the folder and what was finished at that moment."""
    out, iteration = tmp_path_factory.mktemp("compared") / "all", RunFolder._iteration

    def killing(self, engine):
        iteration(self, engine)
        if self.folder.parts[-3] == KILLED and engine.state.epoch == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "_iteration", killing)
        with pytest.raises(KeyboardInterrupt):
            workflow.compare("isic", **given, out=out, options=CompareOptions(trials=1, **QUICK))
    killed = read_json(out / KILLED / "trial-1" / "seed-0" / "run.json")
    before, halfway = stamps(out), read_json(out / "comparison.json")
    assert (killed["status"], halfway["status"]) == ("interrupted", "running")
    workflow.compare("isic", **given, out=out, options=CompareOptions(trials=1, **QUICK))
    return out, before


def test_what_was_finished_before_the_kill_is_not_made_again_and_the_killed_run_goes_on(compared):
    out, before = compared
    after = stamps(out)
    assert len(before) > 20
    assert {path: after[path] for path in before} == before
    run = read_json(out / KILLED / "trial-1" / "seed-0" / "run.json")
    assert (run["status"], run["cpu_seconds"]) == ("finished", None)  # resumed


def test_every_method_that_can_is_in_the_table_and_why_others_are_not(compared):
    content = read_json(compared[0] / "comparison.json")
    assert content["status"] == "finished"
    assert [row["label"] for row in content["rows"]] == ["teacher", "retrained", *ABLE]
    assert {row["label"] for row in content["rows"] if row["status"] == "failed"} == set()
    assert set(content["left_out"]) == set(METHODS) - set(ABLE)
    assert content["left_out"]["composition"] == "it starts from two finished runs"
    assert [trial["label"] for trial in content["trials"]] == ABLE
    assert content["on_validation"] == [name for name in ABLE if "unseen cases" in METHODS[name].needs]
    assert all(trial["chosen"] and "score" not in trial for trial in content["trials"])


def test_the_numbers_are_those_of_the_audits_and_runs(compared):
    out, _ = compared
    row = rows_of(out / "comparison.json")["gradient-ascent", 0]
    audit, run = (read_json(out / row["run"] / name) for name in ("audit.json", "run.json"))
    records = {(r["model"], r["metric"], r["subset"]): r for r in audit["records"]}
    for subset in ("retain", "forget", "validation", "test"):
        student, retrained = (records[model, "dice", subset]["value"] for model in ("student", "retrained"))
        assert (row[subset], row[f"gap_{subset}"]) == pytest.approx((student, student - retrained))
    assert row["auc"] == records["student", "auc[loss]", "forget"]["value"]
    assert row["auc_logistic"] is None  # too few patients for an attack to learn from
    assert row["average_gap"] == records["student", "average_gap", ""]["value"]
    assert (row["verdict"], row["seconds"]) == (audit["verdict"]["label"], run["seconds"])
    assert row["ratio"] == pytest.approx(
        run["cpu_seconds"] / rows_of(out / "comparison.json")["retrained", 0]["cpu_seconds"]
    )
    assert row["auc_attacked"] is None
    assert not any(metric.startswith(("js", "activation", "cka", "weight")) for _, metric, _ in records)  # quick audits


def test_an_audit_with_the_attacks_or_rules_of_an_earlier_version_is_made_again():
    earlier = {"steps": 60, "learning_rate": 0.0001, "batch_size": 8}
    now = json.loads(json.dumps(ATTACKS["retain-finetuning"].settings()))
    kept = [{"name": "int8", "settings": {"bits": 8}}, {"name": "linear-probe", "settings": {}}]
    audits = {
        name: {"attacks": [*kept, {"name": "retain-finetuning", "settings": settings}], "verdict": verdict}
        for name, settings, verdict in (
            ("now", now, {"rules": RULES}),
            ("attacks", earlier, {"rules": RULES}),
            ("rules", now, {"label": "MATCHED"}),
        )
    }
    assert [name for name, content in audits.items() if _is_by_this_version(content)] == ["now"]


def test_both_aucs_of_an_audit_are_in_the_row():
    def record(metric, value, subset="forget"):
        named = {"model": "student", "metric": metric, "subset": subset, "attack": "", "reference": "retrained/forget"}
        return named | {"value": value, "gap": value - 0.5}

    levels = [record("dice", 0.8, subset) for subset in ("retain", "forget", "validation", "test")]
    row = _numbers([*levels, record("auc[loss]", 0.6), record("auc[logistic]", 0.9)], "student")
    assert (row["auc"], row["gap_auc"]) == (0.6, pytest.approx(0.1))
    assert (row["auc_logistic"], row["gap_auc_logistic"]) == (0.9, pytest.approx(0.4))


def test_only_the_last_epoch_is_scored_so_that_times_are_those_of_unlearning(compared):
    with (compared[0] / "gradient-ascent/trial-1/seed-0/curve.csv").open() as stream:
        scored = [bool(row["forget_dice"]) for row in csv.DictReader(stream)]
    assert scored == [False, True]


def test_the_retrained_model_is_trained_as_the_teacher_was_without_the_forgotten(compared, given):
    run = compared[0] / rows_of(compared[0] / "comparison.json")["retrained", 0]["run"]
    ours, teachers = read_json(run / "run.json"), read_json(given["teacher"] / "run.json")
    assert (ours["role"], ours["seed"], ours["max_epochs"]) == ("retrained", 0, 2)
    assert ours["parameters"] == teachers["parameters"]
    assert ours["sha256"]["split"] == teachers["sha256"]["split"]


def test_the_page_and_the_tables_stand_beside_it(compared):
    out, _ = compared
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("https://mu-monai", "")  # nothing from elsewhere
    assert all(f'href="./{name}/trial-1/seed-0/"' in page for name in ABLE)
    assert all((out / f"figures/pareto{dark}.png").is_file() for dark in ("", "-dark"))
    with (out / "comparison.csv").open() as stream:
        assert sorted(row["label"] for row in csv.DictReader(stream)) == sorted(["teacher", "retrained", *ABLE])
    assert r"\toprule" in (out / "comparison.tex").read_text()


@pytest.fixture(scope="module")
def chosen(compared, given, tmp_path_factory):
    """Two settings and two seeds of two methods, one in a preset, with the retrained model of the first comparison."""
    out = tmp_path_factory.mktemp("chosen") / "two"
    options = CompareOptions(
        methods=["gradient-ascent", "erase-to-retain:paper-code"],
        seeds=[0, 1],
        trials=2,
        cache=compared[0] / "retrained",
        attacks=["int4", "adapter-removal"],  # not all have adapters
        **QUICK,
    )
    before = stamps(compared[0] / "retrained")
    file = workflow.compare("isic", **given, out=out, options=options)
    assert before.items() <= stamps(compared[0] / "retrained").items()  # the cache fits and is used
    return file, options


def test_the_best_trial_is_the_first_seed_s_cell_and_the_others_seeds_have_its_settings(chosen):
    file, _ = chosen
    trials = [trial for trial in read_json(file)["trials"] if trial["label"] == "gradient-ascent"]
    assert [trial["chosen"] for trial in trials] == [True, False]
    assert trials[0]["score"] >= trials[1]["score"]
    rate = f"learning_rate={METHODS['gradient-ascent'].trials[1]['learning_rate']}"
    assert {tuple(trial["settings"]) for trial in trials} == {(), (rate,)}
    cells = [rows_of(file)["gradient-ascent", seed]["run"] for seed in (0, 1)]
    assert cells[0] == trials[0]["run"]
    assert cells[1] == cells[0].replace("seed-0", "seed-1")
    rates = [read_json(file.parent / cell / "config.json")["learning_rate"] for cell in cells]
    assert rates[0] == rates[1]
    assert not (file.parent / trials[1]["run"].replace("seed-0", "seed-1")).exists()


def test_each_seed_has_a_retrained_model_of_its_own_and_these_their_gaps(chosen):
    file, _ = chosen
    content, rows = read_json(file), rows_of(file)
    runs = [read_json((file.parent / rows["retrained", seed]["run"]) / "run.json") for seed in (0, 1)]
    assert [run["seed"] for run in runs] == [0, 1]
    assert rows["retrained", 0]["gap_forget"] == rows["retrained", 1]["gap_forget"]
    levels = [rows["retrained", seed]["forget"] for seed in (0, 1)]
    assert rows["retrained", 0]["gap_forget"] == pytest.approx(abs(levels[0] - levels[1]))
    assert rows["retrained", 0]["average_gap"] == rows["retrained", 1]["average_gap"] > 0
    for seed in (0, 1):
        audit = read_json(file.parent / rows["gradient-ascent", seed]["run"] / "audit.json")
        assert audit["models"]["retrained"]["weights"] == runs[seed]["sha256"]["weights"]
        assert 0 <= rows["gradient-ascent", seed]["auc_attacked"] <= 1
    assert content["attacks"] == ["int4", "adapter-removal"]


def test_a_preset_is_a_method_of_its_own(chosen):
    run = chosen[0].parent / rows_of(chosen[0])["erase-to-retain:paper-code", 0]["run"]
    assert run.parts[-3] == "erase-to-retain-paper-code"
    assert read_json(run / "run.json")["method"]["settings"]["schedule"] == "alternate_epoch"


def test_with_nothing_left_to_do_nothing_is_made_and_the_result_is_the_same(chosen, given):
    file, options = chosen
    before, content = stamps(file.parent), read_json(file)
    assert read_json(workflow.compare("isic", **given, out=file.parent, options=options))["rows"] == content["rows"]
    assert stamps(file.parent) == before


def test_audits_find_split_and_teacher_where_the_comparison_does(chosen, given, monkeypatch):
    """Its folder may have been moved together with them, and runs name the places that they had."""
    file, options = chosen
    plan, found = read_plan("isic", **given, out=file.parent, options=options), {}
    monkeypatch.setattr(comparison_runs, "_is_current", lambda *given: False)
    monkeypatch.setattr(comparison_runs, "audit", lambda run, **given: found.update(given))
    row = next(row for row in read_json(file)["rows"] if row["model"] == "student")
    comparison_runs.audited(plan, file.parent / row["run"], plan.cache)
    assert (found["split"], found["teacher"]) == (plan.split, plan.teacher)


def test_runs_of_other_settings_make_room(chosen, given, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(chosen[0].parent, folder)
    trial = folder / "gradient-ascent" / "trial-2"
    (trial / "trial.json").write_text(json.dumps(read_json(trial / "trial.json") | {"recipe": {"max_epochs": 9}}))
    before = stamps(folder)
    workflow.compare("isic", **given, out=folder, options=chosen[1])
    after = stamps(folder)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {path for path in before if "gradient-ascent/trial-2" in str(path)}


def test_runs_of_another_content_of_the_bundle_are_not_taken_for_those_of_this_one(given, tmp_path):
    options = CompareOptions(methods=["calibrated-erase-to-retain"], trials=1, **QUICK)
    bundle, out = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic"), tmp_path / "out"
    own = bundle / "configs" / "calibrated-erase-to-retain.json"
    workflow.compare(bundle, **given, out=out, options=options)
    before, settings = stamps(out), read_json(own)
    write_json(own, settings | {"method": settings["method"] | {"tolerance": 0.25}})
    workflow.compare(bundle, **given, out=out, options=options)
    changed = {path for path, stamp in stamps(out).items() if before.get(path) != stamp}
    assert any(path.name == "model.pt" for path in changed)
    assert not any("retrained" in str(path) for path in changed)
    (run,) = out.glob("calibrated*/trial-1/seed-0/run.json")
    assert read_json(run)["method"]["settings"]["tolerance"] == 0.25
    unlearning = read_json(bundle / "configs" / "unlearn.json")
    write_json(bundle / "configs" / "unlearn.json", unlearning | {"learning_rate": 0.5})
    with pytest.raises(InputError, match=r"is a comparison of another config; give another --out"):
        workflow.compare(bundle, **given, out=out, options=options)


def test_retrained_models_keep_no_milestones(chosen):
    names = {path.name for path in Path(chosen[1].cache).rglob("*")}
    assert "model.pt" in names
    assert "milestones" not in names


def test_wall_clock_times_of_other_numbers_of_processes_are_not_compared():
    def row(label, model, **cost):
        return {"label": label, "model": model, "status": "finished", "run": label, "seconds": 10.0} | cost

    def ratio(**cost):
        rows = {("scrub", 0): row("scrub", "student", **cost["own"])}
        rows[RETRAINED, 0] = row(RETRAINED, RETRAINED, **cost["other"])
        return _with_ratios(rows)["scrub", 0]["ratio"]

    one, two = {"device": "cuda:0", "processes": 1}, {"device": "cuda:0", "processes": 2}
    assert ratio(own=one, other=one | {"seconds": 40.0}) == 0.25
    assert ratio(own=one, other=two) is None
    cpu = {"device": "cpu", "cpu_seconds": 10.0}
    assert ratio(own=cpu, other=cpu | {"cpu_seconds": 40.0, "processes": 2}) == 0.25
    assert ratio(own=cpu, other=cpu | {"cpu_seconds": None, "processes": 2}) is None


def test_a_method_that_is_added_joins_those_that_are_finished(chosen, given, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(chosen[0].parent, folder)
    options = CompareOptions(methods=["npo"], trials=1, cache=chosen[1].cache, **QUICK)
    before, content = stamps(folder), read_json(folder / "comparison.json")
    with monkeypatch.context() as patch:
        patch.setattr(import_module("mu_monai.workflow.comparing.comparing"), "retrained_models", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            workflow.compare("isic", **given, out=folder, options=options)
    kept = read_json(folder / "comparison.json")
    assert (kept["status"], kept["rows"], kept["trials"]) == ("running", content["rows"], content["trials"])
    file = workflow.compare("isic", **given, out=folder, options=options)
    added, rows = read_json(file), rows_of(file)
    assert before.items() <= stamps(folder).items()
    assert added["seeds"] == [0, 1]
    assert rows_of(chosen[0]).keys() | {("npo", 0), ("npo", 1)} == rows.keys()
    assert rows["gradient-ascent", 1] == rows_of(chosen[0])["gradient-ascent", 1]
    assert rows["npo", 1]["auc_attacked"] is not None  # the attacks of the others
    assert added["trials"][:-1] == content["trials"]


def _interrupt(*_):
    raise KeyboardInterrupt


def test_time_is_a_share_of_retraining_only_where_the_devices_are_alike():
    clock = import_module("mu_monai.workflow.comparing.comparing")._clock
    cpu = {"device": "cpu", "cpu_seconds": 2.0, "seconds": 1.0}
    assert clock([cpu], [cpu]) == "cpu_seconds"
    assert clock([cpu, cpu | {"cpu_seconds": None}], [cpu]) == "seconds"  # of a method's seeds, all by the same
    assert clock([cpu | {"device": "cuda:0"}], [cpu]) == ""
    assert clock([cpu | {"device": "cuda:0"}], [cpu | {"device": "cuda:1"}]) == "seconds"
    assert clock([cpu], []) == ""


def test_a_run_that_fails_is_told_and_the_others_go_on(chosen, given, tmp_path, monkeypatch):
    unlearn = comparison_runs.unlearn
    rate = f"learning_rate={METHODS['gradient-ascent'].trials[1]['learning_rate']}"

    def failing(*arguments, **options):
        if options["method"] == "npo" or rate in options["settings"]:
            raise FloatingPointError("the loss is not finite")
        return unlearn(*arguments, **options)

    monkeypatch.setattr(comparison_runs, "unlearn", failing)
    options = replace(chosen[1], methods=["npo", "gradient-ascent"], attacks=[], seeds=[0])
    file = workflow.compare("isic", **given, out=tmp_path / "out", options=options)
    content, rows = read_json(file), rows_of(file)
    assert (rows["npo", 0]["status"], rows["npo", 0]["reason"]) == ("failed", "the loss is not finite")
    assert rows["gradient-ascent", 0]["status"] == "finished"
    trials = {(trial["label"], trial["number"]): trial for trial in content["trials"]}
    assert trials["gradient-ascent", 1]["chosen"]
    assert trials["gradient-ascent", 2]["reason"] == "the loss is not finite"  # and loses, whatever its score
    assert not any(trial["chosen"] for trial in content["trials"] if trial["label"] == "npo")
    assert "npo</b>, 1 of 1 seed: the loss is not finite" in (file.parent / "index.html").read_text()
    options = replace(options, methods=["npo"], seeds=[0, 1])
    none = workflow.compare("isic", **given, out=tmp_path / "none", options=options)
    left = rows_of(none)
    assert {key: row["status"] for key, row in left.items() if key[0] == "npo"} == dict.fromkeys(
        [("npo", 0), ("npo", 1)], "failed"
    )
    for label in ("teacher", "retrained"):  # from their own scores
        names = [name for name in rows[label, 0] if name not in ("ratio", "average_gap", "tow") and "gap_" not in name]
        assert {name: left[label, 0][name] for name in names} == pytest.approx(
            {name: rows[label, 0][name] for name in names}
        )
    assert "No method finished." in none.with_name("index.html").read_text()


TIMES = {"seconds", "cpu_seconds", "peak_memory_mib", "ratio"}


def without_times(file):
    """The cells of a comparison that do not depend on when and where it was made."""
    content = read_json(file)
    return [{key: row[key] for key in row if key not in TIMES} for part in ("rows", "trials") for row in content[part]]


@pytest.mark.parametrize("workers", ["2", "ray"])
def test_workers_make_the_same_table(workers, chosen, given, tmp_path):
    if workers == "ray" and find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'mu-monai[ray]'")
    file, options = chosen
    options = replace(options, workers=workers, attacks=["adapter-removal", "int4"])
    found = workflow.compare("isic", **given, out=tmp_path / "out", options=options)
    assert without_times(found) == without_times(file)
    runs = [path.relative_to(found.parent) for path in found.parent.rglob("run.json")]
    assert {(found.parent / run).is_file() for run in runs} == {(file.parent / run).is_file() for run in runs} == {True}
    commands = {read_json(folder / runs[0])["command"] for folder in (found.parent, file.parent)}
    assert len(commands) == 1


@pytest.fixture
def here(workers_here, monkeypatch):
    """Workers in this process, by the name of `1`; gives the names of the jobs."""
    engine = workers_here()
    monkeypatch.setattr("mu_monai.workflow.workers.workers._engine", lambda workers: (lambda *_: engine, ""))
    monkeypatch.setattr("mu_monai.workflow.comparing.plan.worker_problems", lambda *_: [])
    return engine.started


def test_what_fails_on_workers_is_told_as_without_and_not_tried_again(chosen, given, tmp_path, monkeypatch, here):
    unlearn, audit, tried = comparison_runs.unlearn, comparison_runs.audit, []
    rate = f"learning_rate={METHODS['gradient-ascent'].trials[1]['learning_rate']}"

    def unlearning(*arguments, **options):
        tried.append(options["out"])
        if options["method"] == "npo" or rate in options["settings"]:
            raise FloatingPointError("the loss is not finite")
        return unlearn(*arguments, **options)

    def auditing(run, **options):
        tried.append(run)
        if run.name == "seed-1":
            raise InputError(["a is missing", "b is missing"])
        return audit(run, **options)

    monkeypatch.setattr(comparison_runs, "unlearn", unlearning)
    monkeypatch.setattr(comparison_runs, "audit", auditing)
    options = replace(chosen[1], methods=["npo", "gradient-ascent"], attacks=[])
    alone = workflow.compare("isic", **given, out=tmp_path / "alone", options=options)
    tried.clear()
    found = workflow.compare("isic", **given, out=tmp_path / "out", options=replace(options, workers="1"))
    assert without_times(found) == without_times(alone)
    reasons = {key: row["reason"] for key, row in rows_of(found).items() if row["status"] == "failed"}
    assert reasons == {
        ("npo", 0): "the loss is not finite",
        ("npo", 1): "the loss is not finite",
        ("gradient-ascent", 1): "2 problems: - a is missing - b is missing",
    }
    own = [place for place in tried if place.parent.name == "trial-1"]
    assert len(own) == len({*own}) + 2  # of two runs the audit as well
    assert here[:6] == [
        *("retrained, seed 0", "retrained, seed 1"),
        *(f"{name}, trial {number}, seed 0" for name in ("npo", "gradient-ascent") for number in (1, 2)),
    ]
    assert here[6:] == [f"gradient-ascent, seed {seed}, with its audit" for seed in (0, 1)]
    more = replace(options, methods=["kernel-swap"], trials=1, settings=TINY)
    del here[:]
    workflow.compare("isic", **given, out=tmp_path / "out", options=replace(more, workers="1"))
    assert "audit of gradient-ascent, seed 0" in here  # of those that are there


def test_a_retrained_model_that_fails_on_a_worker_ends_the_comparison_when_the_others_have_ended(
    given, tmp_path, monkeypatch, here
):
    def failing(*arguments, **options):
        raise FloatingPointError("the loss is not finite")

    monkeypatch.setattr(comparison_runs, "train", failing)
    options = CompareOptions(methods=["gradient-ascent"], trials=1, workers="1", **QUICK)
    with pytest.raises(FloatingPointError, match="the loss is not finite"):
        workflow.compare("isic", **given, out=tmp_path / "out", options=options)
    assert here == ["retrained, seed 0", "gradient-ascent, trial 1, seed 0"]
    assert read_json(tmp_path / "out/gradient-ascent/trial-1/seed-0/run.json")["status"] == "finished"


def test_retrained_models_that_there_are_serve_the_seeds(chosen, given, tmp_path):
    file, _ = chosen
    references = [file.parent / rows_of(file)["retrained", seed]["run"] for seed in (0, 1)]
    teacher = shutil.copy(given["teacher"] / "model.pt", tmp_path / "teacher.pt")  # nothing is known of it
    small = read_json(given["teacher"] / "config.json")["network_def"]["channels"]
    network = [f"network_def#channels={small}", "network_def#strides=[2, 2]", "image_size=[32, 32]"]
    options = CompareOptions(
        methods=["gradient-ascent"],
        trials=1,
        seeds=[5, 6],
        references=references,
        settings=[*TINY, *network],
        n_resamples=20,
    )
    found = workflow.compare("isic", split=given["split"], teacher=teacher, out=tmp_path / "out", options=options)
    rows = rows_of(found)
    assert [rows["retrained", seed]["run"] for seed in (5, 6)] == [str(path) for path in references]
    assert rows["teacher", 5]["seconds"] is None
    assert not (tmp_path / "out" / "retrained").exists()


def test_every_problem_is_told_at_once_before_anything_is_made(given, tmp_path):
    options = CompareOptions(
        methods=["skrub", "unsir", "composition"],
        seeds=[0, 0],
        trials=5,
        attacks=["int3"],
        settings=["seed=3", "max_epochs=0"],
        workers="0",
    )
    with pytest.raises(InputError) as told:
        workflow.compare("isic", **given, out=tmp_path / "out", options=options)
    text = str(told.value)
    for part in (
        "method 'skrub' is not known; use some of all, ",
        "did you mean 'scrub'?",
        "method 'unsir' cannot be compared here: it cannot forget in a segmentation task",
        "method 'composition' cannot be compared here: it starts from two finished runs",
        "--seeds 0,0 is not allowed",
        "--trials 5 is not allowed; use 1 to 4",
        "--set seed= contradicts the comparison; use --seeds",
        "--set max_epochs=0 is not allowed",
        "attack 'int3' is not known",
        "--workers 0 is not allowed; use at least 1 process",
    ):
        assert part in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": []}, "--methods is empty"),
        ({"methods": ["npo:two-phase"]}, "'npo:two-phase': presets .*'npo'.*omit ':two-phase'"),
        ({"methods": ["erase-to-retain:papper"]}, "papper"),
        ({"methods": ["npo"], "settings": ["method#betta=2"]}, r"'method#betta' .* \(of npo\)"),
        ({"settings": ["max_epochs"]}, "'max_epochs' .* KEY=VALUE"),
        ({"overlays": ["papersize"]}, "config 'papersize' is neither a file nor one of the bundle's"),
        ({"device": "cuda:77"}, "--device cuda:77 cannot be used"),
    ],
)
def test_what_is_refused(change, message, given, tmp_path):
    with pytest.raises(InputError, match=message):
        workflow.compare("isic", **given, out=tmp_path / "out", options=CompareOptions(**change))


def test_models_that_do_not_belong_are_refused(given, teachers, tmp_path):
    copy = shutil.copy(given["teacher"] / "model.pt", tmp_path / "teacher.pt")
    with pytest.raises(InputError, match=r"was trained is not known.* or retrained models as --reference"):
        workflow.compare("isic", **given | {"teacher": copy}, out=tmp_path / "out")
    options = CompareOptions(references=[given["teacher"]])
    with pytest.raises(InputError, match="is the run of a teacher; give that of a retrained model"):
        workflow.compare("isic", **given, out=tmp_path / "out", options=options)
    with pytest.raises(InputError, match="was not trained on it"):
        workflow.compare("isic", **given | {"teacher": teachers["chase"]}, out=tmp_path / "out")


def test_models_of_another_bundle_and_a_number_of_them_that_fits_no_seeds_are_refused(given, chosen, tmp_path):
    foreign = [shutil.copytree(given["teacher"], tmp_path / "teacher")]
    foreign += [shutil.copytree(chosen[0].parent / rows_of(chosen[0])["retrained", 0]["run"], tmp_path / "retrained")]
    for folder in foreign:
        record = read_json(folder / "run.json")
        write_record(
            folder,
            RunRecord.from_json(
                {**(record | {"bundle": record["bundle"] | {"name": "chase"}}), "files": file_digests(folder)}
            ),
        )
    options = CompareOptions(references=[foreign[1]] * 2, seeds=[0, 1, 2])
    with pytest.raises(InputError) as told:
        workflow.compare("isic", **given | {"teacher": foreign[0]}, out=tmp_path / "out", options=options)
    text = str(told.value)
    assert f"--teacher '{foreign[0]}' is a run of the bundle 'chase', and " in text
    assert f"--reference '{foreign[1]}' is a run of the bundle 'chase'" in text
    assert "--reference is given 2 times for 3 seeds (0, 1, 2); give one retrained model for all seeds, or one" in text
    assert f"--reference '{foreign[1]}' has the weights of '{foreign[1]}'; give every model once" in text


def test_a_folder_of_something_else_is_refused(chosen, given, tmp_path):
    file, options = chosen
    with pytest.raises(InputError, match=r"with other settings \(max_epochs was 2, now 3; epoch_length was 1, now not"):
        workflow.compare("isic", **given, out=file.parent, options=replace(options, settings=["max_epochs=3"]))
    with pytest.raises(InputError, match=r"with other settings \(score_interval was not set, now 1\)"):
        workflow.compare(
            "isic", **given, out=file.parent, options=replace(options, settings=[*TINY, "score_interval=1"])
        )
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds files and is not a comparison"):
        workflow.compare("isic", **given, out=tmp_path)


def test_every_method_has_four_settings_to_try():
    for method in METHODS.values():
        assert len(method.trials) == 4
        assert method.trials[0] == {}
    assert len(UnlearningMethod.trials) == 4
