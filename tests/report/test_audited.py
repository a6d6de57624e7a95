"""The section on who can still be told: with an audit, without one, and with one of other weights."""

import json

import pandas as pd
import pytest

from mu_monai.audit import records_table, utility_records
from mu_monai.errors import InputError
from mu_monai.report import write_report
from mu_monai.report.audit_sentences import metric_name, metric_sentence, patient_sentence
from mu_monai.report.audited import attack_values
from mu_monai.runs import open_runs

TITLE = "Can it still be told who was forgotten?"


def write(folders, out):
    runs = open_runs(folders)
    return write_report(runs, records_table(utility_records(runs.scores, n_resamples=10)), out)


@pytest.fixture
def quick_runs(make_run):
    return [make_run(role, figures=False) for role in ("teacher", "retrained", "student")]


def test_the_section_renders_what_the_audit_says(make_run, quick_runs, tmp_path, text_of):
    index = write(make_run.audited(quick_runs), tmp_path / "out")
    text = text_of(index)
    for said in (
        TITLE,
        "CANNOT TELL. 4 forgotten patients are too few for an interval to be trusted",
        "Rule: fewer than 10 forgotten patients.",
        "Forgotten against unseen patients",
        "AUC, loss",
        "by the loss; 0.5 is like unseen ones",
        "After attacks",
        "retain-finetuning",
        "before, these patients",
        "How far from the retrained model",
        "average gap",
        "Worst patient first",
        "1 of 4 groups lost more than 0.02 beyond the interval.",
        "device: a &lt;b&gt;",
        "✗ lost",
        "What the run folder gives away",
        "holds the adapter",
        "6 unseen patients cannot show",
    ):
        assert said in text, said
    for name in ("losses", "attacks"):
        assert (tmp_path / f"out/figures/{name}.png").is_file()
    tables = {name: pd.read_csv(tmp_path / f"out/tables/{name}.csv") for name in ("patients", "subgroups")}
    assert tables["patients"]["exposure"].is_monotonic_decreasing
    assert len(tables["subgroups"]) == 4
    assert "before, these patients" in set(attack_values(open_runs(quick_runs))["attack"])
    assert "retain-finetuning" in set(pd.read_csv(tmp_path / "out/tables/audit_records.csv")["attack"])


@pytest.mark.parametrize(
    ("label", "look"), [("MATCHED", "banner "), ("OVER-FORGOTTEN", "banner fail"), ("NO BASELINE", "banner warn")]
)
def test_a_verdict_looks_as_it_is(make_run, quick_runs, tmp_path, label, look):
    found = {"label": label, "sentence": "s", "rule": "r", "but": "b", "evidence": [], "needed_patients": None}
    index = write(make_run.audited(quick_runs, verdict=found), tmp_path / "out")
    assert f'<aside class="{look}" aria-label="Verdict">' in index.read_text(encoding="utf-8")


def test_without_an_audit_it_says_how_to_make_one(quick_runs, tmp_path, text_of):
    text = text_of(write(quick_runs, tmp_path / "out"))
    assert "This run was not audited" in text
    assert "mu-monai audit RUN" in text
    assert not (tmp_path / "out/tables/patients.csv").exists()


def test_an_audit_of_other_weights_is_not_shown(make_run, quick_runs, tmp_path, text_of):
    models = {"student": {"weights": "e5" * 32}}
    text = text_of(write(make_run.audited(quick_runs, models=models), tmp_path / "out"))
    assert "The audit is of other weights than this run's." in text
    assert "CANNOT TELL" not in text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"audit.json' is not valid JSON"),
        (json.dumps({"format": 3}), "has format 3; this version reads format 1 and 2"),
    ],
)
def test_a_damaged_audit_is_refused(quick_runs, content, problem):
    (quick_runs[-1] / "audit.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        open_runs(quick_runs)


def test_a_training_run_has_no_such_section(make_run, tmp_path, text_of):
    assert TITLE not in text_of(write([make_run("teacher", figures=False)], tmp_path / "out"))


def test_where_classes_were_forgotten_nobody_is_to_be_told(page_of, text_of):
    assert TITLE not in text_of(page_of("forgotten"))


@pytest.mark.parametrize(
    ("metric", "name", "sentence"),
    [
        ("tpr@0.001[lira]", "TPR at 0.1 % FPR, lira", "where 0.1 % of the unseen ones are taken for trained on"),
        ("auc[logistic]", "AUC, logistic", "whichever way they differ"),
        ("auc[u-lira]", "AUC, u-lira", "from unseen ones that never had to be, by U-LiRA"),
        ("auc[probe]", "AUC, probe", "by a linear probe of the encoder's features"),
        ("cka[model.0]", "cka, model.0", "1 is alike"),
        ("js_to_teacher", "js to teacher", "from the original model's, case by case, in [0, ln 2]; a retrained model"),
        ("something", "something", "near where it is for the retrained model"),
    ],
)
def test_every_number_has_a_name_and_a_sentence(metric, name, sentence):
    assert metric_name(metric) == name
    assert sentence in metric_sentence(metric)


def test_a_patient_in_words():
    assert patient_sentence({"gap": -0.4, "student": 0.9}) == (
        "answered too badly: better than 10 % of unseen patients, in place of 50 %"
    )
    assert patient_sentence({"gap": 0.0, "student": 0.5}) == "where it should be"
