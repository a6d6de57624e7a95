"""The report: one self-contained HTML page, with its figures and tables beside it as files."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context

from mu_monai import __version__
from mu_monai.errors import InputError
from mu_monai.report.content import page_content
from mu_monai.report.figures import THEMES, png
from mu_monai.report.plots import Plot, curve_names, report_plots
from mu_monai.report.tables import RECORD_COLUMNS, ReportTables
from mu_monai.runs.run import Runs
from mu_monai.tables import for_spreadsheets

INDEX_HTML, FIGURES_DIR, TABLES_DIR = "index.html", "figures", "tables"
_CSS_PIXELS_PER_INCH = 100
_GENERATOR = '<meta name="generator" content="mu-monai '  # as in the templates, followed by the version
_HEAD_BYTES = 1024  # the generator tag is within them


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot for embedding in the page.

    Args:
        light: data URI for a light page.
        dark: data URI for a dark page.
        width: CSS pixels.
        height: CSS pixels.
        alt: alternative text for readers who cannot see it.
        caption: one sentence below it.
    """

    light: str
    dark: str
    width: int
    height: int
    alt: str
    caption: str


def write_report(runs: Runs, records: pd.DataFrame, out: str | Path, *, images: bool = True) -> Path:
    """Write `index.html`, `figures/*.png` and `tables/*.csv`; the folder appears whole or not at all.

    Args:
        runs: the runs from `open_runs`.
        records: the audit records of `runs.scores`, one row each with the columns of `tables.RECORD_COLUMNS`.
        out: the folder to write; an earlier report there is replaced.
        images: whether to show images of patients; otherwise the qualitative figure is left out.

    Returns:
        the path of `index.html`.

    Raises:
        InputError: if `out` is a file, or a folder with anything other than an earlier report of mu-monai.
        ValueError: if `records` lacks a column.
    """
    out = Path(out)
    absent = [name for name in RECORD_COLUMNS if name not in records.columns]
    if absent:
        raise ValueError(f"the records have no column {', '.join(absent)}; needed: {', '.join(RECORD_COLUMNS)}")
    tables = ReportTables(runs, records)
    with _swapped_in(out) as folder:
        pictures = write_figures(report_plots(tables, images=images), folder / FIGURES_DIR)
        _write_tables(tables, folder / TABLES_DIR)
        (folder / INDEX_HTML).write_text(report_page(tables, pictures, images=images), encoding="utf-8")
    return out / INDEX_HTML


def report_page(tables: ReportTables, pictures: Mapping[str, Picture], *, images: bool = True) -> str:
    """The page of a report as HTML text.

    Args:
        tables: the tables of the report.
        pictures: its plots for embedding, by the names of `report_plots`.
        images: whether images of patients are shown.
    """
    content = page_content(tables) | {"pictures": pictures, "curves": curve_names(pictures, tables.runs)}
    return render("report.html.j2", content | {"images": images})


def render(template: str, content: Mapping[str, Any]) -> str:
    """Fill in a template of this package."""
    environment = Environment(
        loader=PackageLoader("mu_monai.report"),
        autoescape=True,  # ids and warnings come from files that others may have written
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content, version=__version__)


@contextmanager
def _swapped_in(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that replaces it on success and is deleted on any exception."""
    _check_target(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh, old = Path(scratch, "new"), Path(scratch, "old")
        fresh.mkdir()
        yield fresh
        if out.exists():
            os.replace(out, old)
        os.replace(fresh, out)


def _check_target(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"'{out}' exists and is not a folder; give another folder for the report")
    if not out.is_dir():
        return
    strange = sorted({path.name for path in out.iterdir()} - {INDEX_HTML, FIGURES_DIR, TABLES_DIR})
    if strange:
        raise InputError(f"'{out}' contains '{strange[0]}', which is not part of a report; give a new or empty folder")
    if any(out.iterdir()) and not _is_report(out / INDEX_HTML):
        state = "does not say that mu-monai wrote it" if (out / INDEX_HTML).exists() else "is missing"
        raise InputError(
            f"'{out}' is not empty and not an earlier report: its {INDEX_HTML} {state}; only a report of mu-monai is "
            "replaced; give a new or empty folder, or remove this one yourself"
        )


def _is_report(index: Path) -> bool:
    if not index.is_file():
        return False
    with index.open("rb") as stream:
        return _GENERATOR.encode() in stream.read(_HEAD_BYTES)


def write_figures(plots: Mapping[str, Plot], folder: Path) -> dict[str, Picture]:
    """Draw plots for light and dark pages into a folder, and return them for embedding in the page."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for name, plot in plots.items():
        uris = {}
        for theme in THEMES:
            with rc_context({"text.parse_math": False}):  # a name may contain two $ signs that are not math
                figure = plot.draw(theme)
                content = png(figure)
            (folder / f"{name}{'' if theme.name == 'light' else '-dark'}.png").write_bytes(content)
            uris[theme.name] = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
            width, height = (round(inches * _CSS_PIXELS_PER_INCH) for inches in figure.get_size_inches())
        pictures[name] = Picture(**uris, width=width, height=height, alt=plot.alt, caption=plot.caption)
    return pictures


def _write_tables(tables: ReportTables, folder: Path) -> None:
    folder.mkdir()
    for name, table in tables.files().items():
        for_spreadsheets(table).to_csv(folder / f"{name}.csv", index=False)
