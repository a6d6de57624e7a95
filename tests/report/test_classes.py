"""Reports about classifiers: every number and word comes from the metrics that the records hold."""

import numpy as np
import pandas as pd
import pytest

from mu_monai.errors import InputError
from mu_monai.report.classwise import class_sentence
from mu_monai.report.figures import DARK, LIGHT, draw_classes, png
from mu_monai.report.gallery import draw_class_gallery
from mu_monai.report.tables import ReportTables, class_table
from mu_monai.runs import open_runs
from tests.report.conftest import tables_of, undrawn


def test_the_whole_report(page_of, text_of):
    index = page_of("classes")
    text = text_of(index)
    for said in (
        "Accuracy; it should not drop.",
        "Accuracy per subset",
        "the share of cases whose most probable class is the true one",
        "Class by class",
        "F1 per class: forget",
        "Different from the retrained model",
        "section 6.6",
        "0.6413",
        "2,016 (retain), 223 (forget) and 118 (test) images",
        "from undecided, by its divergence",
        "forget_p00_1 (forget, squamous cell carcinoma): teacher squamous cell carcinoma 0.84",
        "for forget like a model that never saw the case",
        "A forget accuracy far below",
        "2 divided by the number of classes",
    ):
        assert said in text or said in index.read_text(encoding="utf-8"), said
    for unsaid in ("Dice", "IoU", "pixel", "Paper, Table 1", "ground truth"):
        assert unsaid not in text, unsaid
    out = index.parent
    assert {"accuracy.csv", "classes.csv", "layers.csv"} <= {path.name for path in (out / "tables").iterdir()}
    assert not (out / "tables/dice.csv").exists()
    names = {path.name for path in (out / "figures").iterdir()}
    assert {"classes.png", "classes-dark.png", "student-subset-accuracy.png", "gallery.png"} <= names


def test_our_models_stand_above_the_papers(page_of):
    index = page_of("classes")
    rows = index.read_text(encoding="utf-8").split("What the paper reports")[2].split("</table>")[0].split("<tr>")[2:]
    assert ["this report" in row for row in rows] == [True] * 3 + [False] * 2
    records = pd.read_csv(index.parent / "tables/records.csv").query("metric == 'accuracy' and model == 'teacher'")
    for value in records[records["subset"] != "validation"]["value"]:
        assert f"{value:.4f}" in rows[0]


def test_records_without_classes_have_no_section(make_run):
    whole = tables_of([make_run("teacher", classes=True, figures=False)])
    tables = ReportTables(whole.runs, whole.records[~whole.records["metric"].str.startswith("f1[")])
    assert "Class by class" in undrawn(whole)
    assert "Class by class" not in undrawn(tables)
    assert "classes" not in tables.files()


def test_a_trained_classifier_alone(make_run, said_of):
    text = said_of(make_run("teacher", classes=True))
    assert "F1 per class: test" in text
    assert "Gap" not in text


def test_the_metric_says_the_class_whatever_its_name():
    records = pd.DataFrame({"metric": ["f1[a [b] c]", "f1[x]", "loss", "f1"], "value": [1.0, 2.0, 3.0, 4.0]})
    table = class_table(records)
    assert table["class"].tolist() == ["a [b] c", "x"]
    assert table["value"].tolist() == [1.0, 2.0]


def row(name, gap, low, high, reference="retrained/forget"):
    return {"class": name, "reference": reference, "gap": gap, "gap_low": low, "gap_high": high}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], ""),
        ([row("a", 0.1, np.nan, np.nan)], ""),
        ([row("a", np.nan, np.nan, np.nan, "")], ""),
        ([row("a", -0.1, -0.2, 0.1)], "No class can be told apart from the retrained model here."),
        (
            [row("a", 0.1, 0.05, 0.2), row("b", -0.3, -0.4, -0.2)],
            "Different from the retrained model, intervals exclude 0: a higher by 0.100, b lower by 0.300.",
        ),
    ],
)
def test_a_class_is_named_only_where_its_interval_excludes_zero(rows, said):
    assert class_sentence(rows) == said


def test_names_of_classes_are_no_formulas():
    names = ["$a$", "$\\frac{", "a_b", "x" * 60]
    rows = [
        {"class": name, "subset": "forget", "model": "student", "value": 0.5, "low": 0.4, "high": 0.6} for name in names
    ]
    assert png(draw_classes(pd.DataFrame(rows), LIGHT)).startswith(b"\x89PNG")
    examples = {"case_id": np.array(["$\\frac{"]), "subset": np.array(["forget"]), "label": np.array(names[:1])}
    examples |= {"image": np.zeros((1, 8, 8, 1), np.uint8), "classes": np.array(names)}
    examples["student"] = np.array([[0.1, 0.7, 0.1, 0.1]], np.float32)
    figure = draw_class_gallery(examples, DARK)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == ["$a$", "✗ $\\frac{", "0.70", "true class 0.10"]
    png(figure)


def test_one_panel_per_subset_in_the_order_given():
    rows = [
        {"class": name, "subset": subset, "model": model, "value": 0.5, "low": 0.4, "high": np.nan}
        for subset in ("forget", "test")
        for name in ("b", "a")
        for model in ("teacher", "student")
    ]
    figure = draw_classes(pd.DataFrame(rows), LIGHT)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["forget", "test"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["teacher", "student"]


def edit(path, change):
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


def test_what_scores_of_a_classifier_need(make_run):
    folder = make_run("student", classes=True, figures=False)
    edit(folder / "scores.csv", lambda t: t.drop(columns=["predicted", "true_probability"]))
    with pytest.raises(InputError, match="no column 'true_probability', 'predicted'"):
        open_runs([folder])


def test_names_of_classes_stay_text(make_run):
    folder = make_run("student", classes=True, figures=False)
    edit(folder / "scores.csv", lambda t: t.assign(label="NA", predicted="007"))
    scores = open_runs([folder]).scores
    assert set(scores["label"]) == {"NA"}
    assert set(scores["predicted"]) == {"007"}


def test_masks_and_classes_do_not_go_together(make_run):
    folders = [make_run("retrained", figures=False), make_run("student", classes=True, figures=False)]
    with pytest.raises(InputError, match="do not share one task"):
        open_runs(folders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {k: v for k, v in a.items() if k != "classes"}, "has no array 'classes'"),
        (lambda a: a | {"student": a["student"][:, :4]}, r"case and class, \(6, 9\), and holds student \(6, 4\)"),
    ],
)
def test_examples_of_a_classifier_that_do_not_fit_together(make_run, change, message):
    path = make_run("student", classes=True) / "examples.npz"
    with np.load(path) as arrays:
        changed = change(dict(arrays))
    np.savez(path, **changed)
    with pytest.raises(InputError, match=message):
        open_runs([path.parent])


def test_answers_over_other_classes_do_not_join(make_run):
    folders = [make_run("retrained", classes=True), make_run("student", classes=True)]
    assert "retrained" in open_runs(folders).examples
    path = folders[0] / "examples.npz"
    with np.load(path) as arrays:
        np.savez(path, **dict(arrays) | {"classes": np.array([f"class {i}" for i in range(9)])})
    assert "retrained" not in open_runs(folders).examples
