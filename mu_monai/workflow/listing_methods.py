"""The unlearning methods that there are, with what they do and their settings."""

from __future__ import annotations

from typing import Any

from monai.data import DataLoader, Dataset

from mu_monai.methods import METHODS
from mu_monai.methods.method import COSTS


def methods() -> dict[str, dict[str, Any]]:
    """Each method by its name on the command line: what it is, where it comes from, what it needs, costs and takes.

    Returns:
        by name: `summary`, `paper`, `tasks`, `needs`, `cost` and `settings` with their defaults.

    Example:
        >>> found = methods()["erase-to-retain"]
        >>> found["paper"], found["needs"], found["settings"]["forget_weight"]
        ('arXiv 2511.16574', ['retain labels', 'teacher'], 3.0)
    """
    return {
        name: {
            "summary": (method.__doc__ or "").strip().splitlines()[0],
            "paper": method.paper,
            "tasks": list(method.tasks),
            "needs": list(method.needs),
            "cost": COSTS[method.cost],
            "settings": method(forget_loader=DataLoader(Dataset([])), task=method.tasks[0]).settings(),
        }
        for name, method in METHODS.items()
    }
