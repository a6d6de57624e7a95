"""The comparison as table, LaTeX, figure and page: from `comparison.json` alone, and safe with strange names."""

import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from mu_monai.report import comparison_table, write_comparison
from mu_monai.report.comparison import comparison_tex
from mu_monai.report.comparison_figure import draw_pareto, front, seed_gaps
from mu_monai.report.figures import DARK, LIGHT

LEVELS = {"retain": 0.9, "forget": 0.7, "validation": 0.8, "test": 0.8, "auc": 0.5}


def row(label, seed, *, gap=0.0, model="student", **more):
    levels = {name: value + gap for name, value in LEVELS.items()}
    gaps = {f"gap_{name}": gap for name in LEVELS}
    costs = {"seconds": 10.0, "cpu_seconds": 9.0, "peak_memory_mib": 500.0, "ratio": 0.1}
    found = {"average_gap": abs(gap), "tow": (1 - abs(gap)) ** 3, "auc_attacked": None, "verdict": "MATCHED"}
    base = {"label": label, "model": model, "paper": "A 2025", "seed": seed, "metric": "dice", "status": "finished"}
    return (
        base
        | {"reason": "", "run": f"{label}/trial-1/seed-{seed}", "warnings": []}
        | levels
        | gaps
        | costs
        | found
        | more
    )


def failed(label, seed, reason):
    base = {"label": label, "model": "student", "paper": "", "seed": seed}
    return base | {"status": "failed", "reason": reason, "run": f"{label}/trial-1/seed-{seed}"}


@pytest.fixture
def content():
    rows = [row(name, seed, model=name, gap=0.02 * seed) for seed in (0, 1) for name in ("teacher", "retrained")]
    rows += [row("far", 0, gap=-0.2), row("far", 1, gap=-0.4, verdict="OVER-FORGOTTEN")]
    rows += [row("near_50%", 0, gap=0.01), failed("near_50%", 1, "the loss is <b>not</b> finite")]
    rows += [failed("broken", 0, "out of memory")]
    trial = {
        "number": 1,
        "settings": ["a=1"],
        "run": "far/trial-1/seed-0",
        "reason": "",
        "chosen": True,
        "seconds": 3.0,
    }
    return {
        **{"format": 1, "status": "finished", "command": "mu-monai compare isic", "versions": {"torch": "2.6"}},
        **{"created": "2026-01-31T12:00:00+00:00", "identity": {"bundle": "isic"}, "split": "/data/split.json"},
        **{"teacher": "/runs/teacher", "seeds": [0, 1], "n_trials": 1, "left_out": {"unsir": "cannot"}, "attacks": []},
        "provenance": {"selector": {"kind": "fraction", "value": 0.1}, "counts": {"forget": {"patients": 4}}},
        "trials": [trial | {"label": "far", "score": 0.5, "auc": 0.4, "retain_drop": 0.1, "validation_drop": 0.0}],
        "rows": rows,
    }


def test_the_table_has_a_row_per_model_the_nearest_first(content):
    table = comparison_table(content["rows"])
    assert table["label"].tolist() == ["teacher", "retrained", "near_50%", "far", "broken"]
    far = table.set_index("label").loc["far"]
    assert (far["forget"], far["forget_sd"]) == pytest.approx((0.4, math.sqrt(0.02)))
    assert (far["seeds"], far["failed"], far["verdicts"]) == (2, 0, "1 MATCHED, 1 OVER-FORGOTTEN")
    near = table.set_index("label").loc["near_50%"]
    assert (near["seeds"], near["failed"], near["reason"]) == (1, 1, "the loss is <b>not</b> finite")
    assert math.isnan(near["forget_sd"])  # one seed has no spread


def test_the_latex_table_is_escaped_and_the_best_is_bold(content):
    text = comparison_tex(comparison_table(content["rows"]), "Dice")
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"near\_50\% & 0.910 & 0.710" in text
    assert text.count(r"\textbf") == 1
    assert r"\textbf{0.010}" in text
    assert r"0.600 $\pm$ 0.141" in text
    assert "% failed: broken" in text


def test_the_page_says_what_failed_and_runs_no_code_of_others(content, tmp_path):
    page = write_comparison(content, tmp_path).read_text(encoding="utf-8")
    assert "near_50% came nearest to the retrained model, with an average gap of 0.010; next is far with 0.300." in page
    assert "the loss is &lt;b&gt;not&lt;/b&gt; finite" in page
    assert "<b>broken</b>, 1 of 1 seeds: out of memory" in page
    assert "unsir (cannot)" in page
    assert "10 % of the training patients, drawn at random" in page
    assert 'href="far/trial-1/seed-1/"' in page
    assert "After attacks" not in page
    assert "Phantom data" not in page
    assert (tmp_path / "comparison.csv").is_file()
    assert (tmp_path / "figures" / "pareto-dark.png").is_file()


def test_where_nothing_was_finished_the_page_says_so(content, tmp_path):
    page = write_comparison(content | {"rows": [failed("a", 0, "why")]}, tmp_path).read_text(encoding="utf-8")
    assert "No method was finished." in page
    assert "<figure" not in page


def test_attacks_have_a_column_where_there_were_any(content, tmp_path):
    rows = [one | {"auc_attacked": 0.9} if one["model"] == "student" else one for one in content["rows"]]
    assert "After attacks" in write_comparison(content | {"rows": rows}, tmp_path).read_text(encoding="utf-8")


def test_the_front_is_what_no_other_beats():
    points = [(0.3, 0.1), (0.1, 0.3), (0.2, 0.2), (0.2, 0.3), (0.4, 0.1)]
    assert front(points) == [1, 2, 0]
    assert front([(0.1, 0.1), (0.1, 0.1)]) == [0, 1]  # none beats the other


def test_what_seeds_alone_make_takes_two_retrained_models(content):
    assert seed_gaps(content["rows"]) == pytest.approx((0.02, 0.02))
    assert seed_gaps([one for one in content["rows"] if one["seed"] == 0]) is None


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_names_cover_neither_each_other_nor_points(theme):
    rng = np.random.default_rng(0)
    rows = [
        row(f"method-number-{k}", 0, gap_forget=0.05 + 0.02 * rng.random(), gap_retain=0.01 * rng.random())
        for k in range(20)
    ]
    table = comparison_table([row("teacher", 0, model="teacher", gap=0.3), *rows])
    figure = draw_pareto(table, "Dice", (0.01, 0.02), theme)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    notes = [child for child in axes.get_children() if isinstance(child, Annotation)]
    for note in notes:
        note.arrow_patch = None
    boxes = [super(Annotation, note).get_window_extent(canvas.get_renderer()) for note in notes]
    assert len(boxes) == 21
    assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]
    points = axes.transData.transform([note.xy for note in notes])
    assert not [box for box in boxes for x, y in points if box.contains(x, y)]
