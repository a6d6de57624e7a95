"""Warnings about a run, collected while it runs and stored in `run.json`."""

from __future__ import annotations

from ignite.engine import Engine

from mu_monai.keys import WARNINGS

UNMEASURED = (
    "the images of the forget cases were gone, so nothing was measured on them: they have no scores, and this run "
    "cannot tell how far they are forgotten or whether their membership shows"
)


def warned(engine: Engine) -> list[str]:
    """The warnings so far."""
    return list(getattr(engine.state, WARNINGS, []))


def warn(engine: Engine, *sentences: str) -> None:
    """Add warnings; each is a sentence that says what happened and what to do."""
    setattr(engine.state, WARNINGS, [*warned(engine), *sentences])
