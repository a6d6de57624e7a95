"""What a user must know of a run, gathered while it runs; `run.json` keeps it."""

from __future__ import annotations

from ignite.engine import Engine

from mu_monai.keys import WARNINGS


def warned(engine: Engine) -> list[str]:
    """The sentences so far."""
    return list(getattr(engine.state, WARNINGS, []))


def warn(engine: Engine, *sentences: str) -> None:
    """Add sentences, each of which says what happened and what to do."""
    setattr(engine.state, WARNINGS, [*warned(engine), *sentences])
