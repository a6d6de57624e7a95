"""The table of forget terms, and what contradicts what."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import FrozenInstanceError

import pytest
import torch

from mu_monai.losses import FORGET_TERMS, Entropy, LabelFlip, TeacherContradiction, contradictions, unrestrictable

NAMES = list(FORGET_TERMS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("softmax", [False, True])
def test_a_term_takes_what_the_table_says(name, softmax):
    term = FORGET_TERMS[name].make(softmax=softmax)
    assert tuple(inspect.signature(term.forward).parameters) == FORGET_TERMS[name].inputs
    assert getattr(term, "softmax", softmax) is softmax


def test_a_term_takes_its_own_settings():
    assert FORGET_TERMS["teacher_contradiction"].make(softmax=True, threshold=0.9).threshold == 0.9


def test_the_table_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        FORGET_TERMS["entropy"].answer = None


@pytest.mark.parametrize("name", NAMES)
def test_one_term_alone_never_contradicts_itself(name):
    assert contradictions([name], "segmentation") == []


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(NAMES, 2)))
def test_every_pair(one, other):
    answers = {FORGET_TERMS[one].answer, FORGET_TERMS[other].answer} - {None}
    problems = contradictions([one, other], "segmentation")
    assert contradictions([one, other], "segmentation", mixed_targets=True) == []
    if len(answers) < 2:
        assert problems == []
        return
    (sentence,) = problems
    assert one in sentence
    assert other in sentence
    assert "method#mixed_targets=true" in sentence
    assert sentence.endswith(
        "choose one, or set method#mixed_targets=true to sum them as section 3 of arXiv 2511.16574 does"
    )


def test_terms_of_the_same_answer_are_named_together_in_one_sentence():
    (sentence,) = contradictions(["label_flip", "entropy", "teacher_contradiction", "repulsion"], "segmentation")
    assert (
        "label_flip and teacher_contradiction to the opposite of the label or the teacher, entropy to even" in sentence
    )
    assert "repulsion" not in sentence


def test_different_answers_do_pull_apart():
    """At the one's minimum the other is not at its own: what the refusal of the pair claims."""
    teacher = torch.tensor([[[[8.0, -8.0]]]])
    opposite, undecided = -teacher, 0 * teacher
    assert TeacherContradiction()(opposite, teacher) < TeacherContradiction()(undecided, teacher)
    assert LabelFlip()(opposite, (teacher > 0).float()) < LabelFlip()(undecided, (teacher > 0).float())
    assert Entropy()(undecided) < Entropy()(opposite)


@pytest.mark.parametrize("name", ["background", "mean_probability", "total_variation"])
def test_what_speaks_of_pixels_has_no_meaning_for_classes(name):
    (sentence,) = contradictions([name], "classification")
    fitting = [other for other, term in FORGET_TERMS.items() if "classification" in term.tasks]
    assert sentence == (f"the forget term '{name}' does not apply to classification; use one of {', '.join(fitting)}")


def test_mixed_targets_excuse_nothing_else():
    assert len(contradictions(["background", "entropyy", "entropy"], "classification", mixed_targets=True)) == 2


def test_an_unknown_term_is_named_with_the_nearest_known_one():
    (sentence,) = contradictions(["label-flip"], "segmentation")
    assert sentence == (
        f"the forget term 'label-flip' is not known; use one of {', '.join(FORGET_TERMS)}; did you mean 'label_flip'?"
    )


def test_every_problem_is_a_sentence_of_its_own():
    problems = contradictions({"background": 1.0, "nonsense": 1.0, "uniform": 0.5}, "classification")
    assert [next(word for word in ("known", "apply", "pull") if word in text) for text in problems] == [
        "known",
        "apply",
        "pull",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_speaks_of_whole_images_cannot_forget_classes_of_a_mask(name):
    problems = list(unrestrictable([name, "nonsense"]))
    assert len(problems) == (name in ("mean_probability", "total_variation", "repulsion"))
    for sentence in problems:
        assert sentence.startswith(
            f"the forget term '{name}' cannot forget classes of a mask: {FORGET_TERMS[name].whole}"
        )
        fitting = [other for other, term in FORGET_TERMS.items() if term.whole is None]
        assert sentence.endswith(f"use one of {', '.join(fitting)}")
