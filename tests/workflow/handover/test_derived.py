"""What follows from an audit's numbers, and what does not."""

from dataclasses import asdict, replace

import pytest

from mu_monai.audit import Record, verdict
from mu_monai.errors import InputError
from mu_monai.record import without_cases, without_nan
from mu_monai.workflow.handover.derived import gap_problems, same, scored_problems, verdict_problems

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
    assert list(scored_problems(audit["records"], {"membership": audit["records"]})) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("label", "MATCHED"), ("needed_patients", 5), ("evidence", []), ("rule", "none"), ("sentence", ""), ("but", "")],
)
def test_another_verdict_is_told(audit, key, value):
    (problem,) = verdict_problems(audit["verdict"] | {key: value}, audit["records"])
    assert problem.startswith(f"the verdict's {key}")
    words = list(verdict_problems(audit["verdict"] | {key: value}, audit["records"], words=False))
    assert bool(words) == (key in ("label", "needed_patients", "evidence"))


def shallow(**changes):
    """An audit whose verdict is MATCHED by the rules of earlier versions, and SHALLOW by those of this one."""
    place = {"subset": "forget", "n_patients": 30, "n_cases": 60, "reference": "retrained/forget"}
    numbers = {"value": 0.5, "low": 0.49, "high": 0.51, "gap": 0.0, "gap_low": -0.01, "gap_high": 0.01, "ideal": 0.5}
    main = Record(model="student", metric="auc[loss]", **place, **numbers)
    moved = {"metric": "rebound", "attack": "retain-finetuning", "value": 0.3, "gap": 0.3, "ideal": 0.0}
    return [main, replace(main, **(moved | changes)), FOUND[2]]


def said_by(records, rules):
    found = asdict(verdict(records, n_unseen=30, rules=rules))
    return found if rules > 1 else {key: value for key, value in found.items() if key != "rules"}


def test_a_verdict_is_derived_by_the_rules_of_its_version():
    records = shallow()
    entries = without_cases(without_nan([asdict(record) for record in records]))
    earlier, now = (without_cases(without_nan(said_by(records, rules))) for rules in (1, 2))
    assert (earlier["label"], now["label"]) == ("MATCHED", "SHALLOW")
    for said in (earlier, now):
        assert list(verdict_problems(said, entries)) == []
    assert any("label" in problem for problem in verdict_problems(earlier | {"rules": 2}, entries))
    assert any("label" in problem for problem in verdict_problems(now | {"rules": 1}, entries))
    with pytest.raises(InputError, match="rules=9 are not known"):
        list(verdict_problems(now | {"rules": 9}, entries))


def test_numbers_of_this_version_are_not_judged_by_earlier_rules():
    records = shallow(attack="retain-finetuning[lr=0.001]")
    entries = without_nan([asdict(record) for record in records])
    (problem,) = verdict_problems(without_nan(said_by(records, 1)), entries)
    assert problem == "the verdict is by rules 1, and attacks that name their learning rate came with rules 2"


def test_fewer_unseen_patients_give_another_verdict(audit):
    audit["records"][2]["n_patients"] = 3
    assert any("CANNOT TELL" in problem for problem in verdict_problems(audit["verdict"], audit["records"]))


def test_a_gap_that_is_no_difference_is_told(audit):
    audit["records"][1]["value"] = 0.6
    (problem,) = gap_problems(audit["records"])
    assert problem.startswith("the gap of auc[loss] of the student on forget is 0.4")


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        *((place, field, 0.6) for place in (0, 1, 2) for field in ("value", "low", "high")),
        *((0, "n_patients", 400), (1, "n_patients", 400), (2, "n_patients", 400), (1, "high", None)),
        *((0, "gap", 0.0), (0, "gap_low", 0.38), (0, "gap_high", 0.42)),
        *((0, "reference", ""), (0, "reference", "retrained/test")),
    ],
)
def test_other_numbers_than_the_scores_give_are_told(audit, place, field, value):
    """Of every model, and not of the student alone: the teacher's and the unseen patients' decide as well."""
    scored = {"membership": audit["records"]}
    other = [entry | ({field: value} if number == place else {}) for number, entry in enumerate(audit["records"])]
    (problem, *_) = scored_problems(other, scored)
    model = audit["records"][place]["model"]
    assert f" of the {model} on " in problem
    assert field == "value" or f"({field}) is {value!r} in the audit, and the scores give " in problem


def test_intervals_of_other_draws_may_differ_as_far_as_draws_do(audit):
    def within(shift):
        return [{**entry, "low": entry["low"] - shift, "high": entry["high"] + shift} for entry in audit["records"]]

    bounds = tuple({"membership": within(shift)} for shift in (0.01, -0.01))
    for shift in (-0.009, 0.0, 0.009):
        assert list(scored_problems(within(shift), {"membership": audit["records"]}, bounds)) == []
    for shift in (-0.02, 0.02):
        told = list(scored_problems(within(shift), {"membership": audit["records"]}, bounds))
        assert len(told) == 2 * len(audit["records"])
        assert "and the scores give a value between 0.79 and 0.81" in told[0]


def test_a_number_that_decides_cannot_be_left_out(audit):
    (problem,) = scored_problems(audit["records"][::2], {"membership": audit["records"]})
    assert problem == "auc[loss] of the retrained on forget is not in the audit, and the scores give it"


def test_records_without_the_main_number_are_told():
    with pytest.raises(InputError, match=r"the student's auc.*on forget"):
        list(verdict_problems({}, []))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [(1, 1.0, True), (1, True, False), (None, 0, False), ([1.0], [1.0 + 1e-12], True), (10**400, 10**400 + 1, False)],
)
def test_equal_is_to_a_tolerance_and_of_one_kind(one, other, equal):
    assert same(one, other) is equal
