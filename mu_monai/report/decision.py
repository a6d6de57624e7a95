"""The decision figure: where each classifier sees the forgotten cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.spatial import KDTree

from mu_monai.keys import FORGET, LABEL, MODEL, ROLES, SUBSET
from mu_monai.report.figures import Theme, short
from mu_monai.report.sentences import count, percent
from mu_monai.runs.scores import PREDICTED

_PALETTE = "tab10"
_SPECTRUM = "turbo"  # for more classes than the palette has colors
_STEPS = 200  # along a side of the plane
_MARGIN = 0.04


def draw_decision(table: pd.DataFrame, theme: Theme) -> Figure:
    """Plot each model's plane: its regions, the cases in the colors of their classes, and forget cases as stars.

    A region is what the model predicts for the nearest case.

    Args:
        table: `decision.csv`.
        theme: the colors.

    Source: after Figure 4 of arXiv 2505.21872.
    """
    models = [role for role in ROLES if role in set(table[MODEL])]
    names = sorted({*table[LABEL], *table[PREDICTED]})
    few = matplotlib.colormaps[_PALETTE]
    palette = few if len(names) <= few.N else matplotlib.colormaps[_SPECTRUM].resampled(len(names))
    colors = {name: palette(place)[:3] for place, name in enumerate(names)}
    figure = Figure(figsize=(0.6 + 3.1 * len(models), 3.6 + 0.22 * -(-len(names) // 4)), layout="constrained")
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        _draw_plane(axes, table[table[MODEL] == model], colors, theme)
        axes.set_title(model, loc="left", fontsize=11, fontweight="bold", color=theme.colors[model])
    dot: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 6}
    handles = [Line2D([], [], color=color, label=short(name), **dot) for name, color in colors.items()]
    star: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 11, "color": "none"}
    handles.append(Line2D([], [], markeredgecolor=theme.ink, label="to be forgotten", **star))
    style: dict[str, Any] = {"ncols": 4, "frameon": False, "fontsize": 8.5, "labelcolor": theme.ink}
    figure.legend(handles=handles, loc="outside lower left", **style)
    return figure


def _draw_plane(axes: Axes, rows: pd.DataFrame, colors: Mapping[str, Any], theme: Theme) -> None:
    places = rows[["x", "y"]].to_numpy(dtype=float)
    low, high = places.min(axis=0), places.max(axis=0)
    low, high = low - _MARGIN * (high - low) - 1e-6, high + _MARGIN * (high - low) + 1e-6
    grid = np.stack(np.meshgrid(*np.linspace(low, high, _STEPS).T), axis=-1)
    nearest = KDTree(places).query(grid)[1]
    regions = np.array([colors[name] for name in rows[PREDICTED]])[nearest]
    extent = (low[0], high[0], low[1], high[1])
    axes.imshow(regions, origin="lower", extent=extent, aspect="auto", alpha=0.28, interpolation="nearest")
    for forget in (False, True):
        part = rows[(rows[SUBSET] == FORGET) == forget]
        style: dict[str, Any] = {"s": 80, "marker": "*", "edgecolors": theme.ink, "linewidths": 0.9}
        style = style if forget else {"s": 11, "marker": "o", "linewidths": 0}
        axes.scatter(part["x"], part["y"], color=[colors[name] for name in part[LABEL]], **style)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(theme.muted)


def decision_alt(table: pd.DataFrame) -> str:
    """The figure in words: for how many forget cases each model predicts the label."""
    forget = table[table[SUBSET] == FORGET]
    shares = [
        f"{model} predicts the label of {percent((rows[LABEL] == rows['predicted']).mean(), 0)} of them"
        for model, rows in ((role, forget[forget[MODEL] == role]) for role in ROLES)
        if len(rows)
    ]
    cases = count(table["case_id"].nunique(), "case")
    return f"Planes of {cases} with each model's regions; the stars are forget cases: {'; '.join(shares)}."


def decision_caption() -> str:
    """How to read the figure."""
    return (
        "Each model's view of the cases by the features that it decides from (t-SNE, one plane per model: compare "
        "which cases the stars lie among, not where they lie). A dot has the color of its true class, the background "
        "that of the class predicted for the nearest case. The student's stars should lie as the retrained model's "
        "do: often still within their own class, but no longer deep among memorized cases. After Figure 4 of arXiv "
        "2505.21872."
    )
