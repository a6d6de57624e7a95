"""The plots of a report, in order, each with its alternative text and caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mu_monai.keys import CASE_ID, FORGET, LABEL, MODEL, RETAIN, RETRAINED, ROLES, STUDENT, SUBSET, TEACHER
from mu_monai.planes import PLANE, POSITION
from mu_monai.report.audit_figures import draw_attacks, draw_losses
from mu_monai.report.audited import attack_values, has_losses
from mu_monai.report.classwise import class_subsets
from mu_monai.report.decision import decision_alt, decision_caption, draw_decision
from mu_monai.report.figures import (
    Draw,
    draw_classes,
    draw_curve,
    draw_layers,
    draw_restoration,
    draw_utility,
    has_targets,
    split_columns,
)
from mu_monai.report.gallery import draw_class_gallery, draw_gallery
from mu_monai.report.sentences import count, course_sentence, listed, number, percent, term_sentence
from mu_monai.report.tables import ReportTables, as_rows, leading
from mu_monai.report.volume_gallery import draw_volume_gallery
from mu_monai.runs.examples import CLASSES, Examples, is_volumes
from mu_monai.runs.numbers import F1
from mu_monai.runs.run import Run, Runs
from mu_monai.runs.scores import PER_CLASS

_SHOWN_LAYERS = 20


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot that has not been drawn yet.

    Args:
        draw: function that draws it for a theme.
        alt: alternative text for readers who cannot see it.
        caption: one sentence below it.
    """

    draw: Draw
    alt: str
    caption: str


def report_plots(tables: ReportTables, *, images: bool) -> dict[str, Plot]:
    """The plots of a report by file name.

    They are `utility`, `losses`, `attacks`, `decision`, `classes`, `<role>-<term or metric>`, `restoration`, `layers`
    and `gallery`; plots without content are left out.

    Args:
        tables: the tables of the report.
        images: whether images of patients may be shown.
    """
    runs = tables.runs
    plots = {"utility": _utility(tables)} | _audit(tables) | _classes(tables)
    for run in reversed(runs.by_role.values()):
        plots |= _curves(run, of_classes=bool(runs.forget_classes))
    plots |= _restoration(tables) | _layers(tables)
    if images and any(role in tables.examples for role in ROLES):
        plots["gallery"] = _gallery(tables.examples, runs.forget_classes)
    return plots


def curve_names(names: Iterable[str], runs: Runs) -> dict[str, list[str]]:
    """The plots that are curves, by the role of their run; the main run comes first."""
    names = list(names)
    by_role = {role: [name for name in names if name.startswith(f"{role}-")] for role in reversed(runs.by_role)}
    return {role: curves for role, curves in by_role.items() if curves}


def _utility(tables: ReportTables) -> Plot:
    table, label = tables.utility[tables.metrics[0].name], tables.metrics[0].label
    models = [model for model in ROLES if model in table]
    values = "; ".join(
        f"{row['subset']}: " + ", ".join(f"{model} {number(row[model], 2)}" for model in models)
        for row in as_rows(table)
    )
    aim = " The closer the student is to its tick on every row, the better." if has_targets(table) else ""
    return Plot(
        draw=partial(draw_utility, table, f"{label}, mean over cases with its 95 % interval over patients"),
        alt=f"{label} with intervals per subset and model. {values}.",
        caption=f"Each point is a mean over cases and each line its 95 % interval over patients.{aim}",
    )


def _audit(tables: ReportTables) -> dict[str, Plot]:
    plots, attacks, decision = {}, attack_values(tables.audit_records), tables.runs.decision
    beside = RETRAINED in set(tables.scores[MODEL])
    if has_losses(tables):
        plots["losses"] = Plot(
            draw=partial(draw_losses, tables.scores),
            alt="Losses of forgotten and of unseen patients per model, as histograms.",
            caption="The distribution of the losses; the lines are medians. A teacher knows the forgotten patients: "
            "their losses lie further left. For the student, outline and area should overlap"
            f"{' as they do for the retrained model' * beside}.",
        )
    if len(attacks):
        values = ", ".join(
            f"{row['attack'] or 'before'} {row['model']} {number(row['value'], 2)}" for row in as_rows(attacks)
        )
        plots["attacks"] = Plot(
            draw=partial(draw_attacks, attacks),
            alt=f"AUC of the loss before and after attacks. {values}.",
            caption="What an attack on the weights brings back. To the right of the dashed line forgotten patients are "
            "known again; to the left they stand out by worse answers. The student should stay "
            f"{'where the retrained model is' if RETRAINED in set(attacks['model']) else 'at the line'}.",
        )
    if len(decision):
        draw = partial(draw_decision, decision)
        plots["decision"] = Plot(draw=draw, alt=decision_alt(decision), caption=decision_caption())
    return plots


