"""The qualitative figure: what each model answers on the first cases of the retain and forget sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, RETAIN, RETRAINED, STUDENT, SUBSET, TEACHER
from mu_monai.report.figures import Theme
from mu_monai.report.folder import Examples

_CELL = 1.25  # inches
_ID_LENGTH = 18


def draw_gallery(examples: Examples, theme: Theme) -> Figure:
    """Draw a row per case, retain first: input, ground truth, the models' answers and |teacher - student|.

    Args:
        examples: the arrays of `examples.npz`, with the answers of at least one model.
        theme: the colors.

    Source: after Figure 2 of Erase to Retain, arXiv 2511.16574; the retrained model is added where it is known.
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
        label = f"{subset[row]}\n{_short(str(examples[CASE_ID][row]))}"
        line[0].set_ylabel(label, fontsize=8.5, color=theme.colors[subset[row]])
    return figure


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


def _short(case_id: str) -> str:
    return case_id if len(case_id) <= _ID_LENGTH else f"…{case_id[1 - _ID_LENGTH :]}"
