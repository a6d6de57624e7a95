"""Reports about volumes: several classes, distances and volumes, three planes, and classes that were forgotten."""

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest

from mu_monai.errors import InputError
from mu_monai.report.classwise import class_content, forgotten_sentence
from mu_monai.report.figures import DARK, LIGHT, png
from mu_monai.report.volume_gallery import draw_volume_gallery
from mu_monai.runs import open_runs
from tests.report.conftest import tables_of


def test_the_whole_report(page_of, text_of):
    index = page_of("volumes")
    text = text_of(index)
    for said in (
        "asked to forget 4 patients",
        "as the mean over cases and classes",
        "Class by class",
        "Classes: forget, 4 patients, 12 cases",
        "HD95, mm",
        "Volume error, ml",
        "Different from the retrained model",
        "Dice of each class with its 95 % interval",
        "The first 3 cases of retain and 3 of forget by id",
        "Each view is the slice in which teacher and student differ most",
        "the image&#39;s file",
        "right (R) is on the left",
        "not nothing",
        "on average over pixels and classes",
    ):
        assert said in text, said
    assert "the outlines of ground truth, teacher, retrained and student: " in index.read_text(encoding="utf-8")
    for unsaid in ("What the paper reports", "Paper, Table 1", "25.17M", "F1", "|T"):
        assert unsaid not in text, unsaid
    out = index.parent
    assert not (out / "tables/paper.csv").exists()
    assert {"dice", "hd95", "volume", "volume_error"} == set(pd.read_csv(out / "tables/classes.csv")["quantity"])
    assert (out / "figures/gallery-dark.png").is_file()


def test_where_a_class_is_forgotten(page_of, text_of):
    text = text_of(page_of("forgotten"))
    for said in (
        "asked to forget the class lesion in every case and to keep the class organ. It is judged on 14 patients (56",
        "Forgotten class: lesion",
        "Dice on unseen cases; the aim is the retrained model&#39;s, near 0.",
        "Other class, unseen cases",
        "Dice of organ; it should not drop.",
        "Forgotten lesion",
        "Classes were forgotten here",
        "with lesion as background in every label",
        "the mean over cases and the classes that stay (organ)",
        "lesion (forgotten)",
        "lesion was to be forgotten: its Dice went from",
        "voxels is from all background",
        "The student should no longer segment lesion",
        "The student's probabilities on all training cases differ".replace("'", "&#39;"),
        "lesion was forgotten and no case was",
        "The features of all training cases, averaged",
        "learned about lesion is still there",
        "Not drawn is not gone.",
    ):
        assert said in text, said
    for unsaid in (
        "Forgotten cases",
        "10 % of the training patients",
        "the forget cases",
        "remembered",
        "IoU",
        "Drop",
        "near-duplicate",
    ):
        assert unsaid not in text, unsaid
    assert text.index("Classes: test") < text.index("Classes: retain")


def test_a_forgotten_class_without_a_retrained_model(make_run, said_of):
    folder = make_run.volumes("student", forget=("lesion",), figures=False)
    text = said_of(folder, images=False)
    assert "What was to be forgotten should be at 0, and every other gap is to the teacher." in text
    assert "and should be near 0. " in text
    assert "the aim is near 0." in text
    lesion = next(
        row for row in class_content(tables_of([folder]).classes, ["lesion"])[0]["rows"] if "lesion" in row["name"]
    )
    assert lesion["gap"] == ("", "should be 0")


def test_where_every_class_is_forgotten(make_run, said_of):
    text = said_of(make_run.volumes("student", forget=("organ", "lesion"), figures=False), images=False)
    assert "asked to forget the classes organ and lesion in every case. It" in text
    assert "Nothing else is segmented, so the numbers of this section should fall." in text
    assert "Other class" not in text


def test_runs_that_forget_other_classes_do_not_go_together(make_run):
    folders = [
        make_run.volumes("teacher"),
        make_run.volumes("retrained"),
        make_run.volumes("student", forget=("organ",)),
    ]
    with pytest.raises(InputError, match=r"choice of forgotten classes .*retrained': none, .*student': organ"):
        open_runs(folders)
    assert open_runs([folders[0], folders[2]]).forget_classes == ["organ"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_retrained_model_of_fewer_cases_is_no_yardstick_of_a_forgotten_class(make_run, order):
    gone = ("lesion",)
    folders = [
        make_run.volumes("retrained", forget=gone, subsets=["retain"]),
        make_run.volumes("student", forget=gone),
    ]
    with pytest.raises(InputError, match=r"has learned from retain and the student .* from retain, forget;") as caught:
        open_runs(folders[::order])
    assert "--subsets retain,forget --forget-class lesion" in str(caught.value)
    same = make_run.volumes("retrained", "same", forget=gone, subsets=["forget", "retain"])
    assert list(open_runs([same, folders[1]]).by_role) == ["retrained", "student"]


def test_where_cases_are_forgotten_the_retrained_model_has_fewer(make_run):
    assert len(open_runs([make_run.volumes("retrained"), make_run.volumes("student")]).by_role) == 2


def test_runs_with_other_classes_do_not_go_together(make_run):
    folders = [make_run.volumes("retrained"), make_run.volumes("student")]
    path = folders[0] / "scores.csv"
    table = pd.read_csv(path)
    table.rename(columns=lambda name: name.replace("organ", "liver")).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"do not share one set of classes .*liver, lesion.*organ, lesion"):
        open_runs(folders)


