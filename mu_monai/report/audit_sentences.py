"""The numbers of the audit in words: what each one means, and where it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mu_monai.report.sentences import number

SIGNALS = {
    "loss": "the loss",
    "bce": "the cross-entropy",
    "cross_entropy": "the cross-entropy",
    "dice": "the Dice",
    "confidence": "the confidence",
    "boundary_loss": "the loss along the label's boundary",
    "logit_confidence": "the log-odds of the true class",
    "foreground_confidence_q10": "the low end of the confidence inside the label",
    "foreground_confidence_q50": "the median confidence inside the label",
    "foreground_confidence_q90": "the high end of the confidence inside the label",
    "true_probability": "the probability of the true class",
    "entropy": "the entropy of the answer",
    "modified_entropy": "the entropy of the answer, the true class known",
    "probe": "a linear probe of the encoder's features",
    "logistic": "all signals together, by logistic regression",
    "lira": "LiRA: whether the model answers like shadow models that were trained on the patient",
    "u-lira": "U-LiRA: whether it answers like shadow models that unlearned the patient",
}
DISTANCES = {
    "average_gap": "The mean size of the gaps to the retrained model (Dice or accuracy on forget, retain and test, "
    "AUC of the loss); 0 is no gap.",
    "tow": "Tug of war of forgetting, keeping and generalizing; 1 is at the retrained model.",
    "tow_mia": "The same with the AUC of the loss in the place of the forgotten cases; 1 is at the retrained model.",
    "klom": "How differently several unlearned and several retrained models answer the same cases; small is alike.",
    "klom_gaussian": "The same by normal distributions, for few models; small is alike.",
    "zrf": "How alike the answers are to those of an untrained network; it should be where the retrained model is.",
    "js": "How far the answers are from the retrained model's, case by case, in [0, ln 2]; 0 is the same.",
    "activation_distance": "How far the probabilities are from the retrained model's, case by case; 0 is the same.",
    "cka": "How alike the features of a layer are to the retrained model's, in [0, 1]; 1 is alike.",
    "weight_distance": "How far the weights are from the retrained model's; two trainings are never at 0.",
    "weight_distance_relative": "The same as a share of the size of the retrained model's weights.",
    "statistics_distance": "How far the statistics of the normalization layers are from the retrained model's.",
    "rebound": "How far the attack moved the AUC of the loss; what it moves that of the retrained model is no memory.",
    "relearning_steps": "How many steps it takes until known forgotten cases are answered nearly as the original did.",
    "anamnesis": "Steps of the student over those of the retrained model: 1 learns alike, below 1 it remembers.",
    "dice": "What the attack costs: the mean Dice after it.",
    "accuracy": "What the attack costs: the accuracy after it.",
}
UNEXPLAINED = "It should be near where it is for the retrained model."
_UTILITY = ("dice", "iou", "accuracy", "loss", "f1", "hd95", "volume", "volume_error")
_RATE = re.compile(r"tpr@(\d*\.?\d+)")


def parted(metric: str) -> tuple[str, str]:
    """The quantity of a metric, and what of.

    Example:
        >>> parted("auc[loss]"), parted("tow")
        (('auc', 'loss'), ('tow', ''))
    """
    stem, _, of = metric.removesuffix("]").partition("[")
    return stem, of


def is_membership(metric: str) -> bool:
    """Whether a metric says how well forgotten patients can be told from unseen ones."""
    return parted(metric)[0].startswith(("auc", "tpr@"))


def is_utility(metric: str) -> bool:
    """Whether a metric stands in the tables of what each model still does."""
    stem = parted(metric)[0]
    return stem in _UTILITY or stem.endswith("_drop")


def metric_name(metric: str) -> str:
    """A metric as a row of a table calls it.

    Example:
        >>> metric_name("auc[loss]"), metric_name("tpr@0.01[loss]"), metric_name("average_gap")
        ('AUC, loss', 'TPR at 1 % FPR, loss', 'average gap')
    """
    stem, of = parted(metric)
    rate = _RATE.fullmatch(stem)
    name = f"TPR at {100 * float(rate[1]):g} % FPR" if rate else "AUC" if stem == "auc" else stem.replace("_", " ")
    return f"{name}, {of.replace('_', ' ')}" if of else name


def attack_name(attack: str) -> str:
    """An attack as tables and plots call it; its step 0 is before it, on the patients that the attacker does not have.

    Example:
        >>> attack_name("int8"), attack_name("relearning@5"), attack_name("relearning@0")
        ('int8', 'relearning@5', 'before, these patients')
    """
    return "before, these patients" if attack.endswith("@0") else attack


def metric_sentence(metric: str) -> str:
    """What a number of the audit means, in one sentence.

    Example:
        >>> metric_sentence("auc[loss]")
        'How often a forgotten patient looks more like one that was trained on than an unseen patient does, by the loss;
        0.5 is like unseen ones, 1 always more, 0 always less.'
    """
    stem, of = parted(metric)
    by = SIGNALS.get(of, of)
    rate = _RATE.fullmatch(stem)
    if rate:
        return (
            f"The share of forgotten patients that are found, by {by}, where {100 * float(rate[1]):g} % of the unseen "
            "ones are taken for trained on; that share is guessing."
        )
    if of == "u-lira":
        return (
            "Whether a forgotten patient can be told for one that was unlearned, from unseen ones that never had to "
            f"be, by {by}; 0.5 is guessing, 1 always, whichever side of the unseen ones it lies on."
        )
    if of == "logistic":
        return (
            f"How well forgotten patients can be told from unseen ones by {by}, whichever way they differ; 0.5 is "
            "guessing, 1 always."
        )
    if stem == "auc":
        return (
            "How often a forgotten patient looks more like one that was trained on than an unseen patient does, by "
            f"{by}; 0.5 is like unseen ones, 1 always more, 0 always less."
        )
    if stem.endswith("_to_teacher"):
        said = DISTANCES.get(stem.removesuffix("_to_teacher"), UNEXPLAINED).partition(";")[0].rstrip(".")
        return f"{said.replace('the retrained model', 'the original model')}; a retrained model is far off as well."
    return DISTANCES.get(stem, UNEXPLAINED)


def patient_sentence(row: Mapping[str, float | str]) -> str:
    """What a patient's gap says.

    Args:
        row: a row of the audit's patients, with `gap` and `student`.

    Example:
        >>> patient_sentence({"gap": 0.42, "student": 0.08})
        'still known: better than 92 % of unseen patients, in place of 50 %'
    """
    gap, rank = float(row["gap"]), float(row["student"])
    if gap == 0:
        return "where it should be"
    side = "still known" if gap > 0 else "answered too badly"
    known, ideal = (number(100 * (1 - share), 0) for share in (rank, rank + gap))
    return f"{side}: better than {known} % of unseen patients, in place of {ideal} %"
