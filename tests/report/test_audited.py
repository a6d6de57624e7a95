"""The section on who can still be told: with an audit, without one, and with one of other weights."""

import json

import pandas as pd
import pytest

from mu_monai.errors import InputError
from mu_monai.report.audit_sentences import metric_name, metric_sentence, patient_sentence
from mu_monai.report.audited import attack_values, audit_content
from mu_monai.report.plots import report_plots
from mu_monai.runs import open_runs
from tests.report.conftest import tables_of, undrawn

TITLE = "Can it still be told who was forgotten?"


def test_the_figure_shows_attacks_at_their_worst_rate_alone():
    aucs = {"retain-finetuning[lr=1e-05]": 0.6, "retain-finetuning[lr=0.001]": 0.8, "int8": 0.5, "": 0.5}
    rows = [
        {"metric": metric, "subset": "forget", "attack": name, "value": value, "low": 0.1, "high": 0.9, "ideal": 0.5}
        for name, value in aucs.items()
        for metric in ("auc[loss]", "rebound")
    ]
    shown = attack_values(pd.DataFrame(rows).assign(model="student"))
    assert shown["attack"].tolist() == ["retain-finetuning (learning rate 0.001)", "int8", ""]


def test_without_a_retrained_model_nothing_is_said_to_be_like_one(make_run, said_of):
    folders = [make_run(role, figures=False) for role in ("teacher", "student")]
    text = said_of(*make_run.audited(folders))
    section = text[text.index(TITLE) : text.index("Self-checks")]
    for told in ("as they do for the retrained", "where the retrained model is", "Compare with the retrained model"):
        assert told not in section, told
    assert "outline and area should overlap." in section
    assert "The student should stay at the line." in section


@pytest.fixture
def quick_runs(make_run):
    return [make_run(role, figures=False) for role in ("teacher", "retrained", "student")]


def test_the_section_renders_what_the_audit_says(make_run, quick_runs, said_of):
    text = said_of(*make_run.audited(quick_runs))
    for said in (
        TITLE,
        "CANNOT TELL. 4 forgotten patients are too few for an interval to be trusted",
        "Rule: fewer than 10 forgotten patients.",
        "Forgotten against unseen patients",
        "AUC, loss",
        "than an unseen patient does, by the loss; 0.5 ",
        "After attacks",
        "retain-finetuning",
        "before, these patients",
        "How far from the retrained model",
        "average gap",
        "Worst patient first",
        "1 of 4 groups lost more than 0.02",
        "device: a &lt;b&gt;",
        "✗ lost",
        "What the run folder gives away",
        "holds the adapter",
        "6 unseen patients cannot show",
    ):
        assert said in text, said
    tables = tables_of(quick_runs)
    assert {"losses", "attacks"} <= set(report_plots(tables, images=False))
    files = tables.files()
    assert files["patients"]["exposure"].is_monotonic_decreasing
    assert len(files["subgroups"]) == 4
    assert "before, these patients" in set(attack_values(tables.audit_records)["attack"])
    assert "retain-finetuning" in set(files["audit_records"]["attack"])


@pytest.mark.parametrize(
    ("label", "look"),
    [
        ("MATCHED", "banner "),
        ("OVER-FORGOTTEN", "banner fail"),
        ("SHALLOW", "banner fail"),
        ("NO BASELINE", "banner warn"),
    ],
)
def test_a_verdict_looks_as_it_is(make_run, quick_runs, label, look):
    found = {"label": label, "sentence": "s", "rule": "r", "but": "b", "evidence": [], "needed_patients": None}
    page = undrawn(tables_of(make_run.audited(quick_runs, verdict=found)))
    assert f'<aside class="{look}" aria-label="Verdict">' in page


def test_without_an_audit_it_says_how_to_make_one(quick_runs, said_of):
    text = said_of(*quick_runs)
    assert "This run was not audited" in text
    assert "mu-monai audit RUN" in text
    assert not {"patients", "subgroups", "audit_records"} & set(tables_of(quick_runs).files())


def test_an_audit_of_other_weights_is_not_shown(make_run, quick_runs, said_of):
    models = {"student": {"weights": "e5" * 32}}
    text = said_of(*make_run.audited(quick_runs, models=models))
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


def test_a_training_run_has_no_such_section(make_run, said_of):
    assert TITLE not in said_of(make_run("teacher", figures=False))


def test_where_classes_were_forgotten_nobody_is_to_be_told(page_of, text_of):
    assert TITLE not in text_of(page_of("forgotten"))


@pytest.mark.parametrize(
    ("metric", "name", "sentence"),
    [
        ("tpr@0.001[lira]", "TPR at 0.1 % FPR, lira", "0.1 % of the unseen"),
        ("auc[logistic]", "AUC, logistic", "whichever way they differ"),
        ("auc[u-lira]", "AUC, u-lira", "by U-LiRA: "),
        ("auc[probe]", "AUC, probe", "by a linear probe of the encoder's features"),
        ("cka[model.0]", "cka, model.0", "in [0, 1]"),
        ("js_to_teacher", "js to teacher", "from the original model's, case by case, in [0, ln 2]; a retrained model"),
        ("something", "something", "the retrained model's"),
    ],
)
def test_every_number_has_a_name_and_a_sentence(metric, name, sentence):
    assert metric_name(metric) == name
    assert sentence in metric_sentence(metric)


def test_a_patient_in_words():
    assert patient_sentence({"gap": -0.4, "student": 0.9}) == (
        "ranks better than 10 % of unseen patients, ideal 50 %; one rank may be chance"
    )
    assert "known" not in patient_sentence({"gap": 0.42, "student": 0.08})  # one that the model never saw may rank so


def test_numbers_of_depth_have_a_table_of_their_own(make_run, quick_runs):
    file = make_run.audited(quick_runs)[-1] / "audit.json"
    content = json.loads(file.read_text())
    row = content["records"][0] | {"model": "student", "subset": "", "attack": "", "reference": "retrained"}
    numbers = {"value": 0.25, "low": None, "high": None, "gap": -0.75, "gap_low": None, "gap_high": None, "ideal": 1.0}
    content["records"] += [row | numbers | {"metric": metric} for metric in ("depth", "depth[a.0]", "barrier")]
    file.write_text(json.dumps(content))
    found = audit_content(tables_of(quick_runs))
    assert [cells["name"] for cells in found["depths"]["rows"]] == ["depth", "depth, a.0", "barrier"]
    assert "share of what retraining does" in found["depths"]["rows"][0]["note"]
    assert not any("depth" in cells["name"] for cells in [*found["distances"]["rows"], *found["layers"]["rows"]])
