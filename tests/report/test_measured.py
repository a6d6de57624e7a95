"""What a run measured on itself: how far its weights moved, and what restoration brought back."""

import numpy as np
import pandas as pd
import pytest

from mu_monai.report import measured
from mu_monai.report.figures import DARK, LIGHT, draw_curve, draw_layers, draw_restoration, png, split_columns
from tests.report.conftest import tables_of


def test_the_whole_report(page_of, text_of):
    index = page_of("two_phase")
    text = text_of(index)
    for said in (
        "Preset two-phase",
        "The watchdog stopped the restoration in epoch 15: 14.0 % of the way back to the teacher's forget loss "
        "returned, more than the tolerance of 10.0 %. The weights of epoch 14 were kept.",
        "In the shaded epochs",
        "moved the weights by 2.666 (Euclidean distance); nothing limited it.",
        "differ from the teacher's by 0.1230 on average over pixels",
        "it does not prove forgetting",
        "the distance is 0 by construction",
        "Every adapted layer (9)",
        "model.1.submodule.1.submodule.2.8.conv 8 1.4000 0.9800 2.6600",
    ):
        assert said in text.replace("&#39;", "'"), said
    order = [text.index(name) for name in ("How it got there", "What restoration brought back", "How far the weights")]
    assert order == sorted(order)
    names = {path.name for path in (index.parent / "figures").iterdir()}
    assert {"restoration.png", "restoration-dark.png", "layers.png", "layers-dark.png"} <= names
    assert not [name for name in names if "phase" in name or "returned" in name]
    table = pd.read_csv(index.parent / "tables/restoration.csv")
    assert table["returned"].tolist() == [0.02, 0.06, 0.14]
    assert len(pd.read_csv(index.parent / "tables/layers.csv")) == 9


@pytest.mark.parametrize("found", [None, {}, {"drift": None, "margins": None, "restoration": None}])
def test_a_run_that_measured_nothing_lacks_the_sections(make_run, said_of, found):
    folder = make_run("student", figures=False, measurements=found)
    text = said_of(folder)
    assert "How far the weights moved" not in text
    assert "What restoration brought back" not in text
    assert "In the shaded epochs" not in text
    assert "Preset" not in text
    assert "layers" not in tables_of([folder]).files()


def test_margins_alone(make_run, said_of):
    found = {"margins": {"delta": 0.2, "epsilon": 1.5, "feature_layer": "model.0"}}
    text = said_of(make_run("student", figures=False, measurements=found))
    assert "averaged over space at model.0, are 1.5000 from the teacher" in text
    assert "Every adapted layer" not in text
    assert "Euclidean distance); nothing" not in text


def test_many_layers_are_cut_short_in_the_figure_alone(make_run, said_of, measurements):
    found = measurements(50) | {"restoration": None}
    text = said_of(make_run("student", figures=False, measurements=found))
    assert "The 20 of 50 layers that moved most" in text
    assert "Every adapted layer (50)" in text
    assert "submodule.2.0.conv 8" in text


def test_margins_in_words():
    assert "No layer is known" in measured.epsilon_sentence(None, None)
    assert "by construction" in measured.epsilon_sentence(0.0, "model.0")
    assert "by construction" not in measured.epsilon_sentence(1e-9, "model.0")
    assert "1 is the maximum" in measured.delta_sentence(0.3, over="pixels")
    assert "1 is the maximum" in measured.delta_sentence(0.3, over="pixels and classes")  # of regions that overlap
    of_all = measured.delta_sentence(0.3, over="pixels and classes", sums_to_one=True)
    assert "2 divided by the number of classes is the maximum" in of_all
    assert "nothing of the cases is left" in measured.epsilon_sentence(1.0, "model.0")
    assert "nothing of lesion is left" in measured.epsilon_sentence(1.0, "model.0", gone="lesion")
    assert measured.drift_sentence(1.0, 2.5).endswith("it was held to at most 2.500.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kept_epoch": None}, "stopped the restoration in epoch 15"),
        ({"kept_epoch": None}, "the weights are those from before its first epoch."),
        ({"stopped": False, "tolerance": 0.2, "kept_epoch": 15}, "did not stop the restoration: at most 14.0 %"),
        (
            {"stopped": False, "tolerance": 0.2, "kept_epoch": 15},
            "in epoch 15; the tolerance is 20.0 %. The weights of",
        ),
        ({"stopped": False, "tolerance": None, "kept_epoch": 15}, "no tolerance was set"),
        ({"stopped": False, "start_forget_loss": 0.2, "kept_epoch": 15}, "The watchdog could not judge"),
    ],
)
def test_what_the_watchdog_did(measurements, change, said):
    assert said in measured.restoration_sentence(measurements(**change)["restoration"])


