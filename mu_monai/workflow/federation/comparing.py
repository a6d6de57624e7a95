"""Compare ways to forget a site: rounds, bytes, utility at every site, and membership of the site that left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.errors import raise_if_any
from mu_monai.runs.federation import Federation, SiteNumbers, read_federation


def compare_federations(folders: Sequence[str | Path]) -> pd.DataFrame:
    """A table of federations: one that trained, and those that forgot a site of it.

    Only `federation.json` is read; each site measured its numbers itself.

    Args:
        folders: their folders.

    Returns:
        one row for each: `folder`, `route`, `rounds` in which weights changed, `MB` of weights that were sent and
        received in them, `passes`, the mean Dice or accuracy on the unseen cases of every site, and for each site that
        left a federation the `AUC` of its training patients against its unseen ones, with its interval.

    Raises:
        InputError: if a folder holds no finished federation, or they do not have the same sites.
    """
    read = {str(folder): read_federation(folder) for folder in folders}
    raise_if_any(_problems(read))
    names = sorted({site.name for each in read.values() for site in each.everybody})
    left = sorted({each.left for each in read.values() if each.left})
    return pd.DataFrame([_row(folder, federation, names, left) for folder, federation in read.items()])


def _problems(read: dict[str, Federation]) -> Iterator[str]:
    sites = {folder: frozenset(site.sha256 for site in each.everybody) for folder, each in read.items()}
    for folder, each in read.items():
        if not each.finished:
            yield f"the federation in '{folder}' is not finished: its simulator was interrupted; make it again"
        elif not each.numbers:
            yield f"the federation in '{folder}' has no numbers of its sites, as a finished one has; make it again"
        if not sites[folder] <= max(sites.values(), key=len):
            yield f"'{folder}' has other sites than the others; compare federations that come from one training"


def _row(folder: str, federation: Federation, names: Sequence[str], left: Sequence[str]) -> dict[str, Any]:
    work = federation.training
    row: dict[str, Any] = {
        "folder": Path(folder).name,
        "route": federation.route,
        "rounds": len(work),
        "MB": round(sum(each.bytes or 0 for each in work) / 1e6, 1),
        "passes": sum(each.passes or 0 for each in work),
    }
    told = {name: federation.numbers_of(name) for name in names}
    row |= {f"{_metric(federation)} {name}": _value(told[name]) for name in names}
    return row | {f"AUC {name}": _membership(told[name]) for name in left}


def _metric(federation: Federation) -> str:
    return federation.numbers[0].metric


def _value(told: SiteNumbers | None) -> str:
    return "" if told is None else f"{told.value:.3f}"


def _membership(told: SiteNumbers | None) -> str:
    if told is None or told.auc is None:
        return ""
    ends = [end for end in (told.auc_low, told.auc_high) if end is not None]
    between = f" ({ends[0]:.2f} to {ends[1]:.2f})" if len(ends) == 2 else ""
    return f"{told.auc:.2f}{between}"
