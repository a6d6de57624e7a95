"""One small unlearning job per task: masks, volumes and classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Task:
    """What an unlearning run of one task starts from."""

    bundle: str
    split: str
    teacher: Path
    overlays: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def tasks(phantom_splits, teachers) -> dict[str, Task]:
    bundles = {"masks": "isic", "classes": "isic_classification", "volumes": "volume3d"}
    return {name: Task(bundle, phantom_splits[bundle], teachers[bundle]) for name, bundle in bundles.items()}