def _classes(tables: ReportTables) -> dict[str, Plot]:
    table = leading(tables.classes)
    shown = [subset for subset in class_subsets(tables.runs.forget_classes)[:3] if subset in set(table["subset"])]
    if not shown:
        return {}
    parts = [table[table["subset"] == subset] for subset in shown]
    values = "; ".join(
        f"{row['subset']}, {row['class']}: {row['model']} {number(row['value'], 2)}"
        for part in parts
        for row in as_rows(part)
    )
    quantity = PER_CLASS[table["quantity"].iloc[0]]
    aim = (
        " The student's points should be where the retrained model's are; without one, near the teacher's, except for "
        "what was forgotten."
        if STUDENT in set(table["model"])
        else ""
    )
    of_paper = " After Figure 3 of arXiv 2511.16574, which shows two models without intervals."
    label, source = quantity.label, of_paper if quantity.name == F1 else ""
    plot = Plot(
        draw=partial(draw_classes, pd.concat(parts), label=label),
        alt=f"{label} with intervals per class, subset and model. {values}.",
        caption=f"{label} of each class with its 95 % interval over patients.{aim}{source}",
    )
    return {"classes": plot}


def _restoration(tables: ReportTables) -> dict[str, Plot]:
    table = tables.restoration
    if table.empty:
        return {}
    course = ", ".join(
        f"epoch {row['epoch']:.0f} {number(row['forget_loss'])} ({percent(row['returned'])} returned)"
        for row in as_rows(table)
    )
    restoration = tables.measurements["restoration"]
    plot = Plot(
        draw=partial(draw_restoration, restoration, tables.runs.main.curve),
        alt=f"Loss of the forget cases while the head is restored: {number(restoration['start_forget_loss'])} before, "
        f"{course}; {number(restoration['teacher_forget_loss'])} for the teacher.",
        caption="The loss of the forget cases through unlearning and the restoration after it. In the shaded part it "
        "should stay high: each step down toward the teacher's level brings back something of the forgotten cases.",
    )
    return {"restoration": plot}


def _layers(tables: ReportTables) -> dict[str, Plot]:
    table = tables.layers
    if table.empty:
        return {}
    most = table.nlargest(_SHOWN_LAYERS, "norm").sort_index()
    values = ", ".join(f"{row['layer']} {number(row['norm'])}" for row in as_rows(most))
    adapted = tables.has_adapters
    some = len(most) < len(table)
    which = f"The {len(most)} of {len(table)} layers that moved most" if some else tables.every_layer
    bound = (
        "The bound follows from the adapter's two factors alone, so no bar exceeds its tick, except for a head that "
        "was also restored."
        if adapted
        else "All of their weights train, so nothing bounds an update."
    )
    plot = Plot(
        draw=partial(draw_layers, most),
        alt=f"Norm of each layer's update{' with its bound' if adapted else ''}. {values}.",
        caption=f"{which}, in the network's order. {bound}",
    )
    return {"layers": plot}


def _curves(run: Run, *, of_classes: bool) -> dict[str, Plot]:
    if run.curve.empty:
        return {}
    terms, metrics = split_columns(run.curve)
    plots = {}
    for term in terms:
        draw = partial(draw_curve, run.curve, {term: run.role}, term)
        plots[_file_name(run.role, term)] = Plot(
            draw=draw,
            alt=f"{term}: {_course(run.curve, term)}.",
            caption=term_sentence(term, run.role, of_classes=of_classes),
        )
    for metric, columns in metrics.items():
        course = "; ".join(f"{subset}: {_course(run.curve, column)}" for column, subset in columns.items())
        plots[_file_name(run.role, "subset", metric)] = Plot(
            draw=partial(draw_curve, run.curve, columns, f"{metric} per subset"),
            alt=f"{metric} per subset. {course}.",
            caption=course_sentence(metric, run.role, of_classes=of_classes),
        )
    return plots


