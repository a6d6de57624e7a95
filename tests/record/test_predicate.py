"""Predicates: what was run and measured, where it ends, and no promise."""

import json
from pydoc import locate

import pytest

from mu_monai.record import commitment, limitations, predicate
from mu_monai.record.predicate import in_what_sense

RUN = {
    "method": {"name": "EraseToRetain", "settings": {"forget_weight": 3.0}},
    "sha256": {"split": "a1", "config": "b2", "weights": "c3"},
    "seed": 4,
    "split": {
        "file": "/home/anna/split.json",
        "provenance": {
            "source": "/home/anna/images",
            "phantom": False,
            "selector": {"kind": "ids", "value": ["anna"]},
            "near_duplicates": [{"forget": "anna"}],
            "counts": {"forget": {"patients": 1, "cases": 2}},
        },
    },
}
RELEASE = {"weights": {"student": "c3"}, "tensors": {"changed": ["a"], "as_before": ["b", "c"]}}
SALT = b"a salt"


def said(runs, audit=None):
    return predicate(runs, RELEASE, {"utility": [{"value": 1.0, "n_cases": 5}]}, {"seed": 0}, audit, salt=SALT)


def test_it_says_what_was_run():
    found = said({"student": RUN, "retrained": {"verb": "train"}})
    assert found["method"] == RUN["method"]
    assert found["split"] == {"patients": {"forget": 1}, "phantom": False}
    assert found["tensors"] == {"changed": 1, "as_before": 2}
    assert found["runs"]["retrained"] == {"verb": "train"}


def test_it_names_the_class_and_the_package_of_the_method_where_the_run_knows_them():
    origin = {"target": "hospital.forget.Own", "package": "hospital-forget", "version": "2.1"}
    method = {"name": "Own", "settings": {}, **origin}
    found = said({"student": RUN | {"method": method | {"something_else": 1}}})
    assert found["method"] == method


@pytest.mark.parametrize(
    ("target", "exact"),
    [
        ("mu_monai.methods.shard_refit.ShardRefit", True),
        ("mu_monai.methods.rollback.Rollback", True),
        ("mu_monai.methods.retraining.Retraining", True),
        ("mu_monai.methods.rewind.Rewind", False),
        ("hospital.forget.ShardRefit", False),
    ],
)
def test_only_routes_that_never_saw_the_forgotten_are_called_exact(target, exact):
    method = {"name": target.rpartition(".")[2], "settings": {}, "target": target}
    first = next(iter(limitations(said({"student": RUN | {"method": method}}))))
    assert first.startswith("Unlearning is approximate: ") != exact
    assert in_what_sense(method) == first
    assert locate(target) is not None or not exact


def test_it_says_in_what_precision_and_by_how_many_processes():
    now, earlier = ({"precision": "bf16", "processes": 2}, {"precision": ""})
    runs = said({"student": RUN | now, "teacher": earlier})["runs"]
    assert (runs["student"]["precision"], runs["student"]["processes"]) == ("bf16", 2)
    assert "precision" not in runs["teacher"]


def test_it_leaves_out_who_was_chosen_and_what_a_guess_can_be_compared_with():
    retrained = {"seed": 5, "sha256": {"config": "d4", "weights": "e5"}}
    found = json.dumps(said({"student": RUN, "retrained": retrained}, {"seed": 6, "records": [{"n_cases": 7}]}))
    for secret in ("anna", '"a1"', '"b2"', '"d4"', '"e5"', '"seed": 4', '"seed": 5', '"seed": 6', "cases"):
        assert secret not in found, secret


def test_it_commits_to_them():
    retrained = {"seed": 5, "sha256": {"config": "d4", "weights": "e5"}}
    found = said({"student": RUN, "retrained": retrained}, {"seed": 6})["commitments"]
    values = {"split": "a1", "student.config": "b2", "student.seed": 4, "retrained.config": "d4", "retrained.seed": 5}
    values |= {"retrained.weights": "e5", "audit.seed": 6}
    assert found == {name: commitment(name, value, SALT) for name, value in values.items()}


@pytest.mark.parametrize(
    ("audit", "text"),
    [
        (None, "No audit was run"),
        ({"records": [{"attack": ""}]}, "No attack on the weights was tried"),
        ({}, "2 of the 3 tensors of the model are as they were"),
        ({}, "1 forgotten patient: the fewer"),
        ({}, "no model retrained"),
        ({}, "It is not stated that nothing"),
        ({}, "compared with guesses"),
    ],
)
def test_it_says_where_it_ends(audit, text):
    assert any(text in sentence for sentence in limitations(said({"student": RUN}, audit)))


def test_what_the_first_format_said_is_still_read():
    old = {"format": 1, "audit": "not audited", "runs": {}, "tensors": {"changed": 1, "as_before": 2}}
    found = list(limitations(old | {"split": {"counts": {"forget": {"patients": 3, "cases": 9}}}}))
    assert "3 forgotten patients: the fewer, the wider the intervals." in found
    assert not any("guesses" in sentence for sentence in found)


def test_an_audit_is_taken_over_and_single_patients_are_not():
    audit = {
        "records": [{"attack": "int8", "value": float("nan")}],
        "verdict": {"label": "MATCHED"},
        "patients": ["anna"],
    }
    found = said({"student": RUN}, audit)
    assert found["verdict"] == {"label": "MATCHED"}
    assert found["audit"] == {"records": [{"attack": "int8", "value": None}]}
    assert not any("No attack" in sentence for sentence in limitations(found))