@pytest.mark.parametrize(
    ("change", "marks"),
    [
        ({}, ["", "", "", "kept", "stopped here"]),
        ({"kept_epoch": None}, ["", "kept", "", "", "stopped here"]),
        ({"stopped": False, "kept_epoch": 15}, ["", "", "", "", "kept"]),
    ],
)
def test_which_epoch_was_kept(make_run, change, marks):
    content = measured.measured_content(tables_of([make_run.two_phase(**change)]))
    assert [row["mark"] for row in content["restoration"]["rows"]] == marks


def test_a_restoration_without_an_epoch_has_no_section(make_run, said_of):
    assert "What restoration" not in said_of(make_run.two_phase(epochs=[]))


def test_the_figure_of_a_restoration(measurements):
    curve = pd.DataFrame({"epoch": [3, 6, 12, 15], "forget_loss": [0.5, np.nan, 0.9, 0.7], "phase": [1, 1, 1, 2]})
    axes = draw_restoration(measurements()["restoration"], curve, LIGHT).axes[0]
    loss, teacher, tolerance, kept = axes.lines
    assert list(loss.get_xdata()) == [3, 12, 13, 14, 15]
    assert list(loss.get_ydata()) == [0.5, 0.78, 0.77, 0.75, 0.71]  # the watchdog's own number where both have one
    assert list(teacher.get_ydata()) == [0.28, 0.28]
    assert list(tolerance.get_ydata()) == pytest.approx([0.73, 0.73])
    assert list(kept.get_xdata()) == [14]
    assert [text.get_text() for text in axes.texts] == ["unlearning", "restoration"]


@pytest.mark.parametrize(
    ("change", "lines"),
    [({"tolerance": None}, 3), ({"start_forget_loss": 0.2, "stopped": False}, 3), ({"kept_epoch": None}, 4)],
)
def test_a_restoration_that_had_no_line_to_keep(measurements, change, lines):
    figure = draw_restoration(measurements(**change)["restoration"], pd.DataFrame({"epoch": [1]}), DARK)
    assert len(figure.axes[0].lines) == lines
    assert png(figure).startswith(b"\x89PNG")


def test_a_bar_and_a_tick_per_layer(measurements):
    table = pd.DataFrame(measurements(3)["drift"]["layers"])
    axes = draw_layers(table, LIGHT).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.2, 0.8, 1.4])
    assert list(axes.lines[0].get_xdata()) == pytest.approx([0.38, 1.52, 2.66])


def test_layers_whose_weights_all_train_have_no_bound(make_run, said_of, measurements):
    """Rank and bound are 0 in the run's file where a copy of the layer trained: no tick, and no claim about one."""
    layers = [layer | {"rank": 0, "bound": 0.0} for layer in measurements(3)["drift"]["layers"]]
    axes = draw_layers(pd.DataFrame(layers), LIGHT).axes[0]
    assert (len(axes.patches), len(axes.lines)) == (3, 0)
    found = {"drift": {"total": 1.0, "limit": None, "layers": layers}}
    text = said_of(make_run("student", figures=False, measurements=found)).replace("&#39;", "'")
    assert "Every layer with a matrix of weights, in the network's order. All of their weights train" in text
    assert "Every layer with a matrix of weights (3)" in text
    assert "model.1.submodule.1.submodule.2.0.conv \N{EN DASH} 0.2000 0.1400 \N{EN DASH}" in text
    assert "no bar exceeds its tick" not in text
    layers[0] |= {"rank": 2, "bound": 0.3}
    assert list(draw_layers(pd.DataFrame(layers), LIGHT).axes[0].lines[0].get_xdata()) == [0.3]
    text = said_of(make_run("student", "mixed", figures=False, measurements=found)).replace("&#39;", "'")
    assert "Every adapted layer, in the network's order. The bound follows" in text


def test_a_single_epoch_has_no_fractions():
    curve = pd.DataFrame({"epoch": [1], "total": [0.5]})
    ticks = draw_curve(curve, {"total": "student"}, "total", LIGHT).axes[0].get_xticks()
    assert all(tick == round(tick) for tick in ticks)


def test_the_second_phase_is_shaded_and_is_no_term():
    curve = pd.DataFrame({"epoch": [1, 2, 3], "phase": [1, 2, 2], "forget_returned": [np.nan, 0.1, 0.2], "guard": 0.5})
    assert split_columns(curve) == (["guard"], {})
    shaded = draw_curve(curve, {"guard": "student"}, "guard", LIGHT).axes[0].patches
    assert [patch.get_x() for patch in shaded] == [1.5]
    assert not draw_curve(curve.assign(phase=1), {"guard": "student"}, "guard", LIGHT).axes[0].patches
