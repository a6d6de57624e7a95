"""The decision picture on the page: drawn from its table, in words for who cannot see it, and gone with old audits."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mu_monai.report.decision import decision_alt, draw_decision
from mu_monai.report.figures import DARK, LIGHT, png
from mu_monai.report.plots import report_plots
from mu_monai.runs import open_runs
from tests.report.conftest import tables_of


def make_decision(models=("teacher", "retrained", "student"), cases=40):
    rng = np.random.default_rng(0)
    rows = [
        {
            "model": model,
            "subset": "forget" if case < 4 else "retain",
            "case_id": f"c{case}",
            "x": rng.normal() + 5 * (case % 2),
            "y": rng.normal(),
            "label": ["nevus", "melanoma <b>"][case % 2],
            "predicted": ["nevus", "melanoma <b>"][(case + (model == "student" and case < 3)) % 2],
        }
        for model in models
        for case in range(cases)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def runs(make_run):
    of = {"classes": True, "figures": False, "bundle": {"name": "isic_classification"}}
    folders = [make_run(role, **of) for role in ("teacher", "retrained", "student")]
    make_run.audited(folders, decision={"file": "decision.csv"})
    make_decision().to_csv(folders[-1] / "decision.csv", index=False)
    return folders


def test_the_picture_is_on_the_page(runs, said_of):
    assert "What each model decides" in said_of(*runs)
    plot = report_plots(tables_of(runs), images=False)["decision"]
    assert "student predicts the label of 25 % of them" in plot.alt
    assert len(plot.draw(LIGHT).axes) == 3


@pytest.mark.parametrize("lost", ["file", "audit", "weights"])
def test_without_a_table_of_these_weights_there_is_none(runs, lost):
    if lost == "file":
        (runs[-1] / "decision.csv").unlink()
    elif lost == "audit":
        (runs[-1] / "audit.json").unlink()
    else:
        record = json.loads((runs[-1] / "run.json").read_text())
        record["sha256"]["weights"] = "0" * 64
        (runs[-1] / "run.json").write_text(json.dumps(record))
    found = open_runs(runs)
    assert found.decision.empty


def test_words_say_how_many_forget_cases_are_answered_as_labeled():
    assert decision_alt(make_decision(("teacher", "student"))) == (
        "Planes of 40 cases with each model's regions; the stars are forget cases: teacher predicts the label of 100 % "
        "of them; student predicts the label of 25 % of them."
    )


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("models", "cases"), [(("student",), 40), (("teacher", "retrained", "student"), 5)])
def test_it_draws_a_panel_per_model(theme, models, cases):
    figure = draw_decision(make_decision(models, cases), theme)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(models)
    assert png(figure) == png(draw_decision(make_decision(models, cases), theme))


def test_a_region_is_what_is_predicted_for_the_nearest_case():
    table = make_decision(("student",)).assign(x=[0.0] * 20 + [1.0] * 20, y=list(range(20)) * 2)
    table["predicted"] = ["nevus"] * 20 + ["melanoma <b>"] * 20
    (axes,) = draw_decision(table, LIGHT).axes
    regions = axes.images[0].get_array()
    left, right = regions[:, 0], regions[:, -1]
    assert (left == left[0]).all()
    assert (right == right[0]).all()
    assert not np.allclose(left[0], right[0])


def test_cases_at_one_place_are_drawn_too():
    png(draw_decision(make_decision(("student",)).assign(x=0.0, y=0.0), LIGHT))


def test_every_class_has_a_color_of_its_own():
    table = make_decision(models=("student",))
    table["label"] = table["predicted"] = [f"class {case % 12}" for case in range(len(table))]
    legend = draw_decision(table, LIGHT).legends[0]
    colors = {
        handle.get_color()
        for handle, text in zip(legend.legend_handles, legend.texts, strict=True)
        if "class" in text.get_text()
    }
    assert len(colors) == 12
