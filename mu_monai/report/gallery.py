"""The qualitative figure: each model's answers on the first cases of the retain and forget sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, RETAIN, RETRAINED, STUDENT, SUBSET, TEACHER
from mu_monai.report.figures import Theme, short
from mu_monai.runs.examples import CLASSES, Examples

_CELL = 1.25  # inches
_ID_LENGTH = 18
_ANSWER = 1.9  # cells, the width of a class and its probability


def draw_gallery(examples: Examples, theme: Theme) -> Figure:
    """Draw a row per case, retain first: input, ground truth, the models' answers and |teacher - student|.

    Args:
        examples: the arrays of `examples.npz`, with the answers of at least one model.
        theme: the colors.

    Source: after Figure 2 of Erase to Retain, arXiv 2511.16574; the retrained model is added if it is known.
    """
    subset = np.asarray(examples[SUBSET], dtype=str)
    order = [int(row) for name in (RETAIN, FORGET) for row in np.flatnonzero(subset == name)]
    columns = _columns(examples)
    height, width = examples[LABEL].shape[1:3]
    size = (_CELL * len(columns) + 0.55, _CELL * height / width * len(order) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(len(order), len(columns), squeeze=False)
    for line, row in zip(grid, order, strict=True):
        for axes, (title, (array, colors)) in zip(line, columns.items(), strict=True):
            _show(axes, array[row], colors, theme)
            if row == order[0]:
                axes.set_title(title, fontsize=10, color=theme.ink)
        _name(line[0], str(subset[row]), str(examples[CASE_ID][row]), theme)
    return figure


def draw_class_gallery(examples: Examples, theme: Theme) -> Figure:
    """Draw a row per case, retain first: input, true class, and each model's class with its probability.

    Args:
        examples: the arrays of `examples.npz` of a classifier, with the answers of at least one model.
        theme: the colors.
    """
    subset, names = (np.asarray(examples[name], dtype=str) for name in (SUBSET, CLASSES))
    order = [int(row) for name in (RETAIN, FORGET) for row in np.flatnonzero(subset == name)]
    models = [model for model in (TEACHER, STUDENT, RETRAINED) if model in examples]
    widths = [1.0, _ANSWER, *[_ANSWER] * len(models)]
    figure = Figure(figsize=(_CELL * sum(widths) + 0.55, _CELL * len(order) + 0.3), layout="constrained")
    grid = figure.subplots(len(order), len(widths), squeeze=False, width_ratios=widths)
    for line, row in zip(grid, order, strict=True):
        true = str(examples[LABEL][row])
        _show(line[0], examples[IMAGE][row], "gray", theme)
        _name(line[0], str(subset[row]), str(examples[CASE_ID][row]), theme)
        line[1].text(0, 0.8, short(true), va="center", fontsize=9.5, color=theme.ink)
        line[1].axis("off")
        for axes, model in zip(line[2:], models, strict=True):
            _answer(axes, examples[model][row], true, names, theme, theme.colors[model])
    for axes, title in zip(grid[0], ("input", "true class", *models), strict=True):
        axes.set_title(title, fontsize=10, color=theme.ink, loc="center" if title == "input" else "left")
    return figure


def _name(axes: Axes, subset: str, case_id: str, theme: Theme) -> None:
    label = f"{subset}\n{short(case_id, _ID_LENGTH)}"
    axes.set_ylabel(label, fontsize=8.5, color=theme.colors[subset])


def _columns(examples: Examples) -> dict[str, tuple[NDArray[Any], str]]:
    columns = {"input": (examples[IMAGE], "gray"), "ground truth": (examples[LABEL], "gray")}
    columns |= {model: (examples[model], "gray") for model in (TEACHER, STUDENT) if model in examples}
    if TEACHER in examples and STUDENT in examples:
        columns["|T \N{MINUS SIGN} S|"] = (np.abs(examples[TEACHER] - examples[STUDENT]), "magma")
    if RETRAINED in examples:
        columns[RETRAINED] = (examples[RETRAINED], "gray")
    return columns


def _show(axes: Axes, array: NDArray[Any], colors: str, theme: Theme) -> None:
    top = 255 if array.ndim == 3 else 1
    axes.imshow(array.squeeze(), cmap=colors, vmin=0, vmax=top, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=theme.muted, linewidth=0.5)


def _answer(axes: Axes, probabilities: NDArray[Any], true: str, names: NDArray[Any], theme: Theme, color: str) -> None:
    """A model's class, its probability as number and bar and, if it is wrong, the probability of the true class."""
    top = int(probabilities.argmax())
    right = str(names[top]) == true
    size: dict[str, Any] = {"fontsize": 9.5, "color": theme.ink}
    axes.text(0, 0.8, ("\N{CHECK MARK} " if right else "\N{BALLOT X} ") + short(str(names[top])), va="center", **size)
    axes.barh([0.5, 0.5], [1, probabilities[top]], height=0.16, color=[theme.muted + "40", color], align="center")
    axes.text(0, 0.24, f"{probabilities[top]:.2f}", va="center", **size | {"fontweight": "bold"})
    if not right:
        rest = f"true class {probabilities[names == true].sum():.2f}"
        axes.text(1, 0.24, rest, va="center", ha="right", **size | {"color": theme.muted})
    axes.set(xlim=(0, 1.1), ylim=(0, 1))  # space before the next model
    axes.axis("off")
