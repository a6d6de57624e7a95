"""The shape of a record; tests/workflow/test_damaged_records.py damages real ones."""

import pytest

from mu_monai.record import record_problems
from mu_monai.record.schema import COUNT, DIGEST, NUMBER, TIME


@pytest.mark.parametrize("value", [True, "1", None, [], float("nan"), float("inf"), 10**400])
def test_what_is_no_number(value):
    assert not NUMBER.fits(value)


@pytest.mark.parametrize("value", [True, -1, 1.0, 10**400, "1"])
def test_what_is_no_count(value):
    assert not COUNT.fits(value)


@pytest.mark.parametrize("value", ["a" * 63, "A" * 64, "a" * 64 + "\n", None])
def test_what_is_no_digest(value):
    assert not DIGEST.fits(value)


@pytest.mark.parametrize("value", ["2026-05-01", "May", 3, None])
def test_what_is_no_time(value):
    assert not TIME.fits(value)


@pytest.mark.parametrize("form", [1, 2])
def test_an_empty_record_lacks_every_field(form):
    found = record_problems({"format": form})
    assert len(found) >= 15
    assert all(problem.endswith("is missing") for problem in found)


def test_what_is_not_known_is_told():
    assert "'certified' is not known" in record_problems({"format": 2, "certified": True})


METHOD = {"name": "Own", "settings": {}}
ORIGIN = {"target": "hospital.forget.Own", "package": "hospital-forget", "version": "2.1"}


@pytest.mark.parametrize(
    ("method", "problems"),
    [
        pytest.param(METHOD, [], id="of an earlier version"),
        pytest.param(METHOD | ORIGIN, [], id="of a package"),
        pytest.param(METHOD | ORIGIN | {"package": None, "version": None}, [], id="of a file beside a bundle"),
        pytest.param(METHOD | {"target": None}, ["'method.target' is not a nonempty string"], id="no target"),
        pytest.param(METHOD | {"version": 2}, ["'method.version' is not a nonempty string or null"], id="version 2"),
        pytest.param(METHOD | {"seed": 2}, ["'method.seed' is not known"], id="something else"),
        pytest.param({"name": "Own"}, ["'method.settings' is missing"], id="no settings"),
    ],
)
def test_a_method_may_be_told_from_others_of_its_name(method, problems):
    found = record_problems({"format": 2, "method": method})
    assert [problem for problem in found if problem.startswith("'method")] == problems


def test_what_an_attack_never_reached_has_no_value_and_everything_else_has():
    audit, records = {"records": [{"value": None}]}, {"utility": [{"value": None}], "membership": []}
    found = record_problems({"format": 2, "audit": audit, "verdict": {"rules": None}, "records": records})
    assert "'audit.records.0.value' is not a finite number or null" not in found
    assert "'records.utility.0.value' is not a finite number" in found
    assert "'verdict.rules' is not a count" in found
    assert "'verdict.rules' is missing" not in record_problems({"format": 2, "audit": {}, "verdict": {}})
