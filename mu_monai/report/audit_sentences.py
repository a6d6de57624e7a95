"""The numbers of the audit in words: what each one means, and what it should be."""

from __future__ import annotations

from collections.abc import Mapping

from mu_monai.report.sentences import number
from mu_monai.runs.numbers import (
    AUC,
    BARRIER,
    DEPTH,
    DROP,
    LIRA,
    LOGISTIC,
    PROBE,
    RESIDUAL,
    TO_TEACHER,
    TPR,
    U_LIRA,
    Metric,
    State,
)
from mu_monai.runs.scores import COLUMNS, PER_CLASS, UTILITY

SIGNALS = {column.name: f"the {column.in_text}" for column in COLUMNS if not column.per_class} | {
    PROBE: "a linear probe of the encoder's features",
    LOGISTIC: "all signals together, by logistic regression",
    LIRA: "LiRA: whether the model answers like shadow models that were trained on the patient",
    U_LIRA: "U-LiRA: whether it answers like shadow models that unlearned the patient",
}
DISTANCES = {
    "average_gap": "The mean size of the gaps to the retrained model (Dice or accuracy on forget, retain and test, "
    "AUC of the loss); 0 means no gap.",
    "tow": "Tug of war between forgetting, retaining and generalizing; 1 means no gap to retraining.",
    "tow_mia": "The same with the AUC of the loss instead of the forgotten cases; 1 means no gap to retraining.",
    "klom": "How differently several unlearned and several retrained models answer the same cases; low means similar.",
    "klom_gaussian": "The same with normal distributions, for few models; low means similar.",
    "zrf": "How similar the answers are to an untrained network's; it should be where the retrained model's is.",
    "js": "How far the answers are from the retrained model's, case by case, in [0, ln 2]; 0 means identical.",
    "activation_distance": "How far the probabilities are from the retrained model's, case by case; 0 means identical.",
    "cka": "How similar a layer's features are to the retrained model's, in [0, 1]; 1 means the same.",
    "weight_distance": "How far the weights are from the retrained model's; two training runs never reach 0.",
    "weight_distance_relative": "The same as a share of the norm of the retrained model's weights.",
    "statistics_distance": "How far the statistics of the normalization layers are from the retrained model's.",
    DEPTH: "How far unlearning moved the weights away from the original's, as a share of what retraining does; near 0, "
    "little training may bring back what was forgotten.",
    BARRIER: "How much worse the models halfway to the original are on retained cases, as a loss; near 0, nothing "
    "separates the two.",
    RESIDUAL: "How right the model is on noisy copies of the cases, divided by how right the retrained model is; above "
    "1 it still knows what lies near them.",
    "rebound": "How far the attack moved the AUC of the loss; the same change in the retrained model is "
    "generalization, not memory.",
    "relearning_steps": "How many steps until known forgotten cases are answered nearly as by the original model.",
    "anamnesis": "The student's steps divided by the retrained model's: 1 is equally fast, below 1 it remembers.",
    "dice": "What the attack costs: the mean Dice after it.",
    "accuracy": "What the attack costs: the accuracy after it.",
}
UNEXPLAINED = "It should be near the retrained model's."


def is_membership(metric: str) -> bool:
    """Whether a metric says how well forgotten patients can be told from unseen ones."""
    return Metric.parse(metric).quantity in (AUC, TPR)


def is_depth(metric: str) -> bool:
    """Whether a metric says how deep unlearning went."""
    return Metric.parse(metric).quantity in (DEPTH, BARRIER)


def is_utility(metric: str) -> bool:
    """Whether a metric belongs to the tables of utility."""
    return Metric.parse(metric).quantity.removesuffix(DROP) in (*UTILITY, *PER_CLASS)


def metric_name(metric: str) -> str:
    """The name of a metric in a table.

    Example:
        >>> metric_name("auc[loss]"), metric_name("tpr@0.01[loss]"), metric_name("average_gap")
        ('AUC, loss', 'TPR at 1 % FPR, loss', 'average gap')
    """
    parsed = Metric.parse(metric)
    name = "AUC" if parsed.quantity == AUC else parsed.quantity.replace("_", " ")
    if parsed.quantity == TPR and parsed.rate is not None:
        name = f"TPR at {100 * parsed.rate:g} % FPR"
    return f"{name}, {parsed.of.replace('_', ' ')}" if parsed.of else name


def attack_name(attack: str) -> str:
    """The name of an attack in tables and plots; step 0 is before it, on the patients that the attacker does not have.

    Example:
        >>> attack_name("int8"), attack_name("relearning@0")
        ('int8', 'before, these patients')
    """
    state = State.parse(attack)
    return "before, these patients" if state.step == 0 else state.in_words


def metric_sentence(metric: str) -> str:
    """What a number of the audit means, in one sentence.

    Example:
        >>> metric_sentence("auc[loss]")
        'How often a forgotten patient looks more like a training patient than an unseen patient does, by the loss; 0.5
        means like unseen ones, 1 always more, 0 always less.'
    """
    parsed = Metric.parse(metric)
    quantity, of = parsed.quantity, parsed.of or ""
    by = SIGNALS.get(of, of)
    if quantity == TPR and parsed.rate is not None:
        return (
            f"The share of forgotten patients that are detected, by {by}, if {100 * parsed.rate:g} % of the unseen "
            "ones are mistaken for training patients; guessing gives the same share."
        )
    if of == U_LIRA:
        return (
            "Whether an unlearned patient can be told from an unseen one that never had to be unlearned, "
            f"by {by}; 0.5 is guessing, 1 always, whichever way they differ."
        )
    if of == LOGISTIC:
        return (
            f"How well forgotten patients can be told from unseen ones by {by}, whichever way they differ; 0.5 is "
            "guessing, 1 always."
        )
    if quantity == AUC:
        return (
            "How often a forgotten patient looks more like a training patient than an unseen patient does, by "
            f"{by}; 0.5 means like unseen ones, 1 always more, 0 always less."
        )
    if quantity.endswith(TO_TEACHER):
        text = DISTANCES.get(quantity.removesuffix(TO_TEACHER), UNEXPLAINED).partition(";")[0].rstrip(".")
        return f"{text.replace('the retrained model', 'the original model')}; a retrained model is far off too."
    return DISTANCES.get(quantity, UNEXPLAINED)


def patient_sentence(row: Mapping[str, float | str]) -> str:
    """What was measured of a patient; a single rank does not tell whether the patient is known.

    Args:
        row: a row of the audit's patients, with `gap` and `student`.

    Example:
        >>> patient_sentence({"gap": 0.42, "student": 0.08})
        'ranks better than 92 % of unseen patients, ideal 50 %; one rank may be chance'
    """
    gap, rank = float(row["gap"]), float(row["student"])
    better, ideal = (number(100 * (1 - share), 0) for share in (rank, rank + gap))
    return f"ranks better than {better} % of unseen patients, ideal {ideal} %; one rank may be chance"
