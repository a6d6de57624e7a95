"""The plots of the report, each drawn for light and dark pages."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mu_monai.keys import FORGET, RETAIN, RETRAINED, ROLES, STUDENT, SUBSETS, TEACHER, TEST, VALIDATION
from mu_monai.report.sentences import TERMS

_DPI = 180
_MARKERS = {TEACHER: "o", RETRAINED: "D", STUDENT: "s"}
_LINES = {RETAIN: "-", FORGET: "--", VALIDATION: "-.", TEST: ":"}
_MANY_EPOCHS = 20
_NO_TERMS = ("epoch", "seconds", "passes", "steps", "phase", "forget_returned")  # the last two have their own figure


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
    FigureCanvasAgg(figure)  # a canvas of its own avoids pyplot and its global state
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, transparent=True, metadata={"Software": None})
    return stream.getvalue()


def draw_utility(table: pd.DataFrame, label: str, theme: Theme) -> Figure:
    """Plot one metric: a row per subset, a point with its interval per model, and a tick for the student's target.

    Args:
        table: the table that `tables.utility_table` returns; scores in [0, 1].
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
        if model == STUDENT and has_targets(table):
            style: dict[str, Any] = {"color": theme.ink, "markersize": 13, "markeredgewidth": 1.6}
            axes.plot(table["ideal"], y, "|", label="where the student should be", **style)
    axes.set_yticks(rows, [str(name) for name in table["subset"]], fontsize=11)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel(label)
    clean(axes, theme, grid="x")
    for y in rows[1:]:
        axes.axhline(y - 0.5, color=theme.muted, linewidth=0.5, alpha=0.5)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9.5, labelcolor=theme.ink)
    return figure


def has_targets(table: pd.DataFrame) -> bool:
    """Whether a `utility_table` says where the student should be."""
    return STUDENT in table and bool(table["ideal"].notna().any())


def draw_curve(curve: pd.DataFrame, columns: dict[str, str], title: str, theme: Theme) -> Figure:
    """Plot columns of a training curve over epochs: one loss term, or one metric with a line per subset.

    Args:
        curve: the content of `curve.csv`; empty cells are epochs without evaluation, and phase 2 is shaded.
        columns: the columns to draw, each with its role or subset, which is its legend label and sets its color.
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
    if "phase" in curve and (curve["phase"] == 2).any():
        restored = curve["epoch"][curve["phase"] == 2]
        axes.axvspan(restored.min() - 0.5, restored.max() + 0.5, color=theme.muted, alpha=0.15, linewidth=0)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=theme.ink)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))  # a single epoch has no fractions
    clean(axes, theme, grid="y")
    if len(columns) > 1:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5, labelcolor=theme.ink)
    return figure


def draw_classes(table: pd.DataFrame, theme: Theme, *, label: str = "F1") -> Figure:
    """Plot F1 or Dice per class: a panel per subset, a row per class, a point with its interval per model.

    Args:
        table: the rows of `tables.class_table` for one quantity and the subsets to draw, in their order.
        theme: the colors.
        label: the name of the quantity, for the axis.

    Source: after Figure 3 of Erase to Retain, arXiv 2511.16574, which has bars for two models and no intervals.
    """
    subsets, names = list(dict.fromkeys(table["subset"])), sorted(set(table["class"]))
    models = [model for model in ROLES if model in set(table["model"])]
    size = (1.8 + 2.6 * len(subsets), 0.9 + 0.14 * len(names) * (len(models) + 1))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(subsets), sharex=True, sharey=True, squeeze=False)[0]
    for axes, subset in zip(panels, subsets, strict=True):
        for place, model in enumerate(models):
            rows = table[(table["subset"] == subset) & (table["model"] == model)]
            y = rows["class"].map(names.index) + (place - (len(models) - 1) / 2) * 0.24
            color = theme.colors[model]
            axes.hlines(y, rows["low"], rows["high"], color=color, linewidth=1.8)
            axes.plot(rows["value"], y, _MARKERS[model], color=color, markersize=4.5, label=model)
        axes.set_title(subset, loc="left", fontsize=11, fontweight="bold", color=theme.colors[subset])
        axes.set_xlabel(label)
        axes.set_xlim(-0.04, 1.04)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        clean(axes, theme, grid="x")
        for line in range(1, len(names)):
            axes.axhline(line - 0.5, color=theme.muted, linewidth=0.5, alpha=0.5)
    panels[0].set_yticks(range(len(names)), [short(name) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    style: dict[str, Any] = {"ncols": 3, "frameon": False, "fontsize": 9.5, "labelcolor": theme.ink}
    figure.legend(handles, labels, loc="outside upper left", **style)
    return figure


def draw_layers(table: pd.DataFrame, theme: Theme) -> Figure:
    """Plot how far each layer moved: a bar for the norm of its update and, if it has an adapter, a tick for its bound.

    Args:
        table: `layer`, `rank`, `norm` and `bound`, a row per layer; a layer of rank 0 has no adapter.
        theme: the colors.
    """
    figure = Figure(figsize=(7.2, 0.9 + 0.24 * len(table)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(table))
    axes.barh(rows, table["norm"], height=0.6, color=theme.colors[STUDENT], label="norm of the update")
    style: dict[str, Any] = {"color": theme.ink, "markersize": 11, "markeredgewidth": 1.6}
    bounded = (table["rank"] > 0).to_numpy()
    if bounded.any():
        axes.plot(table["bound"][bounded], rows[bounded], "|", label="bound from its factors", **style)
    axes.set_yticks(rows, [short(name, 44) for name in table["layer"]])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("Frobenius norm")
    clean(axes, theme, grid="x")
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9.5, labelcolor=theme.ink)
    return figure


def draw_restoration(restoration: Mapping[str, Any], curve: pd.DataFrame, theme: Theme) -> Figure:
    """Plot the forget loss over both phases, with the teacher's level and the tolerance.

    Args:
        restoration: `measurements.restoration` of `run.json`, with at least one epoch.
        curve: the content of `curve.csv`; its `forget_loss` shows the first phase.
        theme: the colors.
    """
    start, teacher, tolerance = (
        restoration["start_forget_loss"],
        restoration["teacher_forget_loss"],
        restoration["tolerance"],
    )
    epochs = pd.DataFrame(restoration["epochs"])
    first = int(epochs["epoch"].iloc[0])
    before = curve[curve["epoch"] < first - 1] if "forget_loss" in curve else pd.DataFrame()
    losses = dict(before[["epoch", "forget_loss"]].dropna().to_numpy()) if len(before) else {}
    losses |= {first - 1: start} | dict(epochs[["epoch", "forget_loss"]].to_numpy())
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    line: dict[str, Any] = {"color": theme.colors[FORGET], "markersize": 4, "linewidth": 1.8}
    axes.plot(list(losses), list(losses.values()), marker="o", label="forget loss", **line)
    axes.axhline(teacher, color=theme.colors[TEACHER], linestyle="--", linewidth=1.4, label="the teacher's")
    if start > teacher:
        if tolerance is not None:
            level, name = start - tolerance * (start - teacher), f"tolerance, {100 * tolerance:g} % of the way back"
            axes.axhline(level, color=theme.ink, linestyle=":", linewidth=1.4, label=name)
        _share_axis(axes, start, teacher, theme)
    kept_epoch = first - 1 if restoration["kept_epoch"] is None else restoration["kept_epoch"]
    ring: dict[str, Any] = {"color": theme.ink, "markersize": 11, "fillstyle": "none", "linestyle": "none"}
    axes.plot([kept_epoch], [losses[kept_epoch]], marker="o", label="kept", **ring)
    _shade(axes, first, losses, theme)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss of the forget cases", color=theme.muted, fontsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    clean(axes, theme, grid="y")
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9.5, labelcolor=theme.ink)
    return figure


def _share_axis(axes: Axes, start: float, teacher: float, theme: Theme) -> None:
    """A second scale: 0 % at the start of restoration, 100 % at the teacher's level."""
    way = start - teacher

    def share(loss: Any) -> Any:
        return (start - loss) / way

    def loss(share: Any) -> Any:
        return start - share * way

    scale = axes.secondary_yaxis("right", functions=(share, loss))
    scale.set_ylabel("share of the way back", color=theme.muted, fontsize=9.5)
    scale.yaxis.set_major_formatter(PercentFormatter(1.0))
    scale.tick_params(colors=theme.ink, length=0, labelsize=9.5)
    scale.spines["right"].set_color(theme.muted)


