"""Attacks on real runs: what is attacked, what is scored, and that a killed run goes on where it was."""

import copy
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from mu_monai import workflow
from mu_monai.attacks import ATTACK_NAMES, Quantization, search_folder
from mu_monai.audit import attack_records
from mu_monai.data import phantom_split
from mu_monai.errors import InputError
from mu_monai.runs.numbers import State
from mu_monai.workflow.auditing.attacking import chosen_attacks, run_attacks
from mu_monai.workflow.auditing.evaluation import open_evaluation

RATES = (1e-5, 1e-4, 1e-3)


@pytest.fixture(scope="module")
def jobs(phantom_splits, teachers, tmp_path_factory):
    """Split and teacher by bundle; of the lesions several patients are forgotten, of the others one."""
    folder = tmp_path_factory.mktemp("lesions")
    split = phantom_split("lesions", folder / "images", patients=26, images_per_patient=1, size=32)
    small = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "image_size=[32, 32]", "max_epochs=2"]
    teacher = workflow.train("isic", split=split, out=folder / "teacher", settings=small, quiet=True)
    others = {bundle: (phantom_splits[bundle], teachers[bundle]) for bundle in ("isic_classification", "volume3d")}
    return {"isic": (split, teacher), **others}


@pytest.fixture(scope="module", params=["isic", "isic_classification", "volume3d"])
def opened(request, jobs, tmp_path_factory):
    """A student, and the models around it; the teacher stands in for the retrained model as well."""
    split, teacher = jobs[request.param]
    run = workflow.unlearn(
        request.param,
        split=split,
        teacher=teacher,
        out=tmp_path_factory.mktemp("attacks") / request.param,
        settings=["max_epochs=1", "learning_rate=0.01"],
        quiet=True,
    )
    return open_evaluation(run, {"teacher": teacher, "retrained": teacher, "student": run}, device="cpu"), run


@pytest.fixture(scope="module")
def results(opened):
    evaluation, run = opened
    return run_attacks(evaluation, run, quiet=True)


def test_every_attack_runs_on_whom_it_is_meant_for(results, opened):
    who = results.scores.groupby("attack")["model"].agg(lambda models: sorted(set(models))).to_dict()
    both, three = ["retrained", "student"], ["retrained", "student", "teacher"]
    alone = {"adapter-removal": ["student"], "relearning": three, "linear-probe": three, "": three}
    expected = dict.fromkeys(ATTACK_NAMES, both) | alone
    settings = set(expected) - {""}
    if opened[1].name != "isic":
        del expected["relearning"]
        settings -= {"relearning"}
        assert results.notes[0].startswith("relearning was not run: ")
    for name in {"relearning", "retain-finetuning"} & settings:
        expected |= {str(State(name, rate=rate)): expected[name] for rate in RATES}
        del expected[name]
    assert who == expected
    assert set(results.settings) == settings
    assert results.settings["retain-finetuning"]["learning_rates"] == RATES
    assert results.settings["int4"] == {"bits": 4}


def test_relearning_tests_only_patients_that_the_attacker_did_not_have(results):
    rows = results.scores[results.scores["attack"].str.startswith("relearning")]
    if "relearning" not in results.settings:  # a single patient was forgotten
        assert rows.empty
        return
    known, others = (set(rows.loc[rows["subset"] == subset, "patient_id"]) for subset in ("known", "forget"))
    whole = set(
        results.scores.loc[(results.scores["attack"] == "") & (results.scores["subset"] == "forget"), "patient_id"]
    )
    assert known
    assert others
    assert known | others == whole
    assert not known & others
    stages = rows[(rows["model"] == "student") & (rows["subset"] == "forget")].groupby("attack")["stage"].unique()
    assert [found.tolist() for found in stages] == [[0, 5, 10, 20, 40]] * len(RATES)


def test_step_0_is_the_model_as_it_was(results):
    scores = results.scores[results.scores["model"] == "student"].set_index("case_id")
    if "relearning" not in results.settings:
        return
    first = scores[(scores["attack"] == "relearning[lr=1e-05]") & (scores["subset"] == "forget")]
    start = first[first["stage"] == 0]["loss"]
    before = scores[(scores["attack"] == "") & (scores["subset"] == "forget")]["loss"]
    pd.testing.assert_series_equal(start, before[start.index], rtol=1e-4)


def test_the_records_of_every_attack_can_be_made(results):
    records = attack_records(results.scores, n_resamples=50)
    assert {State.parse(record.attack).attack for record in records} == set(results.settings)
    assert {"rebound", "auc[loss]", "auc[probe]"} < {record.metric for record in records}
    assert any(record.metric == "anamnesis" for record in records) == ("relearning" in results.settings)


