"""The written report: files, content, and what it must never do."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mu_monai.errors import InputError
from mu_monai.report import page, write_report
from mu_monai.report.figures import LIGHT, png
from mu_monai.report.plots import report_plots
from mu_monai.runs import Runs, open_runs
from mu_monai.tables import is_formula
from tests.report.conftest import KINDS, make_examples, tables_of, undrawn


def write(folders, out):
    tables = tables_of(folders)
    return write_report(tables.runs, tables.records, out)


def test_the_whole_report(page_of, text_of):
    index = page_of("masks")
    out, text = index.parent, text_of(index)
    for said in (
        "asked to forget 4 patients (12 cases) and to keep what it learned from 14 patients (56 cases)",
        "10 % of the training patients, drawn at random",
        "Phantom data.",
        "1 near-duplicate of forgotten cases.",
        "EraseToRetain",
        "2026-01-31 12:00 UTC",
        "2.83 %",
        "0.74M of 25.17M = 2.93 %",
        "every gap is student minus retrained model",
        "forgotten more than by a model that never saw them",
        "0.6332 / 0.5091",
        "nobody chose them by how they look",
        "adapters off equal the teacher bit for bit",
        "No legal guarantee.",
    ):
        assert said in text
    assert "failed" not in text
    order = [
        text.index(name) for name in ("Model size", "Dice per subset", "How it got there", "Examples", "Self-checks")
    ]
    assert order == sorted(order)
    records = pd.read_csv(out / "tables/records.csv")
    assert {"dice", "iou", "loss", "dice_drop"} <= set(records["metric"])
    names = {path.name for path in (out / "figures").iterdir()}
    assert {"utility.png", "utility-dark.png", "gallery.png", "student-background.png"} <= names
    for path in (out / "figures").iterdir():
        assert np.asarray(Image.open(path)).std() > 1


class Nesting(HTMLParser):
    """Fails where an element is closed that is not open, and remembers ids."""

    EMPTY = ("meta", "img", "source", "br")

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


def test_the_page_is_well_formed(any_page):
    html = any_page.read_text(encoding="utf-8")
    parser = Nesting()
    parser.feed(html)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    labels = re.findall(r'aria-labelledby="([^"]+)"', html)
    assert set(labels) == set(parser.ids)
    for body in re.findall(r"<table.*?</table>", html, re.DOTALL):
        head = re.search(r"<thead>(.*?)</thead>", body, re.DOTALL)[1].count("<th ")
        for row in re.findall(r"<tr.*?</tr>", body.split("</thead>")[1], re.DOTALL):
            spans = [int(span) for span in re.findall(r'colspan="(\d+)"', row)]
            assert (spans or [len(re.findall(r"<t[hd][ >]", row))]) == [head], row


def test_the_page_needs_nothing_from_outside(any_page):
    html = any_page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert not re.findall(r'(?:src|srcset|href)="(?!data:image/png;base64,)', html)
    assert not re.findall(r"url\(|@import|https?://", html)
    assert 'name="viewport"' in html
    assert all(re.findall(r"<img[^>]*alt=\"([^\"]*)\"", html))
    assert not re.findall(r"<th(?![^>]*scope=)[ >]", html)


def test_without_a_retrained_model(make_run, said_of):
    text = said_of(make_run("student", figures=False))
    assert "There is no retrained model here, so the student should be where its own unseen cases are" in text
    assert "None is given here." in text
    assert "retrained model on the same cases" not in text


def test_without_images(make_run, said_of):
    folder = make_run("student")
    assert "written without images of patients" in said_of(folder, images=False)
    assert "gallery" not in report_plots(tables_of([folder]), images=False)
    assert "gallery" in report_plots(tables_of([folder]), images=True)


def test_without_examples_curve_and_checks(make_run, said_of):
    folder = make_run("student", figures=False, checks=[], parameters={}, seconds=None, split=None, started="soon")
    text = said_of(folder)
    assert "no example images" in text
    assert "recorded no checks" in text
    assert "How it got there" not in text
    assert "Phantom data" not in text
    assert "Forget set not recorded" in text


def test_a_training_run_alone(make_run, said_of):
    text = said_of(make_run("teacher"))
    assert "Training report" in text
    assert "nothing has been unlearned" in text
    assert "should be near 0" not in text
    for of_a_student in ("the student", "|T ", "its tick", "it should not drop", "The gap of", "Removing the adapter"):
        assert of_a_student not in text, of_a_student
    assert "nothing is compared" in text
    assert "Cases to forget teacher" in text


def test_one_forgotten_patient(make_run, said_of):
    folder = make_run("student", figures=False)
    table = pd.read_csv(folder / "scores.csv")
    table[~table["patient_id"].isin([f"forget_p0{i}" for i in (1, 2, 3)])].to_csv(folder / "scores.csv", index=False)
    assert "With 1 patient there is no interval" in said_of(folder)


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"kind": "ids", "value": ["a", "b"]}, "2 ids of patients or cases, as given"),
        ({"kind": "where", "value": "device == 'a'"}, "all cases where device == &#39;a&#39;"),
    ],
)
def test_selectors(make_run, selector, said, said_of):
    split = {"file": "split.json", "provenance": {"selector": selector}}
    assert said in said_of(make_run("student", figures=False, split=split))


def test_failed_checks_and_warnings_stand_at_the_top(make_run, said_of):
    checks = [{"name": "all weights are finite", "passed": False, "detail": "conv.weight"}]
    folder = make_run("student", figures=False, checks=checks, warnings=["hardly anything was forgotten"])
    text = said_of(folder)
    assert text.index("1 self-check failed.") < text.index("hardly anything was forgotten") < text.index("Model size")
    assert "✗ failed" in text


def test_many_near_duplicates_are_cut_short(make_run, said_of):
    pairs = [{"forget": f"f{i}", "other": f"o{i}", "subset": "test", "distance": 1} for i in range(25)]
    folder = make_run("student", figures=False, split={"provenance": {"near_duplicates": pairs}})
    text = said_of(folder)
    assert "25 near-duplicates" in text
    assert "The other 5 are in" in text
    assert len(tables_of([folder]).files()["near_duplicates"]) == 25


def test_text_from_files_is_escaped_and_stays_in_the_folder(make_run):
    folder = make_run("student", warnings=["<img src=x onerror=alert(1)>"])
    pd.DataFrame({"epoch": [1, 2], "../../guard": [0.3, 0.2]}).to_csv(folder / "curve.csv", index=False)
    tables = tables_of([folder])
    assert "<img src=x" not in undrawn(tables)
    assert "student-_guard" in report_plots(tables, images=True)


def test_gray_oblong_images(make_run):
    folder = make_run("student")
    with np.load(folder / "examples.npz") as arrays:
        half = {name: array[:, :32] if array.ndim > 1 else array for name, array in arrays.items()}
    long_ids = np.array([f"{'x' * 40}{case}" for case in half["case_id"]])
    np.savez(folder / "examples.npz", **half | {"image": half["image"][..., :1], "case_id": long_ids})
    figure = report_plots(tables_of([folder]), images=True)["gallery"].draw(LIGHT)
    size = Image.open(BytesIO(png(figure))).size
    assert size[0] > size[1]


def test_an_earlier_report_is_replaced_and_nothing_else_is(make_run, tmp_path):
    folder, out = make_run("student", figures=False), tmp_path / "out"
    write([folder], out)
    (out / "figures/old.png").write_bytes(b"")
    write([folder], out)
    assert not (out / "figures/old.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"'thesis\.tex'.*not part of a report"):
        write([folder], out)
    with pytest.raises(InputError, match="exists and is not a folder"):
        write([folder], out / "thesis.tex")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["index.html"], r"its index\.html does not say that mu-monai wrote it"),
        (["index.html", "figures/a.png", "tables/a.csv"], r"its index\.html does not say that mu-monai wrote it"),
        (["figures/a.png", "tables/a.csv"], r"its index\.html is missing"),
        (["index.html/a.html"], r"its index\.html does not say"),
    ],
)
def test_a_folder_that_only_looks_like_a_report_stays(make_run, tmp_path, files, message):
    folder, out = make_run("student", figures=False), tmp_path / "out"
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("<!DOCTYPE html><title>my own page</title> not by mu-monai", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        write([folder], out)
    assert all("my own page" in (out / name).read_text(encoding="utf-8") for name in files)


def test_an_empty_folder_is_filled(make_run, tmp_path):
    (tmp_path / "out").mkdir()
    html = write([make_run("student", figures=False)], tmp_path / "out").read_text(encoding="utf-8")
    assert '<meta name="generator" content="mu-monai ' in html[:300]


@pytest.mark.parametrize(
    ("subsets", "banner", "divided"),
    [
        (["forget"], "No patient ids for 12 of 101 cases.", "by patient, or by image where no patient id is known,"),
        (["retain", "forget", "validation", "test"], "No patient ids for 101 of 101 cases.", "by image, and"),
        ([], None, "divided by patient, and every interval"),
    ],
)
def test_images_without_patient_ids(make_run, subsets, banner, divided, said_of):
    folder = make_run("student", figures=False)
    table = pd.read_csv(folder / "scores.csv")
    table["patient_id"] = table["patient_id"].mask(table["subset"].isin(subsets), table["case_id"])
    table.to_csv(folder / "scores.csv", index=False)
    text = said_of(folder)
    assert divided in text
    assert ("No patient ids" in text) == bool(banner)
    assert ("images of one person may lie in different subsets" in text) == bool(banner)
    assert banner is None or text.index(banner) < text.index("Model size")


def test_subsets_that_are_not_divided_by_patient(make_run, said_of):
    provenance = {"group_by": "lesion_id", "selector": {"kind": "fraction", "value": 0.1}}
    split = {"file": "split.json", "provenance": provenance}
    text = said_of(make_run("student", figures=False, split=split))
    assert "The subsets are divided by lesion_id , not by patient." in text
    assert "The subsets are divided by lesion_id, not by patient, and every interval" in text
    assert "divided by patient" not in text
    assert "10 % of the groups by lesion_id in training, drawn at random" in text
    assert "of the training patients" not in text


def test_a_failure_leaves_the_earlier_report_whole(make_run, tmp_path, monkeypatch):
    folder, out = make_run("student", figures=False), tmp_path / "out"
    before = write([folder], out).read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(page, "_write_tables", fail)
    with pytest.raises(OSError, match="no space left"):
        write([folder], out)
    assert (out / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


def test_records_without_a_column(make_run, tmp_path):
    with pytest.raises(ValueError, match="the records have no column ideal"):
        write_report(open_runs([make_run("student")]), pd.DataFrame(columns=page.RECORD_COLUMNS[:-1]), tmp_path / "out")


def test_the_same_input_gives_the_same_report(make_run):
    folder = make_run("student", figures=False)
    np.savez(folder / "examples.npz", **make_examples(("teacher", "student"), size=16))
    one, two = (tables_of([folder]) for _ in range(2))
    assert undrawn(one) == undrawn(two)
    for name in ("utility", "gallery"):
        first, second = (report_plots(tables, images=True)[name].draw(LIGHT) for tables in (one, two))
        assert png(first) == png(second)


def test_every_table_is_built_once(make_run, monkeypatch):
    built = []

    def counted(self):
        built.append(self)
        return pd.concat([run.scores for run in self.by_role.values()], ignore_index=True)

    monkeypatch.setattr(Runs, "scores", property(counted))
    tables = tables_of([make_run("student")])
    built.clear()
    undrawn(tables)
    files = tables.files()
    assert len(built) == 1
    assert all(table is again for table, again in zip(files.values(), tables.files().values(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_matplotlib_is_left_as_it_was(report_of, kind):
    before, after = report_of(kind).settings
    assert after == before


def test_neither_torch_nor_pyplot_is_loaded():
    code = "import sys, mu_monai.report; print([n for n in ('torch', 'matplotlib.pyplot') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_drawn_as_they_are_and_never_as_formulas(report_of, kind):
    """Two `$` make a formula in matplotlib, which fails where it is not one."""
    drawn = report_of(kind).drawn
    assert drawn
    assert not [text for text, parsed in drawn if parsed or "mathdefault" in text]


def test_tables_that_people_open_hold_no_formulas(make_run, tmp_path):
    folder = make_run("student")
    scores = pd.read_csv(folder / "scores.csv")
    scores["patient_id"] = scores["patient_id"].map(lambda name: f'=HYPERLINK("http://x", "{name}")')
    scores.to_csv(folder / "scores.csv", index=False)
    tables = tables_of([folder])
    assert tables.scores["patient_id"].str.startswith("=HYPERLINK").all()
    page._write_tables(tables, tmp_path / "tables")
    for file in (tmp_path / "tables").glob("*.csv"):
        cells = pd.read_csv(file, dtype=str, keep_default_na=False).map(is_formula)
        assert not cells.any().any(), file


def test_a_model_from_elsewhere_is_not_said_to_have_been_made_here(make_run, said_of):
    unknown = {"total": 1_626_072, "coverage": "not known"}
    page = said_of(make_run("student", figures=False, verb="audit", method=None, parameters=unknown))
    assert "what of it was trained is not known" in page
    assert "Adapters over" not in page
    assert "Wall time" not in page  # that of scoring it


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        ("copies of 9 of 9 layers", "Copies of the weights are trained"),
        ("adapters in 9 of 9 layers", "Adapters over frozen weights"),
    ],
)
def test_what_a_student_trains_is_said_by_its_coverage(make_run, said_of, coverage, said):
    parameters = {"total": 1_626_072, "trainable": 1_600_000, "share": 0.98, "coverage": coverage}
    text = said_of(make_run("student", figures=False, parameters=parameters))
    assert said in text
    assert ("Frozen layers stay as they were" in text) == coverage.startswith("adapters")


def test_a_teacher_that_was_trained_in_shards_has_adapters(make_run, said_of):
    parameters = {"total": 1_626_072, "trainable": 16_000, "share": 0.01, "coverage": "adapters in 9 of 9 layers"}
    text = said_of(make_run("teacher", figures=False, parameters=parameters))
    assert "Adapters over frozen weights" in text
    assert "All weights are trained" not in text
