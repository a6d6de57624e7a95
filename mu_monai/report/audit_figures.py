"""The plots of the audit: losses of forgotten and unseen patients, and the effect of attacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from mu_monai.keys import FORGET, MODEL, PATIENT_ID, RETRAINED, ROLES, STUDENT, SUBSET, TEST
from mu_monai.report.figures import Theme, clean

_BINS = 16
_NAMES = {FORGET: "forgotten patients", TEST: "unseen patients"}
_LEAST = 1e-6  # a loss of 0 has no logarithm


def draw_losses(scores: pd.DataFrame, theme: Theme) -> Figure:
    """Plot the distributions of the losses of forgotten and unseen patients, a panel per model.

    Args:
        scores: the score tables of all models; a patient's loss is the mean over the images.
        theme: the colors.
    """
    losses = scores[scores[SUBSET].isin((FORGET, TEST))].groupby([MODEL, SUBSET, PATIENT_ID])["loss"].mean()
    losses = losses.clip(lower=_LEAST)
    models = [model for model in ROLES if model in losses.index.get_level_values(MODEL)]
    bins = np.geomspace(losses.min() * 0.99, losses.max() * 1.01, _BINS + 1)
    figure = Figure(figsize=(1.2 + 2.6 * len(models), 3.0), layout="constrained")
    panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        for subset, filled in ((TEST, True), (FORGET, False)):
            values = losses[model].get(subset)
            if values is None:
                continue
            color = theme.colors[subset]
            style: dict[str, Any] = {"alpha": 0.35} if filled else {"linewidth": 2.0}
            kind: Any = "stepfilled" if filled else "step"
            weights = np.full(len(values), 100 / len(values))
            axes.hist(values, bins, weights=weights, histtype=kind, color=color, label=_NAMES[subset], **style)
            axes.axvline(values.median(), color=color, linewidth=1.6, linestyle=":" if filled else "--")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_title(model, loc="left", fontsize=11, fontweight="bold", color=theme.colors[model])
        axes.set_xlabel("loss per patient")
        clean(axes, theme, grid="y")
        axes.tick_params(which="minor", length=0)
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("% of patients", color=theme.muted, fontsize=9.5)
    handles, labels = panels[-1].get_legend_handles_labels()
    style = {"ncols": 2, "frameon": False, "fontsize": 9.5, "labelcolor": theme.ink}
    figure.legend(handles, labels, loc="outside upper left", **style)
    return figure


def draw_attacks(table: pd.DataFrame, theme: Theme) -> Figure:
    """Plot the AUC of the loss before and after every attack, for the student and the retrained model.

    Args:
        table: `attack` (empty: before), `model`, `value`, `low` and `high`, one row per model and attack.
        theme: the colors.
    """
    attacks = ["", *dict.fromkeys(table["attack"][table["attack"] != ""])]
    figure = Figure(figsize=(7.2, 1.1 + 0.42 * len(attacks)), layout="constrained")
    axes = figure.add_subplot()
    for place, (model, marker) in enumerate(((RETRAINED, "D"), (STUDENT, "s"))):
        rows = table[table["model"] == model]
        y = rows["attack"].map(attacks.index) + (place - 0.5) * 0.28
        axes.hlines(y, rows["low"], rows["high"], color=theme.colors[model], linewidth=2.2)
        if len(rows):
            axes.plot(rows["value"], y, marker, color=theme.colors[model], markersize=6, label=model, linestyle="none")
    axes.axvline(0.5, color=theme.ink, linewidth=1.2, linestyle="--", label="like unseen patients")
    names = [name.replace(" (", "\n(") or "before any attack" for name in attacks]  # the rate in a line of its own
    axes.set_yticks(range(len(attacks)), names, linespacing=1.15)
    axes.set_ylim(len(attacks) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("AUC of the loss, forgotten against unseen patients, with its 95 % interval")
    clean(axes, theme, grid="x")
    axes.axhline(0.5, color=theme.muted, linewidth=0.5, alpha=0.5)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9.5, labelcolor=theme.ink)
    return figure
