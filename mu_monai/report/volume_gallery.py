"""The qualitative figure of volumes: three planes of each case with the outlines of every model."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, RETAIN, ROLES, SUBSET
from mu_monai.planes import NORMALS, PLANE, POSITION
from mu_monai.report.figures import DARK, Theme, short
from mu_monai.runs.examples import CLASSES, Examples

_CELL = 2.5  # inches
_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_WIDTHS = {LABEL: 3.0, "teacher": 2.2, "retrained": 1.6, "student": 1.0}  # overlapping outlines stay visible
_COLORS = DARK.colors | {LABEL: "#ffffff"}  # images are dark on any page
_FACE = "#10151b"
_SHOWN_CLASSES = 8
_SIDES = {"axial": "R", "coronal": "R", "sagittal": "A"}  # the side of the patient at the left of a view


def draw_volume_gallery(examples: Examples, theme: Theme) -> Figure:
    """Draw a row per case, retain first, and a column per plane: outlines of ground truth and models over the image.

    Models differ in color and classes in line style. The ground truth is white and wide, and the models' lines get
    narrower, so overlapping outlines all stay visible.

    Args:
        examples: the arrays of `examples.npz` of volumes, with the answers of at least one model.
        theme: the colors of the page; the outlines have the same colors on any page, since images are dark.
    """
    subset, cases, planes = (np.asarray(examples[name], dtype=str) for name in (SUBSET, CASE_ID, PLANE))
    order = list(dict.fromkeys(cases[row] for name in (RETAIN, FORGET) for row in np.flatnonzero(subset == name)))
    height, width = examples[LABEL].shape[1:3]
    size = (_CELL * len(NORMALS) + 0.4, _CELL * height / width * len(order) + 0.75)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05, wspace=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(len(order), len(NORMALS), squeeze=False)
    for line, case in zip(grid, order, strict=True):
        for axes, plane in zip(line, NORMALS, strict=True):
            _blank(axes, theme)
            for row in np.flatnonzero((cases == case) & (planes == plane)):
                _outlines(axes, examples, int(row))
        name = str(subset[cases == case][0])
        line[0].set_ylabel(f"{name}\n{short(case)}", fontsize=9, color=theme.colors[name])
    for axes, plane in zip(grid[0], NORMALS, strict=True):
        axes.set_title(plane, fontsize=10, color=theme.ink)
    _legend(figure, examples)
    return figure


def _blank(axes: Axes, theme: Theme) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(_FACE)
    for spine in axes.spines.values():
        spine.set(color=theme.muted, linewidth=0.5)


def _outlines(axes: Axes, examples: Examples, row: int) -> None:
    axes.imshow(examples[IMAGE][row].squeeze(-1), cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    for name in [name for name in (LABEL, *ROLES) if name in examples]:
        for index in np.unique(examples[name][row][examples[name][row] > 0]).tolist():
            mask, style = _region(examples[name][row], index), _STYLES[(index - 1) % len(_STYLES)]
            axes.contour(mask, [0.5], colors=[_COLORS[name]], linewidths=_WIDTHS[name], linestyles=style)
    for text, x, align in ((_SIDES[str(examples[PLANE][row])], 0.02, "left"), (examples[POSITION][row], 0.98, "right")):
        axes.text(x, 0.98, str(text), transform=axes.transAxes, ha=align, va="top", fontsize=8, color=DARK.ink)


def _region(mask: NDArray[np.uint8], index: int) -> NDArray[np.bool_]:
    """A class together with the classes that it encloses, whose outlines would otherwise be drawn twice."""
    region = mask == index
    return region | (binary_fill_holes(region) & (mask > 0))


def _legend(figure: Figure, examples: Examples) -> None:
    """The colors of the models and, if there are several classes, the line styles of the classes shown."""
    names = {LABEL: "ground truth"} | {role: role for role in ROLES if role in examples}
    handles = [Line2D([], [], color=_COLORS[key], linewidth=_WIDTHS[key], label=name) for key, name in names.items()]
    drawn = np.unique(np.concatenate([np.unique(examples[name]) for name in names]))
    shown = [int(index) - 1 for index in drawn if index] if len(examples[CLASSES]) > 2 else []
    for index in shown[:_SHOWN_CLASSES]:
        style, name = _STYLES[index % len(_STYLES)], short(str(examples[CLASSES][index + 1]))
        handles.append(Line2D([], [], color=DARK.ink, linestyle=style, linewidth=1.4, label=name))
    if len(shown) > _SHOWN_CLASSES:
        handles.append(Line2D([], [], linestyle="none", label=f"and {len(shown) - _SHOWN_CLASSES} more classes"))
    legend = figure.legend(
        handles=handles, loc="outside upper left", ncols=6, fontsize=9.5, labelcolor=DARK.ink, facecolor=_FACE
    )
    legend.get_frame().set(linewidth=0, alpha=1.0)
