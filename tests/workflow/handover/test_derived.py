"""What follows from an audit's numbers, and what does not."""

from dataclasses import asdict

import pytest

from mu_monai.audit import Record, verdict
from mu_monai.errors import InputError
from mu_monai.record import without_cases, without_nan
from mu_monai.workflow.handover.derived import gap_problems, same, student_problems, verdict_problems

NUMBERS = {"low": 0.8, "high": 0.95, "n_patients": 30, "n_cases": 60, "ideal": 0.5}
GAP = {"reference": "retrained/forget", "gap": 0.4, "gap_low": 0.3, "gap_high": 0.5}
PLACE = {"subset": "forget", "metric": "auc[loss]"}
FOUND = [
    Record(model="student", value=0.9, **PLACE, **NUMBERS, **GAP),
    Record(model="retrained", value=0.5, **PLACE, **NUMBERS, **GAP | {"reference": "", "gap": float("nan")}),
    Record(model="student", subset="test", metric="loss", value=0.1, **NUMBERS, **GAP | {"reference": ""}),
]


@pytest.fixture(params=[without_nan, lambda content: without_cases(without_nan(content))], ids=["audit", "record"])
def audit(request):
    said = {"verdict": asdict(verdict(FOUND, n_unseen=30)), "records": [asdict(record) for record in FOUND]}
    return request.param(said)


def test_what_the_audit_says_follows(audit):
    assert audit["verdict"]["label"] == "UNDER-FORGOTTEN"
    assert list(verdict_problems(audit["verdict"], audit["records"])) == []
    assert list(gap_problems(audit["records"])) == []
    assert list(student_problems(audit["records"], {"membership": audit["records"]})) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("label", "MATCHED"), ("needed_patients", 5), ("evidence", []), ("rule", "none"), ("sentence", ""), ("but", "")],
)
def test_another_verdict_is_told(audit, key, value):
    (problem,) = verdict_problems(audit["verdict"] | {key: value}, audit["records"])
    assert problem.startswith(f"the verdict's {key}")
    words = list(verdict_problems(audit["verdict"] | {key: value}, audit["records"], words=False))
    assert bool(words) == (key in ("label", "needed_patients", "evidence"))


def test_fewer_unseen_patients_give_another_verdict(audit):
    audit["records"][2]["n_patients"] = 3
    assert any("CANNOT TELL" in problem for problem in verdict_problems(audit["verdict"], audit["records"]))


def test_a_gap_that_is_no_difference_is_told(audit):
    audit["records"][1]["value"] = 0.6
    (problem,) = gap_problems(audit["records"])
    assert problem.startswith("the gap of auc[loss] of the student on forget is 0.4")


def test_other_values_than_the_scores_give_are_told(audit):
    other = [audit["records"][0] | {"value": 0.8}]
    assert len(list(student_problems(audit["records"], {"membership": other}))) == 1


def test_records_without_the_main_number_are_told():
    with pytest.raises(InputError, match=r"the student's auc.*on forget"):
        list(verdict_problems({}, []))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [(1, 1.0, True), (1, True, False), (None, 0, False), ([1.0], [1.0 + 1e-12], True), (10**400, 10**400 + 1, False)],
)
def test_equal_is_to_a_tolerance_and_of_one_kind(one, other, equal):
    assert same(one, other) is equal