def test_scores_of_classes_are_numbers(make_run):
    folder = make_run.volumes("student")
    table = pd.read_csv(folder / "scores.csv").drop(columns="cross_entropy")
    table.to_csv(folder / "scores.csv", index=False)
    with pytest.raises(InputError, match="no column 'cross_entropy'"):
        open_runs([folder])
    table.assign(cross_entropy=0.1, **{"hd95[organ]": "far"}).to_csv(folder / "scores.csv", index=False)
    with pytest.raises(InputError, match=r"has text in 'hd95\[organ\]'"):
        open_runs([folder])


class TestExamples:
    """The views are the main run's; other runs' answers are cut out of their volumes."""

    def change(self, folder, **arrays):
        path = folder / "examples.npz"
        with np.load(path) as found:
            kept = {name: array for name, array in {**found, **arrays}.items() if array is not None}
        np.savez(path, **kept)

    def test_the_retrained_models_answers_are_shown_in_the_students_views(self, make_run):
        runs = open_runs([make_run.volumes("retrained"), make_run.volumes("student")])
        expected = runs.by_role["retrained"].examples["retrained"]  # drawn at the same places
        np.testing.assert_array_equal(runs.examples["retrained"], expected)
        self.change(runs.main.folder, position=runs.main.examples["position"] - 3)
        moved = open_runs([run.folder for run in runs.by_role.values()]).examples["retrained"]
        assert moved.shape == expected.shape
        assert (moved != expected).any()

    def test_answers_with_other_voxels_do_not_join(self, make_run):
        folders = [make_run.volumes("retrained"), make_run.volumes("student")]
        for arrays in (
            {"spacing": np.array([1.0, 1.0, 1.0])},
            {"spacing": np.array([1.5, 1.5, 2.0]), "volume_2": np.zeros((9, 9, 9), np.uint8)},
            {"volume_2": None},
            {"volume_2": np.zeros((99, 99, 99), np.uint8)},
        ):
            self.change(folders[0], **arrays)
            assert "retrained" not in open_runs(folders).examples

    def test_what_they_need(self, make_run):
        folder = make_run.volumes("student")
        self.change(folder, position=None)
        with pytest.raises(InputError, match="has no array 'position'"):
            open_runs([folder])

    def test_outlines_have_the_models_colors_and_the_classes_styles(self, make_run):
        examples = open_runs([make_run.volumes("student")]).examples
        figure = draw_volume_gallery(examples, LIGHT)
        assert len(figure.axes) == 18
        outlines = figure.axes[0].collections
        colors = [matplotlib.colors.to_hex(outline.get_edgecolor()[0]) for outline in outlines]
        assert colors == ["#ffffff"] * 2 + [DARK.colors["teacher"]] * 2 + [DARK.colors["student"]] * 2
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["ground truth", "teacher", "student", "organ", "lesion"]
        assert [text.get_text() for text in figure.axes[2].texts] == ["A", "45"]
        png(figure)

    def test_many_classes_fit_the_legend(self):
        view = np.zeros((1, 6, 8), np.uint8)
        label = np.arange(48, dtype=np.uint8).reshape(1, 6, 8) % 21
        examples = {"case_id": np.array(["a"]), "subset": np.array(["retain"]), "plane": np.array(["coronal"])}
        examples |= {"position": np.array([3]), "image": view[..., None], "label": label, "teacher": view}
        figure = draw_volume_gallery(examples | {"classes": np.array([f"class {i}" for i in range(118)])}, DARK)
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names[2:4] + names[-2:] == ["class 1", "class 2", "class 8", "and 12 more classes"]
        png(figure)

    def test_empty_masks_and_one_class(self):
        view = np.zeros((1, 6, 8), np.uint8)
        examples = {"case_id": np.array(["$a$"]), "subset": np.array(["forget"]), "plane": np.array(["axial"])}
        examples |= {"position": np.array([3]), "image": view[..., None], "label": view, "teacher": view}
        figure = draw_volume_gallery(examples | {"classes": np.array(["background", "$organ$"])}, DARK)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ground truth", "teacher"]
        png(figure)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"gap_low": np.nan}, "it is 0.010 for the retrained model."),
        ({"gap_low": -0.1, "gap_high": 0.1}, "for the retrained model, and the two cannot be told apart."),
        ({"gap_low": 0.1, "gap_high": 0.3, "gap": 0.2}, "and the student draws it better by 0.200."),
        ({"gap_low": -0.3, "gap_high": -0.1, "gap": -0.2}, "and the student draws it worse by 0.200."),
    ],
)
def test_what_is_said_of_a_forgotten_class(row, said):
    known = {"class": "lesion", "value": 0.2, "reference": "retrained/test", "ideal": 0.01}
    assert forgotten_sentence(known | row, 0.8).endswith(said)
    assert forgotten_sentence(known | row, np.nan).startswith("lesion was to be forgotten: its Dice is 0.200;")


def test_volumes_of_one_channel_have_views_and_no_classes(make_run, said_of):
    folder = make_run("student")
    np.savez(folder / "examples.npz", **make_run.one_channel())
    text = said_of(folder)
    assert "Each view is the slice in which teacher and student differ most" in text
    for unsaid in ("Class by class", "What the paper reports"):
        assert unsaid not in text
