"""The unlearning methods that there are, with what they do and their settings."""

from __future__ import annotations

from typing import Any

from monai.data import DataLoader, Dataset

from mu_monai.methods import METHODS


def methods() -> dict[str, dict[str, Any]]:
    """Each method by its name on the command line: its first sentence and its settings with their defaults.

    Example:
        >>> methods()["erase-to-retain"]["settings"]["forget_weight"]
        3.0
    """
    return {
        name: {
            "summary": (method.__doc__ or "").strip().splitlines()[0],
            "settings": method(forget_loader=DataLoader(Dataset([]))).settings(),
        }
        for name, method in METHODS.items()
    }
