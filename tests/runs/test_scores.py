"""The table of columns is what is written, read, judged and documented."""

import re

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mu_monai.errors import InputError
from mu_monai.keys import CLASSIFICATION, SEGMENTATION
from mu_monai.measure.case_scores import case_scores
from mu_monai.runs.numbers import Metric
from mu_monai.runs.scores import (
    CLASS_NAMES,
    CLASSES,
    COLUMNS,
    MASK,
    SCORE_KEYS,
    STRUCTURES,
    columns_of,
    kind_of,
    leading_metric,
    needed_columns,
    read_scores,
    structures,
    task_of,
    utility_metrics,
)

NAMES = ["NA", "null", "None", "nan", "N/A", "", "01", "1", "1.0", "1e5", "-", "TRUE", "=1+1", "a,b", ' "x" ']


def stored(kind):
    return {column.name for column in COLUMNS if kind in column.kinds and column.stored}


def scored(kind):
    """The columns of a scored case."""
    if kind == CLASSES:
        return case_scores(torch.tensor([[0.0, 2.0]]), torch.tensor([1]), ["melanoma", "nevus"])
    label = torch.zeros(1, 1, 4, 4, 4)
    label[..., :2] = 1
    if kind == MASK:
        return case_scores(9.0 * label - 4.5, label)
    logits = torch.cat([-9.0 * label, 9.0 * label - 4.5], dim=1)
    return case_scores(logits, label, ["background", "organ"], spacing=(1, 1, 2))


@pytest.mark.parametrize("kind", [MASK, STRUCTURES, CLASSES])
def test_what_is_measured_of_a_case_are_the_columns_of_the_table(kind):
    found = scored(kind)
    numbers = {Metric.parse(name).quantity for name in found} - set(CLASS_NAMES)
    assert numbers | {"loss"} == stored(kind)  # the loss is the bundle's own
    assert kind_of(found) == kind
    assert [column for column in columns_of(found) if column.needed and not column.per_class]
    assert set(needed_columns(found)) <= {"loss", *found}


@pytest.mark.parametrize("kind", [MASK, STRUCTURES, CLASSES])
def test_the_documentation_has_every_column(repository, kind):
    text = (repository / "docs/reference/files.md").read_text(encoding="utf-8")
    section = text.split("### `scores.csv`")[1].split("\n### ")[0]
    _, *tables = section.split("| column | content |")
    mask, classes, structures = (set(documented(table)) for table in tables)
    known = {MASK: mask, CLASSES: classes | {"loss"}, STRUCTURES: structures | {"loss"}}[kind]
    assert known - set(SCORE_KEYS) - set(CLASS_NAMES) == stored(kind)


def documented(table):
    """The names in the first column; `_q50` stands for what the name before it begins with."""
    before = ""
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", row):
            before = before.rpartition("_")[0] + name if name.startswith("_") else name
            yield Metric.parse(before).quantity


def test_every_kind_has_one_column_of_a_name():
    for kind in (MASK, STRUCTURES, CLASSES):
        names = [(column.name, column.per_class) for column in COLUMNS if kind in column.kinds]
        assert len(set(names)) == len(names)
    assert all(column.sign for column in COLUMNS if column.signal)  # an attack must know which side members are on
    assert all(column.in_text for column in COLUMNS if column.signal)
    assert all(column.meaning for column in COLUMNS if column.utility and column.label)


def test_the_columns_say_what_was_scored():
    assert (task_of(["accuracy"]), leading_metric(["accuracy"])) == (CLASSIFICATION, "accuracy")
    assert (task_of(["dice", "dice[a]"]), leading_metric(pd.DataFrame({"dice": []}))) == (SEGMENTATION, "dice")
    assert structures(["dice", "dice[a [b] c]", "hd95[a [b] c]"]) == ["a [b] c"]
    assert needed_columns(["dice", "dice[a]", "hd95[a]"])[-2:] == ("dice[a]", "hd95[a]")


def test_a_metric_of_later_versions_is_left_out_where_rows_lack_it(monkeypatch):
    added = COLUMNS[4].__class__("precision", (MASK,), 1, label="Precision", utility=True)
    monkeypatch.setattr("mu_monai.runs.scores.UTILITY", {"dice": COLUMNS[4], "precision": added})
    scores = pd.DataFrame({"dice": [0.5, 0.6], "precision": [0.5, 0.6]})
    assert utility_metrics(scores) == ("dice", "precision")
    assert utility_metrics(scores.assign(precision=[0.5, float("nan")])) == ("dice",)
    assert utility_metrics(scores.drop(columns="precision")) == ("dice",)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.sampled_from([name for name in NAMES if name])
        | st.text(st.characters(blacklist_categories=("C",)), min_size=1),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_names_come_back_as_they_were_written(tmp_path, names):
    table = pd.DataFrame(dict.fromkeys((*SCORE_KEYS, *CLASS_NAMES), names) | {"loss": 0.1})
    table.to_csv(tmp_path / "scores.csv", index=False)
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), table, check_dtype=False)


def test_an_attacks_table_does_not_name_its_model(tmp_path):
    table = pd.DataFrame({name: ["NA"] for name in SCORE_KEYS[1:]} | {"loss": 0.1})
    table.to_csv(tmp_path / "a.csv", index=False)
    assert read_scores(tmp_path / "a.csv", SCORE_KEYS[1:])["patient_id"].tolist() == ["NA"]
    with pytest.raises(InputError, match="has no column 'model'"):
        read_scores(tmp_path / "a.csv")
