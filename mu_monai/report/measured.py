"""An unlearning run's own measurements in words: how far its weights moved, and what restoration brought back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mu_monai.keys import CLASSIFICATION
from mu_monai.report.sentences import listed, number, percent
from mu_monai.report.tables import ReportTables, as_rows


def measured_content(tables: ReportTables) -> dict[str, Any]:
    """The sections about weights and restoration by the template's names; None if nothing was measured."""
    return {"drift": _drift(tables), "restoration": _restoration(tables)}


def _drift(tables: ReportTables) -> dict[str, Any] | None:
    runs, drift, margins = tables.runs, tables.measurements.get("drift"), tables.measurements.get("margins")
    if drift is None and margins is None:
        return None
    sentences: list[tuple[str, str]] = []
    if drift is not None:
        sentences.append(("Weights", drift_sentence(drift["total"], drift.get("limit"))))
    if margins is not None:
        several = bool(runs.kept_classes or runs.forget_classes)
        over = "classes" if runs.main.task == CLASSIFICATION else "pixels and classes" if several else "pixels"
        gone = listed(runs.forget_classes)
        method = runs.main.record.method
        sums = runs.main.task == CLASSIFICATION or (method is not None and bool(method.settings.get("softmax")))
        sentences.append(("Answers (delta)", delta_sentence(margins["delta"], over=over, sums_to_one=sums, gone=gone)))
        sentences.append(
            ("Features (epsilon)", epsilon_sentence(margins["epsilon"], margins["feature_layer"], gone=gone))
        )
    return {
        "said": sentences,
        "rows": [_layer(row) for row in as_rows(tables.layers)],
        "every": tables.every_layer,
    }


def _layer(row: Mapping[str, Any]) -> dict[str, str]:
    """A layer's cells; one without an adapter has no rank and no bound."""
    adapted = row["rank"] > 0
    return {
        "layer": row["layer"],
        "rank": f"{row['rank']}" if adapted else number(None),
        "norm": number(row["norm"], 4),
        "spectral_norm": number(row["spectral_norm"], 4),
        "bound": number(row["bound"] if adapted else None, 4),
    }


def _restoration(tables: ReportTables) -> dict[str, Any] | None:
    restoration = tables.measurements.get("restoration")
    if not restoration or not restoration["epochs"]:
        return None
    kept_epoch, stopped = restoration["kept_epoch"], restoration["stopped"]
    rows = [
        {
            "epoch": f"{row['epoch']:.0f}",
            "forget_loss": number(row["forget_loss"], 4),
            "retain_loss": number(row["retain_loss"], 4),
            "returned": percent(row["returned"]),
            "mark": "kept" if row["epoch"] == kept_epoch else "",
        }
        for row in as_rows(tables.restoration)
    ]
    if stopped:
        rows[-1]["mark"] = "stopped here"
    start = {"epoch": "before", "forget_loss": number(restoration["start_forget_loss"], 4), "retain_loss": number(None)}
    start |= {"returned": percent(0.0), "mark": "kept" if kept_epoch is None else ""}
    teacher = {"epoch": "teacher", "forget_loss": number(restoration["teacher_forget_loss"], 4)}
    teacher |= {"retain_loss": number(None), "returned": percent(1.0), "mark": ""}
    return {"sentence": restoration_sentence(restoration), "rows": [teacher, start, *rows]}


def drift_sentence(total: float, limit: float | None) -> str:
    """The distance of all weights from the teacher's.

    Example:
        >>> drift_sentence(1.25, None)
        'All updates together moved the weights by 1.250 (Euclidean distance); nothing limited it.'
    """
    held = "nothing limited it" if limit is None else f"it was held to at most {number(limit)}"
    return f"All updates together moved the weights by {number(total)} (Euclidean distance); {held}."


def delta_sentence(delta: float, *, over: str, sums_to_one: bool = False, gone: str = "") -> str:
    """How far the answers on forget cases moved, or on all training cases if classes were forgotten.

    Args:
        delta: mean |p_s - p_t|, in [0, 1].
        over: what the mean is over.
        sums_to_one: whether the probabilities of the classes sum to 1; those of regions that may overlap do not.
        gone: the classes that were forgotten; empty if cases were.
    """
    most = "2 divided by the number of classes" if sums_to_one else "1"
    return (
        f"The student's probabilities on {_measured_cases(gone)} differ from the teacher's by {number(delta, 4)} on "
        f"average over {over}; 0 means the same answers, and {most} is the maximum. A large value "
        "means changed answers; it does not prove forgetting."
    )


def epsilon_sentence(epsilon: float | None, layer: str | None, *, gone: str = "") -> str:
    """How far the features of forget cases moved, or of all training cases if the classes `gone` were forgotten."""
    if epsilon is None:
        return "No layer is known whose features could be compared, so they were not measured."
    where = f"The features of {_measured_cases(gone)}, averaged over space at {layer},"
    if epsilon == 0:
        return (
            f"{where} are the teacher's: no adapter lies at or before that layer, so the distance is 0 "
            f"by construction, and what the layers up to it learned about {gone or 'these cases'} is still there."
        )
    return (
        f"{where} are {number(epsilon, 4)} from the teacher's (mean Euclidean distance). A large value "
        f"means changed features; it does not prove that nothing of {gone or 'the cases'} is left in them."
    )


def _measured_cases(gone: str) -> str:
    return "all training cases" if gone else "the forget cases"


def restoration_sentence(restoration: Mapping[str, Any]) -> str:
    """Whether the watchdog stopped a restoration, and which weights are kept.

    Args:
        restoration: `measurements.restoration` of `run.json`, with at least one epoch.
    """
    epochs, tolerance = restoration["epochs"], restoration["tolerance"]
    most = max(epochs, key=lambda seen: seen["returned"])
    if restoration["start_forget_loss"] <= restoration["teacher_forget_loss"]:
        verdict = (
            "The watchdog could not judge: before restoration began, the forget cases were answered no worse than by "
            "the teacher, so nothing could come back."
        )
    elif restoration["stopped"]:
        last = epochs[-1]
        verdict = (
            f"The watchdog stopped the restoration in epoch {last['epoch']:.0f}: {percent(last['returned'])} of the "
            f"way back to the teacher's forget loss returned, more than the tolerance of {percent(tolerance)}."
        )
    else:
        bound = "no tolerance was set" if tolerance is None else f"the tolerance is {percent(tolerance)}"
        verdict = (
            f"The watchdog did not stop the restoration: at most {percent(most['returned'])} of the way back to the "
            f"teacher's forget loss returned, in epoch {most['epoch']:.0f}; {bound}."
        )
    kept_epoch = restoration["kept_epoch"]
    if kept_epoch is None:
        return f"{verdict} The restoration was undone: the weights are those from before its first epoch."
    return f"{verdict} The weights of epoch {kept_epoch:.0f} were kept."
