"""The figure of a comparison: how far methods are from the retrained model on forgotten and on retained cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from mu_monai.keys import FORGET, RETAIN, RETRAINED, STUDENT, TEACHER
from mu_monai.report.figures import Theme, clean, short

_LEAST = 1e-3  # a gap of 0 has no logarithm, and gaps this small are not measurable
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_RADII = (9, 16, 26, 38, 52, 68, 86)  # points, distances of a name from its point
_ANGLES = np.deg2rad([0, 45, -45, 90, -90, 180, 135, -135])
Gaps = tuple[float, float]


def front(points: Sequence[Gaps]) -> list[int]:
    """The Pareto front: points that no other beats by being lower on one axis and not higher on the other.

    Returns:
        the indices of the points, by the first axis.

    Example:
        >>> front([(0.1, 0.3), (0.2, 0.1), (0.2, 0.2), (0.3, 0.3)])
        [0, 1]
    """
    beaten = [
        any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points) for point in points
    ]
    return sorted((place for place, lost in enumerate(beaten) if not lost), key=lambda place: points[place])


def draw_pareto(table: pd.DataFrame, metric: str, floor: Gaps | None, theme: Theme) -> Figure:
    """Plot the absolute gaps of every method, with the Pareto front.

    Args:
        table: `label`, `model`, `size_forget` and `size_retain`, a row per model.
        metric: the name of the metric of the gaps.
        floor: the gaps that come from seeds alone; None if they are not known.
        theme: the colors.
    """
    gaps = table[[f"size_{FORGET}", f"size_{RETAIN}"]].clip(lower=_LEAST).to_numpy()
    points = [(float(x), float(y)) for x, y in gaps]
    figure = Figure(figsize=(8.6, 6.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    known = floor or (math.nan, math.nan)
    for axis, values, seed_gap in zip((axes.xaxis, axes.yaxis), gaps.T.tolist(), known, strict=True):
        low, high = _range(values, seed_gap)
        axis.set_ticks([tick for tick in _TICKS if low <= tick <= high])
        axis.set_ticks([], minor=True)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_view_interval(low, high, ignore=True)
    axes.autoscale(False)
    students = [place for place, model in enumerate(table["model"]) if model == STUDENT]
    best = [students[place] for place in front([points[place] for place in students])]
    steps = _draw_front(axes, [points[place] for place in best], theme)
    for place, (x, y) in enumerate(points):
        role = TEACHER if table["model"].iloc[place] == TEACHER else STUDENT
        filled = place in best or role == TEACHER
        axes.plot(x, y, "o", color=theme.colors[role], markersize=7, fillstyle="full" if filled else "none", zorder=3)
    for line, value in zip((axes.axvline, axes.axhline), floor or (), strict=False):
        line(max(value, _LEAST), color=theme.colors[RETRAINED], linestyle=":", linewidth=1.4)
    axes.set_xlabel(f"absolute {metric} gap on forgotten cases")
    axes.set_ylabel(f"absolute {metric} gap on retained cases", color=theme.muted, fontsize=9.5)
    clean(axes, theme, grid="x")
    axes.grid(axis="y", color=theme.muted, linewidth=0.5, alpha=0.35)
    axes.spines["bottom"].set_visible(True)
    names = {short(str(label), 36): point for label, point in zip(table["label"], points, strict=True)}
    _name(figure, axes, names, [points[place] for place in best], steps, theme)
    return figure


def _range(values: Sequence[float], seed_gap: float) -> Gaps:
    """A range that contains all points and the floor of seeds, with a tick on both sides."""
    least, most = (seed_gap, seed_gap) if seed_gap >= 0 else (math.inf, 0.0)
    low, high = max(min(*values, least), _LEAST), max(max(values) * 1.6, most * 1.25, 0.02)
    under = max(tick for tick in _TICKS if tick <= low)
    return under * 0.8, min((tick * 1.05 for tick in _TICKS if tick >= high), default=high)


def _draw_front(axes: Axes, points: Sequence[Gaps], theme: Theme) -> list[Gaps]:
    """Steps through the points, from the upper edge to the right one; points above or to the right are beaten."""
    (left, _), (_, low) = points[0], points[-1]
    (_, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    corners = [(left, top), *points, (right, low)]
    steps = [corners[0]]
    for (_, y), (x, below) in pairwise(corners):
        steps += [(x, y), (x, below)]
    axes.plot(*zip(*steps, strict=True), color=theme.colors[STUDENT], linewidth=1.4, alpha=0.6, zorder=2)
    return steps


def _name(
    figure: Figure, axes: Axes, names: Mapping[str, Gaps], best: Sequence[Gaps], steps: Sequence[Gaps], theme: Theme
) -> None:
    """Write each point's name as close to it as possible without covering another name, a point or the front."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # lets the constrained layout settle
    size = 5 * figure.dpi / 72
    taken = [Bbox.from_extents(x - size, y - size, x + size, y + size) for x, y in _pixels(axes, names.values())]
    taken += [Bbox([first, second]).padded(1) for first, second in pairwise(_pixels(axes, steps))]
    for name, point in sorted(names.items(), key=lambda item: item[1][::-1]):
        color = theme.ink if point in best else theme.muted
        note = axes.annotate(
            name,
            point,
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=color,
            fontweight="bold" if point in best else "normal",
            arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4},
        )
        taken.append(_fit(note, canvas, axes.bbox, taken))
    figure.set_layout_engine("none")  # keeps the names where they fit


def _pixels(axes: Axes, points: Iterable[Gaps]) -> list[Gaps]:
    return [(float(x), float(y)) for x, y in axes.transData.transform(list(points))]


def _fit(note: Annotation, canvas: FigureCanvasAgg, inside: Bbox, taken: Sequence[Bbox]) -> Bbox:
    """Move a name to the nearest free place around its point, or to the last place if none is free."""
    box = Bbox.null()
    for x, y, align in _places():
        note.set_position((x, y))
        note.set_horizontalalignment(align)
        box = _text_box(note, canvas)
        free = not any(box.overlaps(other) for other in taken)
        if free and inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1:
            break
    return box


def _text_box(note: Annotation, canvas: FigureCanvasAgg) -> Bbox:
    """The box of a name's text, without the line to its point."""
    note.update_positions(canvas.get_renderer())
    return Text.get_window_extent(note, canvas.get_renderer())


def _places() -> Iterator[tuple[float, float, Literal["left", "center", "right"]]]:
    """Offsets from a point, nearest first, with the alignment of the name."""
    for radius in _RADII:
        for angle in _ANGLES:
            x, y = radius * np.cos(angle), radius * np.sin(angle)
            yield x, y, "center" if abs(x) < 1 else "left" if x > 0 else "right"
