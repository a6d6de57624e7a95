"""Numbers in words: what each one means, what it should be, and how certain that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mu_monai.keys import FORGET, RETAIN, RETRAINED, STUDENT, TEACHER, TEST, VALIDATION
from mu_monai.runs.numbers import Group

MEANING = {
    RETAIN: "Cases to keep: the model was trained on them and should still know them.",
    FORGET: "Cases to forget: the teacher was trained on them.",
    VALIDATION: "Cases that the split keeps out of training, for checking the model during training.",
    TEST: "Cases that the split keeps out of training, called unseen here; nothing was chosen by them.",
}
TERMS = {
    "total": "The loss of a step on retained cases, with the forget terms that share that step. It should flatten.",
    "supervised": "The error on retained cases; it should stay as low as at the start.",
    "distillation": "The distance to the teacher's answers on retained cases; it should stay near 0.",
    "guard": "The squared distance to the teacher's logits on retained cases; it should stay near 0.",
    "background": "How far the answer on forget cases is from all background; it should fall.",
    "label_flip": "How far the answer on forget cases is from the opposite of the label; it should fall.",
    "teacher_contradiction": "How far the answer on forget cases is from the opposite of what the teacher is sure of; "
    "it should fall.",
    "entropy": "How far the answer on forget cases is from undecided, by its entropy; it should fall toward 0.",
    "uniform": "How far the answer on forget cases is from undecided, by its divergence; it should fall toward 0.",
    "mean_probability": "How far the mean answer over a forget image is from even; it should fall toward 0.",
    "repulsion": "How similar the features of student and teacher are on forget cases, 1 if they are the same; it "
    "should fall.",
    "total_variation": "How much the answer on forget cases changes from pixel to pixel; it should stay low or fall.",
    "random_label": "The error on forget cases against labels drawn anew for every batch; it should fall toward that "
    "of guessing, not to 0.",
    "hinge": "How far the losses of forget cases are below their targets, the losses of unseen cases; it should fall.",
    "settling": "The error on retained cases in the last steps of an epoch; it should stay as low as at the start.",
    "forget": "The loss of forget cases; it should rise to that of cases never trained on.",
    # a column name in the curves of runs of earlier versions too, hence its spelling
    "relabeled": "The error on forget cases against wrong labels; it should fall.",
    "preference": "How strongly the true labels of forget cases are preferred; it should fall.",
    "departure": "The distance to the teacher's answers on forget cases; it should rise.",
    "good": "The distance to the teacher's answers on retained cases; it should stay near 0.",
    "bad": "The distance to an untrained network's answers on forget cases; it should fall.",
    "imitation": "The distance to the unlearned model's answers on retained cases; it should fall toward 0.",
    "perturbed": "The loss of slightly perturbed copies of forget cases; it should rise to that of cases never trained "
    "on.",
    "distance": "How far the weights are from the original's, as a root mean square; it should rise.",
    "noise": "The error on noise that stands for the forgotten classes; it should fall during the impair phase.",
    "l1": "The sum of the absolute values of all trainable weights; it should fall.",
    "dampened": "The share of weights that were dampened.",
    "fisher_cases": "How many retained cases the curvature of the loss was estimated from.",
    "shift": "How far the weights were moved.",
    "forget_auc": "How well losses tell forget cases from validation cases; it should fall to 0.5, guessing.",
    "settled_auc": "How well losses tell forget cases from validation cases after a few more steps on retained cases; "
    "where that is above forget_auc, forgetting comes back.",
    "memorized_auc": "How well losses tell training from validation patients; above 0.5, the model has memorized.",
    "damage": "How far the weights were moved toward a fresh initialization before this cycle, from 0 to 1.",
    "flip_rate": "The share of forget cases whose answer changed in the boundary search; it should be near 1.",
    "inner_loss_first": "The original model's loss on forget cases before the search for the boundary.",
    "inner_loss_last": "The original model's loss on forget cases after the search; it should be higher than before.",
}
_OF_ANY_MODEL = ("memorized_auc",)  # measured in training as well, and not a part of its loss
_ANY_TERM = "A term of the method's loss, under the method's own name."


def number(value: float | None, digits: int = 3) -> str:
    """A number with a true minus sign; a dash if there is none.

    Example:
        >>> number(-0.12345), number(float("nan"))
        ('−0.123', '–')
    """
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int = 3) -> str:
    """A gap with its sign.

    Example:
        >>> signed(0.1), signed(-0.1)
        ('+0.100', '−0.100')
    """
    return f"+{number(value, digits)}" if value > 0 else number(value, digits)


def listed(names: Sequence[str]) -> str:
    """Names joined for a sentence.

    Example:
        >>> listed(["liver", "spleen", "tumor"]), listed(["spleen"])
        ('liver, spleen and tumor', 'spleen')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def between(low: float, high: float, *, show: Any = number) -> str:
    """An interval; empty if there is none.

    Example:
        >>> between(-0.1, 0.2, show=signed), between(float("nan"), float("nan"))
        ('−0.100 to +0.200', '')
    """
    return "" if math.isnan(low) or math.isnan(high) else f"{show(low)} to {show(high)}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] in percent; a dash if there is none.

    Example:
        >>> percent(0.125), percent(-0.0293, 2), percent(None)
        ('12.5 %', '−2.93 %', '–')
    """
    return (
        "\N{EN DASH}" if share is None or math.isnan(share) else f"{number(round(100 * share, digits) + 0.0, digits)} %"
    )


def count(n: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> count(1, "patient"), count(2, "case")
        ('1 patient', '2 cases')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def reference_name(reference: str) -> str:
    """A record's reference in words; empty if there is none.

    Example:
        >>> reference_name("student/test")
        'its own unseen cases'
    """
    model, subset = Group.parse(reference)
    if not model:
        return ""
    if subset == TEST and model not in (RETRAINED, TEACHER):
        return "its own unseen cases"
    return f"the {model} model" if model == RETRAINED else f"the {model}"


def target_sentence(row: Mapping[str, Any]) -> str:
    """What the student's score on a subset should be.

    Args:
        row: a row of `tables.utility_table`: `subset`, `reference` and `ideal`.
    """
    if not row["reference"]:
        return "There is nothing in this report to compare it with."
    name, ideal = reference_name(row["reference"]), number(row["ideal"])
    if row["subset"] != FORGET:
        return f"The student should be where {name} is, {ideal}."
    if Group.parse(row["reference"]).model == RETRAINED:
        return f"The student should be where {name} is, {ideal}: not above (remembered), not below (conspicuous)."
    return f"There is no retrained model here, so the student should be where {name} are, {ideal}."


def gap_sentence(row: Mapping[str, Any]) -> str:
    """What the student's gap means: a direction only if its interval excludes 0.

    Args:
        row: a row of `tables.utility_table`: `subset`, `patients`, `reference`, `gap`, `gap_low` and `gap_high`.

    Example:
        >>> gap_sentence({"subset": "forget", "patients": 4, "reference": "retrained/forget", "gap": -0.1,
        ...               "gap_low": -0.15, "gap_high": -0.05})
        'It is lower than the retrained model by 0.100 (0.050 to 0.150): forgotten more than by a model that never saw
        them, which can itself show who was forgotten.'
    """
    if not row["reference"]:
        return ""
    name, low, high = reference_name(row["reference"]), row["gap_low"], row["gap_high"]
    patients = count(row["patients"], "patient")
    if math.isnan(low):
        return f"With {patients} there is no interval, so the gap of {signed(row['gap'])} may be chance."
    if low <= 0 <= high:
        return (
            f"It cannot be told apart from {name} with {patients}: the gap is {signed(row['gap'])}, "
            f"and may be anywhere from {between(low, high, show=signed)}."
        )
    side = "lower" if high < 0 else "higher"
    ends = sorted((abs(low), abs(high)))
    return f"It is {side} than {name} by {number(abs(row['gap']))} ({between(*ends)}): {_consequence(row, side)}."


def drop_sentence(row: Mapping[str, Any]) -> str:
    """The paper's own criterion for a subset, teacher minus student; empty if unknown or the same as the gap."""
    drop = row.get("drop", math.nan)
    if math.isnan(drop) or (
        row["subset"] != FORGET and Group.parse(row["reference"]).model == TEACHER
    ):  # the gap is the same number
        return ""
    ends = between(row["drop_low"], row["drop_high"], show=signed)
    aim = (
        "the paper aims for this to be far above the other drops"
        if row["subset"] == FORGET
        else "the paper aims for this to be near 0"
    )
    return f"From teacher to student it dropped by {number(drop)}{f' ({ends})' if ends else ''}; {aim}."