def test_it_is_said_loudly_that_the_original_can_be_rebuilt(results, opened):
    assert any(note.startswith("THE ORIGINAL MODEL CAN BE REBUILT FROM THE RUN FOLDER ALONE") for note in results.notes)
    evaluation, run = opened
    states = (evaluation.models[role].state_dict() for role in ("teacher", "student"))
    assert any(found.rebuilds and found.file.startswith("adapter/") for found in search_folder(run, *states))


def test_it_is_said_whether_the_encoder_changed(results, opened):
    changed = opened[1].name == "isic_classification"  # whose adapters are in the whole network
    said = [note for note in results.notes if note.startswith("the encoder of the student")]
    assert len(said) == 1
    assert ("differs" in said[0]) == changed


def test_a_second_call_attacks_nothing(opened, results, monkeypatch, capsys):
    evaluation, run = opened
    monkeypatch.setattr(nn.Module, "__call__", None)
    scores = results.scores[results.scores["attack"] == ""]
    again = run_attacks(evaluation, run, ["int8", "relearning"], scores=scores)
    assert capsys.readouterr().err == ""  # not a terminal, so there is no progress bar
    named = results.scores["attack"].map(lambda name: State.parse(name).attack)
    assert len(again.scores) == named.isin(["", "int8", "relearning"]).sum()


def test_what_was_read_or_scored_otherwise_is_attacked_anew(opened, results):
    evaluation, run = opened
    files = set((run / "attacks").iterdir())
    scores = results.scores[results.scores["attack"] == ""]
    run_attacks(replace(evaluation, made_of="another image size"), run, ["int8"], scores=scores, quiet=True)
    assert len(set((run / "attacks").iterdir()) - files) == 2


def test_an_attack_that_breaks_a_model_is_left_out_and_it_is_said(opened, results, tmp_path, monkeypatch):
    evaluation, _ = opened

    def broken(self, network, data):
        after = copy.deepcopy(network)
        with torch.no_grad():
            next(after.parameters()).fill_(torch.nan)
        return after

    monkeypatch.setattr(Quantization, "__call__", broken)
    scores = results.scores[results.scores["attack"] == ""]
    found = run_attacks(evaluation, tmp_path, ["int8", "pruning-10"], scores=scores, quiet=True)
    assert found.notes[0] == (
        "int8 broke the retrained and the student: losses are not numbers there, so that nothing can be said of it"
    )
    assert {record.attack for record in attack_records(found.scores)} == {"pruning-10"}


def test_the_patients_are_those_of_a_model_that_has_scores(opened, results, tmp_path):
    evaluation, _ = opened
    scores = results.scores[(results.scores["attack"] == "") & (results.scores["model"] == "student")]
    students = replace(evaluation, models={role: evaluation.models[role] for role in ("teacher", "student")})
    found = run_attacks(students, tmp_path, ["int8"], scores=scores, quiet=True)
    assert "rebound" in {record.metric for record in attack_records(found.scores)}


def test_scores_in_another_order_are_refused(opened, results, tmp_path):
    evaluation, _ = opened
    if "relearning" not in results.settings:
        return
    scores = results.scores[results.scores["attack"] == ""].iloc[::-1]
    with pytest.raises(InputError, match="not in the order of the forget cases"):
        run_attacks(evaluation, tmp_path, ["relearning"], scores=scores, quiet=True)


def test_other_weights_are_attacked_anew(opened, results):
    _, run = opened
    files = set((run / "attacks").iterdir())
    changed = open_evaluation(run, {"student": run}, device="cpu")
    with torch.no_grad():
        next(changed.models["student"].parameters()).add_(0.1)
    found = run_attacks(changed, run, ["int8"], quiet=True)
    assert len(set((run / "attacks").iterdir()) - files) == 1
    assert found.notes[-1].startswith("without a retrained model")


def test_what_cannot_run_is_said(opened, tmp_path):
    evaluation, _ = opened
    found = run_attacks(evaluation, tmp_path, ["adapter-removal"], quiet=True)
    assert [note.split(": ")[0] for note in found.notes] == ["adapter-removal was not run"]
    assert set(found.scores["attack"]) == {""}


def test_unknown_attacks_are_refused():
    with pytest.raises(InputError, match=r"attack 'int9' is not known.* relearning, .*did you mean 'int"):
        chosen_attacks(["int9"])
    assert chosen_attacks(["all"]) == list(ATTACK_NAMES)


def test_forgotten_classes_are_refused(opened, monkeypatch, tmp_path):
    evaluation, _ = opened
    monkeypatch.setattr(evaluation.scorer, "forget_classes", ("organ",))
    with pytest.raises(InputError, match="classes were forgotten"):
        run_attacks(evaluation, tmp_path)


def test_a_split_without_unseen_cases_is_refused(opened, monkeypatch, tmp_path):
    evaluation, _ = opened
    monkeypatch.setattr(evaluation.scorer, "loaders", evaluation.scorer.loaders | {"test": []})
    with pytest.raises(InputError, match="no cases in 'test'"):
        run_attacks(evaluation, tmp_path)