def _file_name(*parts: str) -> str:
    return "-".join(re.sub(r"\W+", "_", part) for part in parts)  # a column may have any name, even a path


def _course(curve: pd.DataFrame, column: str) -> str:
    points = curve[["epoch", column]].dropna()
    first, last = points.iloc[0], points.iloc[-1]
    return f"{number(first[column])} in epoch {first['epoch']:.0f}, {number(last[column])} in epoch {last['epoch']:.0f}"


def _gallery(examples: Examples, forget_classes: Sequence[str]) -> Plot:
    _, first = np.unique(examples[CASE_ID], return_index=True)  # volumes have several views per case
    subset = np.asarray(examples[SUBSET], dtype=str)[first]
    named = ", ".join(f"{case} ({name})" for case, name in zip(examples[CASE_ID], examples[SUBSET], strict=True))
    sizes = {name: int((subset == name).sum()) for name in (RETAIN, FORGET)}
    choice = (
        f"The first {count(sizes[RETAIN], 'case')} of retain and {sizes[FORGET]} of forget by id; nobody chose them by "
        "how they look."
    )
    if is_volumes(examples):
        return _volume_gallery(examples, choice, forget_classes)
    if CLASSES in examples:
        aim = (
            " For retain the student should answer like the teacher; for forget like a model that never saw the case, "
            "which is not always wrong."
        )
        return Plot(
            draw=partial(draw_class_gallery, examples),
            alt=f"Input, true class and the models' answers. {_answers(examples)}.",
            caption=f"{choice} Each answer is the most probable class with its probability and, if it is wrong, the "
            f"probability of the true class.{aim if STUDENT in examples else ''}",
        )
    aim = (
        " |T \N{MINUS SIGN} S| is the difference between teacher and student: the brighter, the larger. It should stay "
        "dark for retain; for forget the student should look like a model that never saw the case, not like an empty "
        "mask."
    )
    return Plot(
        draw=partial(draw_gallery, examples),
        alt=f"Input, ground truth and the models' answers for the cases {named}.",
        caption=f"{choice} Answers are probabilities, black 0 and white 1."
        f"{aim if {TEACHER, STUDENT} <= set(examples) else ''}",
    )


def _volume_gallery(examples: Examples, choice: str, forget_classes: Sequence[str]) -> Plot:
    views = zip(examples[CASE_ID], examples[SUBSET], examples[PLANE], examples[POSITION], strict=True)
    named = ", ".join(f"{case} ({subset}), {plane} {position}" for case, subset, plane, position in views)
    models = [role for role in ROLES if role in examples]
    apart = "teacher and student" if {TEACHER, STUDENT} <= set(models) else f"{models[0]} and ground truth"
    aim = (
        f" The student should no longer segment {listed(forget_classes)}, and should segment everything else like the "
        "teacher."
        if forget_classes
        else " For retain the student should segment like the teacher; for forget like a model that never saw the "
        "case, not nothing."
    )
    return Plot(
        draw=partial(draw_volume_gallery, examples),
        alt=f"Three planes of each case with the outlines of ground truth, {listed(models)}: {named}.",
        caption=f"{choice} Each view is the slice in which {apart} differ most, with its index in the volume that the "
        "network sees, counted from 0 toward right, anterior and superior, after the bundle's resampling and cropping; "
        "it is not the index in the image's file. Radiological convention: the patient's right (R) is on the left; "
        f"in sagittal views anterior (A) is on the left.{aim if STUDENT in models else ''}",
    )


def _answers(examples: Examples) -> str:
    """Each model's answer on each case, in words."""
    names = np.asarray(examples[CLASSES], dtype=str)
    cases = []
    for row, case in enumerate(examples[CASE_ID]):
        answers = [
            f"{role} {names[examples[role][row].argmax()]} {number(float(examples[role][row].max()), 2)}"
            for role in ROLES
            if role in examples
        ]
        cases.append(f"{case} ({examples[SUBSET][row]}, {examples[LABEL][row]}): {', '.join(answers)}")
    return "; ".join(cases)
