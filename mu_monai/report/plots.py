"""Which plots a report shows, in their order, each with its alternative text and caption."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mu_monai.keys import CASE_ID, FORGET, RETAIN, ROLES, SUBSET
from mu_monai.report.figures import Draw, draw_curve, draw_utility, split_columns
from mu_monai.report.folder import Run, Runs
from mu_monai.report.gallery import draw_gallery
from mu_monai.report.sentences import count, course_sentence, number, term_sentence
from mu_monai.report.tables import utility_table


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot that is not drawn yet.

    Args:
        draw: draws it for a theme.
        alt: what it shows, for who cannot see it.
        caption: one sentence below it.
    """

    draw: Draw
    alt: str
    caption: str


def report_plots(runs: Runs, records: pd.DataFrame, *, images: bool) -> dict[str, Plot]:
    """The plots of a report by the name of their file: `utility`, `<role>-<term or metric>` and `gallery`.

    Args:
        runs: the runs of the report.
        records: the audit records.
        images: whether images of patients may be shown.
    """
    plots = {"utility": _utility(records)}
    for run in reversed(runs.by_role.values()):
        plots |= _curves(run)
    if images and any(role in runs.examples for role in ROLES):
        plots["gallery"] = _gallery(runs)
    return plots


def curve_names(names: Iterable[str], runs: Runs) -> dict[str, list[str]]:
    """The plots that are curves, by the role of their run; the main run comes first."""
    names = list(names)
    found = {role: [name for name in names if name.startswith(f"{role}-")] for role in reversed(runs.by_role)}
    return {role: own for role, own in found.items() if own}


def _utility(records: pd.DataFrame) -> Plot:
    table = utility_table(records, "dice")
    models = [model for model in ROLES if model in table]
    values = "; ".join(
        f"{row['subset']}: " + ", ".join(f"{model} {number(row[model], 2)}" for model in models)
        for row in table.to_dict("records")
    )
    return Plot(
        draw=partial(draw_utility, table, "mean Dice per case, with the 95 % interval over patients"),
        alt=f"Dice with intervals per subset and model. {values}.",
        caption="Each point is a mean over cases and each line its 95 % interval over patients. The closer the student "
        "is to its tick on every row, the better.",
    )


def _curves(run: Run) -> dict[str, Plot]:
    if run.curve.empty:
        return {}
    terms, metrics = split_columns(run.curve)
    plots = {}
    for term in terms:
        draw = partial(draw_curve, run.curve, {term: run.role}, term)
        plots[_file_name(run.role, term)] = Plot(
            draw=draw, alt=f"{term}: {_course(run.curve, term)}.", caption=term_sentence(term, run.role)
        )
    for metric, columns in metrics.items():
        course = "; ".join(f"{subset}: {_course(run.curve, column)}" for column, subset in columns.items())
        plots[_file_name(run.role, "subset", metric)] = Plot(
            draw=partial(draw_curve, run.curve, columns, f"{metric} per subset"),
            alt=f"{metric} per subset. {course}.",
            caption=course_sentence(metric, run.role),
        )
    return plots


def _file_name(*parts: str) -> str:
    return "-".join(re.sub(r"\W+", "_", part) for part in parts)  # a column may hold anything, a path among it


def _course(curve: pd.DataFrame, column: str) -> str:
    points = curve[["epoch", column]].dropna()
    first, last = points.iloc[0], points.iloc[-1]
    return f"{number(first[column])} in epoch {first['epoch']:.0f}, {number(last[column])} in epoch {last['epoch']:.0f}"


def _gallery(runs: Runs) -> Plot:
    examples = runs.examples
    subset = np.asarray(examples[SUBSET], dtype=str)
    named = ", ".join(f"{case} ({name})" for case, name in zip(examples[CASE_ID], subset, strict=True))
    sizes = {name: int((subset == name).sum()) for name in (RETAIN, FORGET)}
    return Plot(
        draw=partial(draw_gallery, examples),
        alt=f"Input, ground truth and the models' answers for the cases {named}.",
        caption=f"The first {count(sizes[RETAIN], 'case')} of retain and {sizes[FORGET]} of forget by id; nobody chose "
        "them by how they look. Answers are probabilities, black 0 and white 1; |T \N{MINUS SIGN} S| is the difference "
        "between teacher and student, bright where it is large. It should stay dark for retain; for forget the student "
        "should look like a model that never saw the case, not like an empty mask.",
    )
