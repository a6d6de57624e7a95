"""The comparison as table, LaTeX, figure and page: from `comparison.json` alone, and safe with strange names."""

import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from mu_monai.report import comparison_table, write_comparison
from mu_monai.report.comparison import comparison_content, comparison_tex
from mu_monai.report.comparison_figure import draw_pareto, front
from mu_monai.report.figures import DARK, LIGHT
from mu_monai.report.page import render
from mu_monai.report.sentences import signed

LEVELS = {"retain": 0.9, "forget": 0.7, "validation": 0.8, "test": 0.8, "auc": 0.5, "auc_logistic": 0.5}


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
    rows = [row("teacher", seed, model="teacher", gap=0.02 * seed, run="/runs/teacher") for seed in (0, 1)]
    rows += [row("retrained", seed, model="retrained", gap=0.02) for seed in (0, 1)]  # of one pair
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
    assert table["label"].tolist() == ["teacher", "retrained", "far", "near_50%", "broken"]  # with all seeds first
    far = table.set_index("label").loc["far"]
    assert (far["forget"], far["forget_sd"]) == pytest.approx((0.4, math.sqrt(0.02)))
    assert (far["seeds"], far["failed"], far["verdicts"]) == (2, 0, "1 MATCHED, 1 OVER-FORGOTTEN")
    near = table.set_index("label").loc["near_50%"]
    assert (near["seeds"], near["failed"], near["reason"]) == (1, 1, "the loss is <b>not</b> finite")
    assert near["missing"] == 1
    assert math.isnan(near["forget_sd"])  # one seed has no spread


def test_seeds_of_opposite_sign_do_not_cancel_where_sizes_are_meant():
    table = comparison_table([row("a", 0, gap=-0.2), row("a", 1, gap=0.3)])
    one = table.iloc[0]
    assert (one["gap_forget"], one["size_forget"], one["size_retain"]) == pytest.approx((0.05, 0.25, 0.25))
    (axes,) = draw_pareto(table, "Dice", None, LIGHT).axes
    assert [0.25, 0.25] in [line.get_xydata()[0].tolist() for line in axes.lines]


def test_a_model_that_serves_several_seeds_is_one(content):
    table = comparison_table(content["rows"]).set_index("label")
    assert table.loc["teacher", "seeds"] == 1
    assert math.isnan(table.loc["teacher", "forget_sd"])
    assert table.loc["teacher", "gap_forget_sd"] == pytest.approx(math.sqrt(2) / 100)  # of its yardsticks
    shared = [one | {"run": "/runs/retrained"} if one["model"] == "retrained" else one for one in content["rows"]]
    found = comparison_content(content | {"rows": shared}, comparison_table(shared))
    assert (found["n_retrained"], comparison_table(shared).set_index("label").loc["retrained", "seeds"]) == (1, 1)


def test_what_seeds_alone_make_has_a_spread_from_three_pairs_on():
    rows = [row("retrained", seed, model="retrained", gap=0.01 * seed) for seed in (0, 1, 2)]
    two, three = (comparison_table(rows[:number]).iloc[0] for number in (2, 3))
    assert math.isnan(two["average_gap_sd"])
    assert not math.isnan(two["forget_sd"])
    assert three["average_gap_sd"] == pytest.approx(0.01)


def test_the_latex_table_is_escaped_and_the_best_is_bold(content):
    text = comparison_tex(comparison_table(content["rows"]), "Dice", 2)
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"near\_50\% (1 of 2 seeds) & 0.910 & 0.710" in text
    assert text.count(r"\textbf") == 1
    assert r"\textbf{0.300}" in text  # the best with all seeds
    assert "over 2 seeds" in text
    assert r"0.600 $\pm$ 0.141" in text
    assert "% failed: broken" in text


def test_the_page_says_what_failed_and_runs_no_code_of_others(content, tmp_path):
    page = write_comparison(content, tmp_path).read_text(encoding="utf-8")
    assert "far came closest to the retrained model, with an average gap of 0.300. That is not closer than the" in page
    assert "1 of 2 seeds" in page
    assert f"{signed(-0.3)} ± 0.141" in page
    assert "the loss is &lt;b&gt;not&lt;/b&gt; finite" in page
    assert "<b>broken</b>, 1 of 2 seeds: out of memory" in page
    assert "unsir (cannot)" in page
    assert "10 % of the training patients, drawn at random" in page
    assert 'href="./far/trial-1/seed-1/"' in page
    assert "After attacks" not in page
    assert "Phantom data" not in page
    assert (tmp_path / "comparison.csv").is_file()
    assert (tmp_path / "figures" / "pareto-dark.png").is_file()


def test_where_nothing_was_finished_the_page_says_so(content, tmp_path):
    page = write_comparison(content | {"rows": [failed("a", 0, "why")]}, tmp_path).read_text(encoding="utf-8")
    assert "No method finished." in page
    assert "<figure" not in page
    assert (tmp_path / "comparison.tex").read_text().startswith("\\textit{No run finished.}\n% failed: a")
    assert "The original model is missing" in page


