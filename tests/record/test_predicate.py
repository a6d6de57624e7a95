"""Predicates: what was run and measured, where it ends, and no promise."""

import json

import pytest

from mu_monai.record import predicate

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


def test_it_says_what_was_run():
    said = predicate({"student": RUN, "retrained": {"seed": 5}}, RELEASE, {"utility": []}, {"seed": 0}, None)
    assert said["method"] == RUN["method"]
    assert said["split"]["sha256"] == "a1"
    assert said["split"]["counts"] == {"forget": {"patients": 1, "cases": 2}}
    assert {role: run["seed"] for role, run in said["runs"].items()} == {"student": 4, "retrained": 5}
    assert said["tensors"] == {"changed": 1, "as_before": 2}


def test_it_leaves_out_who_was_chosen():
    assert "anna" not in json.dumps(predicate({"student": RUN}, RELEASE, {}, {}, None))


@pytest.mark.parametrize(
    ("audit", "text"),
    [
        (None, "No audit was run"),
        ({"records": [{"attack": ""}]}, "No attack on the weights was tried"),
        ({}, "2 of the 3 tensors of the model are as they were"),
        ({}, "1 forgotten patient: the fewer"),
        ({}, "no model retrained"),
        ({}, "It does not state that nothing"),
    ],
)
def test_it_says_where_it_ends(audit, text):
    said = predicate({"student": RUN}, RELEASE, {}, {}, audit)
    assert any(text in sentence for sentence in said["limitations"])


def test_an_audit_is_taken_over_and_single_patients_are_not():
    audit = {
        "records": [{"attack": "int8", "value": float("nan")}],
        "verdict": {"label": "MATCHED"},
        "patients": ["anna"],
    }
    said = predicate({"student": RUN}, RELEASE, {}, {}, audit)
    assert said["verdict"] == {"label": "MATCHED"}
    assert said["audit"] == {"records": [{"attack": "int8", "value": None}]}
    assert not any("No attack" in sentence for sentence in said["limitations"])