def _shade(axes: Axes, first: int, epochs: Iterable[float], theme: Theme) -> None:
    """Label both phases and shade the second."""
    low, high = min(epochs) - 0.5, max(epochs) + 0.5
    axes.axvspan(first - 0.5, high, color=theme.muted, alpha=0.15, linewidth=0)
    axes.set_xlim(low, high)
    style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": 9.5, "color": theme.muted}
    axes.text(low, 1.02, "unlearning", ha="left", **style)
    axes.text(high, 1.02, "restoration", ha="right", **style)


def short(name: str, length: int = 26) -> str:
    """A name shortened at its start to fit beside a plot.

    Example:
        >>> short("model.1.submodule.conv", 12), short("conv", 12)
        ('…module.conv', 'conv')
    """
    return name if len(name) <= length else f"…{name[1 - length :]}"


def split_columns(curve: pd.DataFrame) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Divide the columns of a curve into terms, which are one number each, and metrics per subset.

    Returns:
        the terms, and per metric its columns with their subsets; columns without any numbers are left out.

    Example:
        >>> split_columns(pd.DataFrame({"epoch": [1], "seconds": [2.0], "total": [0.3], "retain_dice": [0.9]}))
        (['total'], {'dice': {'retain_dice': 'retain'}})
    """
    terms: list[str] = []
    metrics: dict[str, dict[str, str]] = {}
    for column in curve.columns:
        subset, _, metric = column.partition("_")
        if column in _NO_TERMS or not curve[column].notna().any():
            continue
        if metric and subset in SUBSETS and column not in TERMS:
            metrics.setdefault(metric, {})[column] = subset
        else:
            terms.append(column)
    return terms, metrics


def clean(axes: Axes, theme: Theme, grid: str) -> None:
    """Apply the common style: a light grid along one axis, and no frame."""
    axes.set_axisbelow(True)
    axes.grid(axis="x" if grid == "x" else "y", color=theme.muted, linewidth=0.5, alpha=0.35)
    axes.spines[["top", "right", "left" if grid == "x" else "bottom"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(theme.muted)
    axes.tick_params(colors=theme.ink, length=0, labelsize=9.5)
    axes.xaxis.label.set(color=theme.muted, fontsize=9.5)
