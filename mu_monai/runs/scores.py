"""`scores.csv`: its one reader, and the one list of its columns and their uses."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from mu_monai.keys import CASE_ID, CLASSIFICATION, LABEL, LOSS, MODEL, PATIENT_ID, SEGMENTATION, SUBSET
from mu_monai.runs.numbers import F1, Metric
from mu_monai.tables import read_table

SCORE_KEYS = (MODEL, SUBSET, PATIENT_ID, CASE_ID)
PREDICTED = "predicted"
CLASS_NAMES = (LABEL, PREDICTED)
TEXT = (*SCORE_KEYS, *CLASS_NAMES)
DICE, ACCURACY, MARGIN = "dice", "accuracy", "logit_confidence"
VOLUME, TRUE_VOLUME, VOLUME_ERROR = "volume", "true_volume", "volume_error"

MASK, STRUCTURES, CLASSES = "mask", "structures", "classes"
_MASKS, _EVERY = (MASK, STRUCTURES), (MASK, STRUCTURES, CLASSES)


@dataclass(frozen=True)
class Column:
    """A number for every case.

    Args:
        name: its name; for a per-class number, the part before the brackets of `dice[liver]`.
        kinds: the tables that have it: masks with one channel, structures (masks with several classes), or classes.
        sign: 1 if higher is better, -1 if lower is better, 0 if neither.
        label: its heading; empty if it has no table on a page.
        words: its name in a sentence, if that is not its label.
        meaning: the sentence below its table.
        digits: decimals to show.
        per_class: whether there is one for each class.
        utility: whether audits compare its mean between models and subsets.
        signal: whether membership attacks use it.
        needed: whether every table has it; the others were added by later versions.
        stored: whether it is in the file; otherwise it is computed from other columns.
    """

    name: str
    kinds: tuple[str, ...]
    sign: int
    label: str = ""
    words: str = ""
    meaning: str = ""
    digits: int = 3
    per_class: bool = False
    utility: bool = False
    signal: bool = False
    needed: bool = False
    stored: bool = True

    @property
    def in_text(self) -> str:
        """Its name in a sentence."""
        return self.words or self.label


COLUMNS = (
    Column(LOSS, _EVERY, -1, words="loss", utility=True, signal=True, needed=True),
    Column("bce", (MASK,), -1, words="cross-entropy", signal=True, needed=True),
    Column("cross_entropy", (STRUCTURES,), -1, words="cross-entropy", signal=True, needed=True),
    Column("cross_entropy", (CLASSES,), -1, words="cross-entropy", needed=True),  # the same as its loss
    Column(
        DICE,
        _MASKS,
        1,
        label="Dice",
        meaning="Dice: the overlap of answer and ground truth, from 0 (none) to 1 (the same), as the mean over cases.",
        utility=True,
        signal=True,
        needed=True,
    ),
    Column(
        "iou",
        _MASKS,
        1,
        label="IoU",
        meaning="IoU: shared area over joint area, from 0 to 1, as the mean over cases; stricter than Dice, to be read "
        "the same way.",
        utility=True,
        needed=True,
    ),
    Column(
        ACCURACY,
        (CLASSES,),
        1,
        label="Accuracy",
        words="accuracy",
        meaning="Accuracy: the share of cases whose most probable class is the true one, from 0 to 1.",
        utility=True,
        needed=True,
    ),
    Column("confidence", _EVERY, 1, words="confidence", signal=True, needed=True),
    Column("true_probability", (CLASSES,), 1, words="probability of the true class", needed=True),
    Column("entropy", (CLASSES,), -1, words="entropy of the answer", signal=True),
    Column("modified_entropy", (CLASSES,), -1, words="entropy of the answer, the true class known", signal=True),
    Column("boundary_loss", _MASKS, -1, words="loss along the label's boundary", signal=True),
    Column(MARGIN, _EVERY, 1, words="log-odds of the true class", signal=True),
    Column("foreground_confidence_q10", _MASKS, 1, words="low end of the confidence inside the label", signal=True),
    Column("foreground_confidence_q50", _MASKS, 1, words="median confidence inside the label", signal=True),
    Column("foreground_confidence_q90", _MASKS, 1, words="high end of the confidence inside the label", signal=True),
    Column(DICE, (STRUCTURES,), 1, label="Dice", per_class=True),
    Column("hd95", (STRUCTURES,), -1, label="HD95, mm", digits=2, per_class=True),
    Column(VOLUME, (STRUCTURES,), 0, label="Volume, ml", digits=2, per_class=True),
    Column(TRUE_VOLUME, (STRUCTURES,), 0, per_class=True),
    Column(VOLUME_ERROR, (STRUCTURES,), -1, label="Volume error, ml", digits=2, per_class=True, stored=False),
    Column(F1, (CLASSES,), 1, label="F1", per_class=True, stored=False),
)
UTILITY = {  # columns of which higher is better first
    column.name: column for column in sorted(COLUMNS, key=lambda column: -column.sign) if column.utility
}
PER_CLASS = {column.name: column for column in COLUMNS if column.per_class and column.label}
STRUCTURE_METRICS = tuple(name for name, column in PER_CLASS.items() if STRUCTURES in column.kinds)
LEADING = {  # the main metric of each task
    task: next(column for column in UTILITY.values() if kind in column.kinds)
    for task, kind in ((SEGMENTATION, MASK), (CLASSIFICATION, CLASSES))
}
LEADING_METRICS = tuple(column.name for column in LEADING.values())
LEADING_PER_CLASS = tuple(
    next(name for name, column in PER_CLASS.items() if kind in column.kinds) for kind in (STRUCTURES, CLASSES)
)


def read_scores(source: str | os.PathLike[str], keys: Sequence[str] = SCORE_KEYS) -> pd.DataFrame:
    """Read a score table, `scores.csv` or that of an attack: identifying columns, and numbers.

    Names of patients, cases and classes stay as they are: `NA`, `null` and `None` are names, and `01` is not `1`.

    Args:
        source: the CSV file.
        keys: the columns that identify a row; an attack's table is of one model and does not name it.

    Raises:
        InputError: see `tables.read_table`.
    """
    return read_table(source, keys, numbers=True, text=TEXT)


def task_of(columns: Collection[object]) -> str:
    """`segmentation` or `classification`, by the columns of a score table.

    Args:
        columns: the names of the columns, or the table itself; the names of metrics in records work as well.

    Example:
        >>> task_of(["loss", "accuracy"]), task_of(["loss", "dice"])
        ('classification', 'segmentation')
    """
    return CLASSIFICATION if ACCURACY in columns else SEGMENTATION


def kind_of(columns: Collection[object]) -> str:
    """The kind of predictions: `mask` with one channel, `structures` of masks with several classes, or `classes`.

    Example:
        >>> kind_of(["dice"]), kind_of(["dice", "dice[liver]"]), kind_of(["accuracy"])
        ('mask', 'structures', 'classes')
    """
    if task_of(columns) == CLASSIFICATION:
        return CLASSES
    return STRUCTURES if structures(columns) else MASK


def columns_of(columns: Collection[object]) -> list[Column]:
    """The columns that a score table of this kind can have, in the order of `COLUMNS`."""
    kind = kind_of(columns)
    return [column for column in COLUMNS if kind in column.kinds]


def leading_metric(columns: Collection[object]) -> str:
    """The main metric of a model: the accuracy of a classifier, otherwise the Dice.

    Example:
        >>> leading_metric(["loss", "accuracy"]), leading_metric(["loss", "dice", "iou"])
        ('accuracy', 'dice')
    """
    return LEADING[task_of(columns)].name


def utility_metrics(scores: pd.DataFrame) -> tuple[str, ...]:
    """The score columns that measure how good a model is, the leading one first.

    A column that was added by a later version is left out if not every row has it.

    Example:
        >>> utility_metrics(pd.DataFrame({"accuracy": [1.0], "loss": [0.1]}))
        ('accuracy', 'loss')
    """
    kind = kind_of(scores)
    candidates = [column for column in UTILITY.values() if kind in column.kinds]
    return tuple(c.name for c in candidates if c.needed or (c.name in scores and scores[c.name].notna().all()))


def needed_columns(columns: Iterable[object]) -> tuple[str, ...]:
    """The numbers that a score table with these columns must have: those of its kind, and all per-class columns.

    Example:
        >>> needed_columns(["accuracy", "loss"])
        ('loss', 'cross_entropy', 'accuracy', 'confidence', 'true_probability')
    """
    names = list(map(str, columns))
    needed = [column.name for column in columns_of(names) if column.needed]
    return (*needed, *per_class_columns(names))


def per_class_columns(columns: Iterable[object]) -> list[str]:
    """The per-class columns."""
    return [name for name in map(str, columns) if Metric.parse(name).of is not None]


def structures(columns: Iterable[object]) -> list[str]:
    """The classes of the masks in a score table, without background; empty for one channel and for classifiers.

    Args:
        columns: the names of its columns, or the table itself.

    Example:
        >>> structures(["dice", "dice[organ]", "hd95[organ]"])
        ['organ']
    """
    metrics = (Metric.parse(str(column)) for column in columns)
    return [metric.of for metric in metrics if metric.quantity == DICE and metric.of is not None]
