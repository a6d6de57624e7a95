"""The plots of the report, each drawn for a light and for a dark page."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mu_monai.keys import FORGET, RETAIN, RETRAINED, ROLES, STUDENT, SUBSETS, TEACHER, TEST, VALIDATION

_DPI = 180
_MARKERS = {TEACHER: "o", RETRAINED: "D", STUDENT: "s"}
_LINES = {RETAIN: "-", FORGET: "--", VALIDATION: "-.", TEST: ":"}
_MANY_EPOCHS = 20


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colors of one kind of page.

    Args:
        name: `light` or `dark`.
        ink: text and axes.
        muted: grid and secondary text.
        colors: one color per model and per subset, at least 3:1 against the page.
    """

    name: str
    ink: str
    muted: str
    colors: dict[str, str]


LIGHT = Theme(
    name="light",
    ink="#1b2430",
    muted="#5a6675",
    colors={TEACHER: "#5b6b80", RETRAINED: "#0b7a6b", STUDENT: "#b4480c"}
    | {RETAIN: "#1f5fa8", FORGET: "#b3246b", VALIDATION: "#6a6a00", TEST: "#5b6b80"},
)
DARK = Theme(
    name="dark",
    ink="#e6ebf1",
    muted="#9aa7b6",
    colors={TEACHER: "#a9b8ca", RETRAINED: "#4cc9b4", STUDENT: "#ff9a57"}
    | {RETAIN: "#79b4ff", FORGET: "#ff86c0", VALIDATION: "#d3d35c", TEST: "#a9b8ca"},
)
THEMES = (LIGHT, DARK)

Draw = Callable[[Theme], Figure]


def png(figure: Figure) -> bytes:
    """Render a figure as PNG with a transparent background."""
    FigureCanvasAgg(figure)  # a canvas of its own: pyplot and its global state stay out of this
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, transparent=True, metadata={"Software": None})
    return stream.getvalue()


def draw_utility(table: pd.DataFrame, label: str, theme: Theme) -> Figure:
    """Plot one metric: a row per subset, a point with its interval per model, a tick where the student should be.

    Args:
        table: what `tables.utility_table` gives; scores in [0, 1].
        label: the name of the metric, for the axis.
        theme: the colors.
    """
    models = [model for model in ROLES if model in table]
    figure = Figure(figsize=(5.2, 0.8 + 0.28 * len(table) * (len(models) + 1)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(table))
    for place, model in enumerate(models):
        y = rows + (place - (len(models) - 1) / 2) * 0.24
        color = theme.colors[model]
        axes.hlines(y, table[f"{model}_low"], table[f"{model}_high"], color=color, linewidth=2.2)
        axes.plot(table[model], y, _MARKERS[model], color=color, markersize=6, label=model)
        if model == STUDENT and table["ideal"].notna().any():
            style: dict[str, Any] = {"color": theme.ink, "markersize": 13, "markeredgewidth": 1.6}
            axes.plot(table["ideal"], y, "|", label="where the student should be", **style)
    axes.set_yticks(rows, [str(name) for name in table["subset"]], fontsize=11)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel(label)
    _clean(axes, theme, grid="x")
    for y in rows[1:]:
        axes.axhline(y - 0.5, color=theme.muted, linewidth=0.5, alpha=0.5)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9.5, labelcolor=theme.ink)
    return figure


def draw_curve(curve: pd.DataFrame, columns: dict[str, str], title: str, theme: Theme) -> Figure:
    """Plot columns of a curve over the epochs: one loss term, or one metric with a line per subset.

    Args:
        curve: the content of `curve.csv`; empty cells are epochs without evaluation.
        columns: the columns to draw, each with its name in the legend; a role or subset, which sets color and line.
        title: the heading of the plot.
        theme: the colors.
    """
    figure = Figure(figsize=(3.7, 2.7), layout="constrained")
    axes = figure.add_subplot()
    for column, name in columns.items():
        points = curve[["epoch", column]].dropna()
        style: dict[str, Any] = {
            "color": theme.colors[name],
            "linestyle": _LINES.get(name, "-"),
        }
        marker = "o" if len(points) <= _MANY_EPOCHS else ""
        axes.plot(points["epoch"], points[column], marker=marker, markersize=3, linewidth=1.7, label=name, **style)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=theme.ink)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _clean(axes, theme, grid="y")
    if len(columns) > 1:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5, labelcolor=theme.ink)
    return figure


def split_columns(curve: pd.DataFrame) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Divide the columns of a curve into loss terms and metrics per subset.

    Returns:
        the loss terms, and per metric its columns with their subsets; columns without any number are left out.

    Example:
        >>> split_columns(pd.DataFrame({"epoch": [1], "seconds": [2.0], "total": [0.3], "retain_dice": [0.9]}))
        (['total'], {'dice': {'retain_dice': 'retain'}})
    """
    terms: list[str] = []
    metrics: dict[str, dict[str, str]] = {}
    for column in curve.columns:
        subset, _, metric = column.partition("_")
        if column in ("epoch", "seconds") or not curve[column].notna().any():
            continue
        if metric and subset in SUBSETS:
            metrics.setdefault(metric, {})[column] = subset
        else:
            terms.append(column)
    return terms, metrics


def _clean(axes: Axes, theme: Theme, grid: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis="x" if grid == "x" else "y", color=theme.muted, linewidth=0.5, alpha=0.35)
    axes.spines[["top", "right", "left" if grid == "x" else "bottom"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(theme.muted)
    axes.tick_params(colors=theme.ink, length=0, labelsize=9.5)
    axes.xaxis.label.set(color=theme.muted, fontsize=9.5)