def test_the_lead_says_what_speaks_against_the_nearest(content):
    def lead(*rows):
        return comparison_content(content | {"seeds": [0]}, comparison_table(list(rows)))["lead"]

    teacher = row("teacher", 0, model="teacher", gap=0.1)
    retrained = row("retrained", 0, model="retrained", gap=0.05)
    assert "than the original model, with" in lead(teacher, row("a", 0, gap=0.1))
    assert "other seeds, 0.050" in lead(teacher, retrained, row("a", 0, gap=-0.05))
    assert "one seed" in lead(teacher, row("a", 0))
    both = [row("a", seed, gap=0.06) for seed in (0, 1)]
    assert lead(teacher, retrained, *both).endswith(
        f"by all signals together: an AUC of 0.560, {signed(0.06)} from the retrained model's."
    )
    sure = lead(teacher, retrained, *(one | {"gap_auc_logistic": 0.04} for one in both))
    assert sure == "a came closest to the retrained model, with an average gap of 0.060."


def test_how_many_settings_each_had_and_which_failed(content):
    trials = [content["trials"][0] | {"label": "far", "number": number, "reason": ""} for number in (1, 2)]
    trials += [trials[1] | {"number": 3, "reason": "no"}]
    found = comparison_content(content | {"trials": trials}, comparison_table(content["rows"]))
    assert found["chances"].endswith(": 3.")
    assert next(one for one in found["rows"] if one["label"] == "far")["notes"].endswith("1 of 3 settings failed")
    trials += [trials[0] | {"label": "near_50%"}]
    found = comparison_content(content | {"trials": trials}, comparison_table(content["rows"]))
    assert ", except near_50% 1" in found["chances"] or ", except far 3" in found["chances"]


def undrawn(content):
    """The page without its figure."""
    found = comparison_content(content, comparison_table(content["rows"]))
    return render("comparison.html.j2", found | {"pictures": {}})


def test_notes_on_given_models_and_on_validation_cases(content):
    page = undrawn(content)
    assert "were given" not in page
    assert "Validation cases take part" not in page
    more = {"references": ["/runs/a"], "on_validation": ["scrub", "far"]}
    page = undrawn(content | more)
    assert "The retrained models were given: their time is that of their own runs" in page
    assert "Validation cases take part in the unlearning of scrub and far" in page


@pytest.mark.parametrize(("gap", "floor"), [(0.15, None), (0.0, (0.3, 0.4)), (0.9, (0.001, 0.0))])
def test_points_lines_and_ticks_lie_within_the_figure(gap, floor):
    (axes,) = draw_pareto(comparison_table([row("a", 0, gap=gap)]), "Dice", floor, LIGHT).axes
    for (low, high), ticks, line in zip(
        (axes.get_xlim(), axes.get_ylim()), (axes.get_xticks(), axes.get_yticks()), floor or (gap, gap), strict=True
    ):
        values = [max(value, 0.001) for value in (gap, line)]
        assert low < min(values) <= max(values) < high
        assert min(ticks) <= min(values)
        assert max(ticks) >= max(values)


def test_attacks_have_a_column_where_there_were_any(content):
    rows = [one | {"auc_attacked": 0.9} if one["model"] == "student" else one for one in content["rows"]]
    assert "After attacks" in undrawn(content | {"rows": rows})


def test_the_front_is_what_no_other_beats():
    points = [(0.3, 0.1), (0.1, 0.3), (0.2, 0.2), (0.2, 0.3), (0.4, 0.1)]
    assert front(points) == [1, 2, 0]
    assert front([(0.1, 0.1), (0.1, 0.1)]) == [0, 1]  # none beats the other


def test_what_seeds_alone_make_takes_two_retrained_models(content):
    assert comparison_content(content, comparison_table(content["rows"]))["floor"]
    gaps = {f"gap_{name}": None for name in LEVELS}
    rows = [one | gaps if one["model"] == "retrained" else one for one in content["rows"]]
    assert not comparison_content(content, comparison_table(rows))["floor"]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_names_cover_neither_each_other_nor_points_and_are_whole(theme):
    rng = np.random.default_rng(0)
    rows = [
        row(f"method-number-{k}", 0, gap_forget=0.05 + 0.02 * rng.random(), gap_retain=0.01 * rng.random())
        for k in range(20)
    ]
    rows.append(row("perturbed-sign-gradient", 0, gap=0.28))
    table = comparison_table([row("teacher", 0, model="teacher", gap=0.3), *rows])
    figure = draw_pareto(table, "Dice", (0.01, 0.02), theme)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    notes = [child for child in axes.get_children() if isinstance(child, Annotation)]
    for note in notes:
        note.arrow_patch = None
    boxes = [super(Annotation, note).get_window_extent(canvas.get_renderer()) for note in notes]
    assert len(boxes) == 22
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]
    points = axes.transData.transform([note.xy for note in notes])
    assert not [box for box in boxes for x, y in points if box.contains(x, y)]
