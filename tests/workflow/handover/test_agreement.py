"""Whether the evidence is of the patients that a record counts, and of those whom the split names."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from mu_monai.record import hash_ids
from mu_monai.workflow.handover.agreement import evidence_problems, member_problems

SALT = b"a salt"
PEOPLE = {"retain": ["a", "b", "c"], "forget": ["d", "e"], "validation": [], "test": ["f", "g"]}


def said(**changes):
    patients = {name: len(people) for name, people in PEOPLE.items()}
    runs = {"teacher": {}, "student": {}}
    return {"format": 2, "split": {"patients": patients}, "forget_classes": [], "runs": runs} | changes


def split():
    """Two cases of each patient."""
    rows = {
        name: [{"patient_id": one, "case_id": f"{one}{number}"} for one in people for number in (1, 2)]
        for name, people in PEOPLE.items()
    }
    return SimpleNamespace(path=Path("split.json"), rows=rows)


def scores(relabeled=None):
    """The evidence of two models, with other subsets for some patients of the student."""
    rows = [
        {
            "model": model,
            "subset": (relabeled or {}).get(row["patient_id"], name) if model == "student" else name,
            **row,
        }
        for model in ("teacher", "student")
        for name, cases in split().rows.items()
        for row in cases
    ]
    return hash_ids(pd.DataFrame(rows).assign(loss=0.1), SALT)


def test_evidence_of_the_split_agrees():
    assert list(evidence_problems(scores(), said())) == []
    assert list(member_problems(scores(), split(), SALT)) == []


def test_unseen_patients_cannot_stand_for_the_forgotten():
    """The numbers of patients are as stated, and only the split tells who they are."""
    swapped = scores({"d": "test", "e": "test", "f": "forget", "g": "forget"})
    assert list(evidence_problems(swapped, said())) == []
    assert list(member_problems(swapped, split(), SALT)) == [
        "the evidence of the student has 4 cases of 'forget', and 0 of them are among the 4 of the split",
        "the evidence of the student has 4 cases of 'test', and 0 of them are among the 4 of the split",
    ]


@pytest.mark.parametrize("number", [1, 3])
def test_nobody_is_missing_or_added(number):
    evidence = scores()
    of_forget = evidence[(evidence["model"] == "student") & (evidence["subset"] == "forget")]
    fewer = evidence.drop(of_forget.index[:number])
    (problem,) = member_problems(fewer, split(), SALT)
    assert problem == (
        f"the evidence of the student has {4 - number} cases of 'forget', and {4 - number} of them are among the 4 of "
        "the split"
    )
    more = pd.concat([evidence, of_forget.head(1).assign(case_id="case-0")])
    (problem,) = member_problems(more, split(), SALT)
    assert "has 5 cases of 'forget', and 4 of them" in problem
    assert len(list(member_problems(evidence, split(), b"another salt"))) == 6


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_every_model_is_measured_on_everybody_whom_the_record_counts(model):
    evidence = scores()
    without = evidence[(evidence["model"] != model) | (evidence["subset"] != "forget")]
    nothing = f"the evidence has no case of the {model} that was to be forgotten, so nothing was measured on them"
    counted = f"'split.patients.forget' is 2, and the evidence of the {model} has 0"
    assert list(evidence_problems(without, said())) == [nothing, counted]
    assert list(evidence_problems(without, said(split={"patients": {}}))) == [nothing]
    assert list(evidence_problems(without, said(forget_classes=["lesion"]))) == [counted]
    assert list(evidence_problems(without, {"format": 1})) == []
    assert nothing in list(evidence_problems(evidence[evidence["model"] != model], said()))


def test_a_subset_that_the_record_does_not_count_is_told():
    (first, _) = evidence_problems(scores(), said(split={"patients": {"retain": 3, "forget": 2}}))
    assert first == "'split.patients.test' is 0, and the evidence of the student has 2"