def term_sentence(term: str, role: str, *, of_classes: bool = False) -> str:
    """What a loss term in a run's curve means; with `of_classes`, in a run that forgets classes instead of cases."""
    if role != STUDENT and term not in _OF_ANY_MODEL:
        return "The loss that the optimizer lowers, or a part of it; it should fall and flatten."
    sentence = TERMS.get(term, _ANY_TERM)
    if of_classes:
        return sentence.replace("forget cases", "forgotten classes' voxels").replace(
            "retained cases", "all other voxels"
        )
    return sentence


def course_sentence(metric: str, role: str, *, of_classes: bool = False) -> str:
    """What a metric per subset in a run's curve means."""
    if of_classes and role != TEACHER:
        return f"Mean {metric} per subset over all classes, including the forgotten ones; see the classes one by one."
    if role != STUDENT:
        return f"Mean {metric} per subset; it should improve and flatten, also on subsets never trained on."
    return f"Mean {metric} per subset; retain should hold, forget should move toward cases never trained on."


def _consequence(row: Mapping[str, Any], side: str) -> str:
    if row["subset"] != FORGET:
        return "performance was lost here" if side == "lower" else "nothing was lost here"
    retrained = Group.parse(row["reference"]).model == RETRAINED
    if side == "lower":
        more = (
            "forgotten more than by a model that never saw them" if retrained else "worse than cases never trained on"
        )
        return f"{more}, which can itself show who was forgotten"
    better = "a model that never saw them knows them" if retrained else "the model knows cases it was never trained on"
    return f"known better than {better}, so something of them is still remembered"
