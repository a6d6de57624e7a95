"""The forget terms by name: what each takes, which answer it favors, and which of them cannot be combined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from torch import nn

from mu_monai.errors import did_you_mean
from mu_monai.keys import SEGMENTATION, TASKS
from mu_monai.losses.background import Background
from mu_monai.losses.entropy import Entropy
from mu_monai.losses.label_flip import LabelFlip
from mu_monai.losses.mean_probability import MeanProbability
from mu_monai.losses.random_label import RandomLabel
from mu_monai.losses.repulsion import Repulsion
from mu_monai.losses.teacher_contradiction import TeacherContradiction
from mu_monai.losses.total_variation import TotalVariation
from mu_monai.losses.uniform import Uniform

_MASKS = frozenset({SEGMENTATION})

ANSWERS = {
    "background": "to background",
    "contradiction": "to the opposite of the label or the teacher",
    "undecided": "to even odds",
    "random": "to a label drawn at random",
}


@dataclass(frozen=True)
class ForgetTerm:
    """One forget term.

    Args:
        make: builds the term; takes the keyword `softmax` and the term's own settings.
        inputs: what `forward` takes, by name: some of `student` (logits), `label`, `teacher` (logits),
            `student_features`, `teacher_features`.
        answer: the answer at its minimum, a key of `ANSWERS`; `None` if it favors no answer.
        tasks: the tasks that it applies to.
        whole: why it cannot be restricted to some of an image's places; `None` if it is a mean over places.
    """

    make: Callable[..., nn.Module]
    inputs: tuple[str, ...]
    answer: str | None
    tasks: frozenset[str] = frozenset(TASKS)
    whole: str | None = None


def _repulsion(softmax: bool) -> Repulsion:
    return Repulsion()  # features have no outcomes


FORGET_TERMS: dict[str, ForgetTerm] = {
    "background": ForgetTerm(Background, ("student",), "background", _MASKS),
    "label_flip": ForgetTerm(LabelFlip, ("student", "label"), "contradiction"),
    "teacher_contradiction": ForgetTerm(TeacherContradiction, ("student", "teacher"), "contradiction"),
    "entropy": ForgetTerm(Entropy, ("student",), "undecided"),
    "repulsion": ForgetTerm(
        _repulsion,
        ("student_features", "teacher_features"),
        None,
        whole="its features are averaged over everything in the image",
    ),
    "mean_probability": ForgetTerm(
        MeanProbability, ("student",), "undecided", _MASKS, whole="it is about the mean of a whole image"
    ),
    "total_variation": ForgetTerm(
        TotalVariation, ("student",), None, _MASKS, whole="it compares neighbors, which may be of other classes"
    ),
    "uniform": ForgetTerm(Uniform, ("student",), "undecided"),
    "random_label": ForgetTerm(RandomLabel, ("student", "label"), "random"),
}


def contradictions(terms: Collection[str], task: str, *, mixed_targets: bool = False) -> list[str]:
    """Why forget terms cannot be combined: one sentence per problem, empty if they can.

    Args:
        terms: names of forget terms.
        task: `segmentation` or `classification`.
        mixed_targets: whether terms that pull toward different answers may be summed.

    Example:
        >>> contradictions(["entropy", "repulsion"], "classification")
        []
        >>> contradictions(["background"], "classification")
        ["the forget term 'background' does not apply to classification; use one of label_flip, ..."]
    """
    known = [name for name in terms if name in FORGET_TERMS]
    problems = [
        f"the forget term {name!r} is not known; use one of {', '.join(FORGET_TERMS)}{did_you_mean(name, FORGET_TERMS)}"
        for name in terms
        if name not in FORGET_TERMS
    ]
    fitting = [name for name, term in FORGET_TERMS.items() if task in term.tasks]
    problems += [
        f"the forget term {name!r} does not apply to {task}; use one of {', '.join(fitting)}"
        for name in known
        if name not in fitting
    ]
    return problems if mixed_targets else [*problems, *_different_answers(known)]


def unrestrictable(terms: Collection[str]) -> Iterator[str]:
    """Say which forget terms cannot be restricted to the voxels of some classes, and why.

    Example:
        >>> list(unrestrictable(["background"]))
        []
        >>> list(unrestrictable(["mean_probability"]))
        ["the forget term 'mean_probability' cannot forget classes of a mask: it is about the mean of a whole image;
        use one of background, ..."]
    """
    fitting = [name for name, term in FORGET_TERMS.items() if term.whole is None]
    for name in terms:
        if name in FORGET_TERMS and FORGET_TERMS[name].whole is not None:
            yield (
                f"the forget term {name!r} cannot forget classes of a mask: {FORGET_TERMS[name].whole}; use one of "
                f"{', '.join(fitting)}"
            )


def _different_answers(terms: Collection[str]) -> Iterator[str]:
    pulls: dict[str, list[str]] = {}
    for name in terms:
        answer = FORGET_TERMS[name].answer
        if answer is not None:
            pulls.setdefault(answer, []).append(name)
    if len(pulls) > 1:
        listed = ", ".join(f"{' and '.join(names)} {ANSWERS[answer]}" for answer, names in pulls.items())
        yield (
            f"the forget terms pull toward different answers, so their sum reaches none of them: {listed}; choose "
            "one, or set method#mixed_targets=true to sum them as section 3 of arXiv 2511.16574 does"
        )
