"""The available unlearning methods, with what they do and their settings."""

from __future__ import annotations

from typing import Any

from mu_monai.methods.method import COSTS
from mu_monai.methods.registry import defaults, registered
from mu_monai.runs.origin import origin_of


def methods() -> dict[str, dict[str, Any]]:
    """Each method by its command-line name: what it is, where it comes from, what it needs and costs, its settings.

    Returns:
        by name, ours first and then those of other packages: `summary`, `package` with its `version`, `paper`, `tasks`,
        `needs`, `cost`, `forgets_classes`, `without_forget_images`, `replicable`, `settings` with their defaults, and
        `allowed`, the allowed values of each setting in words.

    Example:
        >>> method = methods()["erase-to-retain"]
        >>> method["paper"], method["needs"], method["settings"]["forget_weight"], method["allowed"]["forget_weight"]
        ('arXiv 2511.16574', ['retain labels', 'teacher'], 3.0, 'a number of 0 or more')
    """
    return {
        name: {
            "summary": (method.__doc__ or "").strip().partition("\n")[0],
            **{key: value for key, value in origin_of(method).items() if key != "target"},
            "paper": method.paper,
            "tasks": list(method.tasks),
            "needs": list(method.needs),
            "cost": COSTS[method.cost],
            "forgets_classes": method.forgets_classes,
            "without_forget_images": method.without_forget_images,
            "replicable": method.replicable,
            "settings": defaults(method),
            "allowed": {setting: str(allowed) for setting, allowed in method.allowed().items()},
        }
        for name, method in registered().items()
    }
