"""Numbers in words."""

import math

import pytest

from mu_monai.losses import FORGET_TERMS
from mu_monai.report import sentences


def row(subset="forget", reference="retrained/forget", gap=0.1, low=0.05, high=0.15, patients=4):
    names = {"subset": subset, "reference": reference, "patients": patients, "ideal": 0.8}
    return names | {"gap": gap, "gap_low": low, "gap_high": high, "drop": 0.2, "drop_low": 0.1, "drop_high": 0.3}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (row(), "higher than the retrained model by 0.100 (0.050 to 0.150): known better than a model that never saw"),
        (
            row(gap=-0.1, low=-0.15, high=-0.05),
            "lower than the retrained model by 0.100 (0.050 to 0.150): forgotten more",
        ),
        (row(reference="student/test"), "higher than its own unseen cases"),
        (row(reference="student/test", gap=-0.1, low=-0.2, high=-0.05), "worse than cases never trained on"),
        (row("retain", "teacher/retain", gap=-0.1, low=-0.2, high=-0.05), "lower than the teacher by 0.100"),
        (row("retain", "teacher/retain"), "nothing was lost here"),
        (row(low=-0.05), "cannot be told apart from the retrained model with 4 patients"),
        (row(gap=0.0, low=0.0, high=0.0), "cannot be told apart"),
        (row(low=math.nan, high=math.nan, patients=1), "With 1 patient there is no interval"),
    ],
)
def test_a_direction_only_where_the_interval_excludes_zero(given, said):
    assert said in sentences.gap_sentence(given)


def test_the_split_is_named_for_what_no_report_can_know():
    for subset in ("validation", "test"):
        assert sentences.MEANING[subset].startswith("Cases that the split keeps out of training, ")
    assert sentences.MEANING["test"].endswith("; nothing was chosen by them.")
    assert not any("trained on" in sentences.MEANING[subset] for subset in ("validation", "test"))


def test_targets():
    assert "not above (remembered), not below" in sentences.target_sentence(row())
    assert "There is no retrained model here" in sentences.target_sentence(row(reference="student/test"))
    assert "where the teacher is, 0.800" in sentences.target_sentence(row("test", "teacher/test"))
    assert "nothing in this report to compare" in sentences.target_sentence(row(reference=""))
    assert sentences.gap_sentence(row(reference="")) == ""
    assert sentences.reference_name("") == ""


def test_drops():
    assert "far above the other drops" in sentences.drop_sentence(row())
    assert "near 0" in sentences.drop_sentence(row("retain", "retrained/retain"))
    assert sentences.drop_sentence(row("retain", "teacher/retain")) == ""
    assert sentences.drop_sentence(row() | {"drop": math.nan}) == ""
    assert "(" not in sentences.drop_sentence(row() | {"drop_low": math.nan})


def test_curves():
    assert "background" in sentences.term_sentence("background", "student")
    for term in FORGET_TERMS:
        assert "forget cases" in sentences.TERMS[term] or "a forget image" in sentences.TERMS[term]
    assert "under the method's own name" in sentences.term_sentence("novel", "student")
    assert "optimizer lowers" in sentences.term_sentence("total", "teacher")
    assert "the model has memorized" in sentences.term_sentence("memorized_auc", "teacher")  # it rises, and is no loss
    assert sentences.course_sentence("dice", "student") != sentences.course_sentence("dice", "teacher")
