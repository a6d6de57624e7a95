"""The curve of a run: every loss term and subset metric by name, one row per epoch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from ignite.engine import Engine

from mu_monai.files import atomic_path
from mu_monai.processes import gathered, several
from mu_monai.tables import read_table

_TERMS = "terms"


def record_term(engine: Engine, name: str, value: torch.Tensor | float, weight: int = 1) -> None:
    """Add a value to the running epoch mean of the column `name`.

    Args:
        engine: the trainer; the sums are kept in its state and reset every epoch.
        name: the column of `curve.csv`.
        value: a scalar; a tensor is detached and stays on its device until the epoch ends.
        weight: number of cases that the value is a mean of.
    """
    terms = getattr(engine.state, _TERMS, None)
    if terms is None:
        terms = {}
        setattr(engine.state, _TERMS, terms)
    total, count = terms.get(name, (0.0, 0))
    value = value.detach() if isinstance(value, torch.Tensor) else value
    terms[name] = (total + value * weight, count + weight)


def epoch_terms(engine: Engine) -> dict[str, float]:
    """The mean of every recorded column since the last call, over all processes of the run; resets the sums."""
    terms = getattr(engine.state, _TERMS, None) or {}
    setattr(engine.state, _TERMS, {})
    sums = {name: (float(total), count) for name, (total, count) in terms.items()}
    if several():
        parts = [dict(part) for part in gathered(list(sums.items()))]
        sums = {
            name: (sum(part[name][0] for part in parts), sum(part[name][1] for part in parts))
            for name in sums
            if all(name in part for part in parts)
        }
    return {name: total / count for name, (total, count) in sums.items()}


class Curve:
    """The table `curve.csv`, rewritten whole after every epoch.

    Args:
        path: path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def restore(self, epoch: int) -> None:
        """Read the rows up to `epoch`; later rows belong to an unfinished epoch."""
        if self.path.is_file() and epoch > 0:
            table = read_table(self.path, ["epoch"], numbers=True)
            finished = table[table["epoch"] <= epoch]
            self.rows = [{str(k): v for k, v in row.items() if pd.notna(v)} for row in finished.to_dict("records")]

    def append(self, row: dict[str, float]) -> None:
        """Add one epoch and write the file."""
        self.rows.append(row)
        with atomic_path(self.path) as path:
            pd.DataFrame(self.rows).to_csv(path, index=False)
