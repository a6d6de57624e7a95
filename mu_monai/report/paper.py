"""The numbers that the Erase to Retain paper reports, for reference beside the report's own."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from mu_monai.keys import CLASSIFICATION

SOURCE = "Datta and Alam, Erase to Retain, arXiv 2511.16574"


class PaperSize(NamedTuple):
    """A row of Table 1, in millions of parameters; the share is in [0, 1]."""

    trainable: float
    total: float
    share: float


PAPER_SIZES = {"teacher": PaperSize(25.17, 25.17, 1.0), "student": PaperSize(0.74, 25.17, 0.0293)}

_BLANK = (math.nan, math.nan)
_UTILITY = {
    ("Table 2", "ISIC 2018"): {
        "teacher": ((0.9313, 0.8769), (0.9309, 0.8752), _BLANK),
        "student": ((0.7696, 0.6478), (0.6332, 0.5091), _BLANK),
    },
    ("Table 3", "CHASE_DB1, first annotator"): {
        "teacher": ((0.8484, 0.7392), (0.8292, 0.7086), (0.7042, 0.5439)),
        "student": ((0.8310, 0.7251), (0.6365, 0.4674), (0.6793, 0.5148)),
    },
    ("Table 4", "CHASE_DB1, second annotator"): {
        "teacher": ((0.7846, 0.6468), (0.8014, 0.6712), _BLANK),
        "student": ((0.7975, 0.6682), (0.6242, 0.4538), _BLANK),
    },
}

PAPER_CASES = {"retain": 2016, "forget": 223, "test": 118}  # of its classification, the denominators of its accuracies
_ACCURACY = {"teacher": (0.8393, 0.8700, 0.6186), "student": (0.9058, 0.6413, 0.5593)}


def paper_utility() -> pd.DataFrame:
    """Tables 2 to 4 of the paper: `table`, `data`, `model`, and Dice and IoU in [0, 1] per subset, NaN if blank.

    Source: arXiv 2511.16574, Tables 2, 3 and 4; the validation columns of Tables 2 and 4 are blank in the paper.

    Example:
        >>> paper_utility().query("table == 'Table 2' and model == 'student'")["forget_dice"].item()
        0.6332
    """
    rows = []
    for (table, data), models in _UTILITY.items():
        for model, pairs in models.items():
            row: dict[str, str | float] = {"table": table, "data": data, "model": model}
            for subset, (dice, iou) in zip(("retain", "forget", "validation"), pairs, strict=True):
                row |= {f"{subset}_dice": dice, f"{subset}_iou": iou}
            rows.append(row)
    return pd.DataFrame(rows)


def paper_table(task: str) -> pd.DataFrame:
    """What the paper reports on a task: `paper_utility` or `paper_accuracy`."""
    return paper_accuracy() if task == CLASSIFICATION else paper_utility()


def paper_accuracy() -> pd.DataFrame:
    """The accuracies of section 6.6: `table`, `data`, `model` and `<subset>_accuracy` in [0, 1].

    Source: arXiv 2511.16574, section 6.6; nine classes of skin lesions, one seed, no retrained model.

    Example:
        >>> paper_accuracy().query("model == 'student'")["forget_accuracy"].item()
        0.6413
    """
    rows = []
    for model, values in _ACCURACY.items():
        row: dict[str, str | float] = {"table": "section 6.6", "data": "ISIC, 9 classes", "model": model}
        rows.append(row | {f"{subset}_accuracy": value for subset, value in zip(PAPER_CASES, values, strict=True)})
    return pd.DataFrame(rows)
