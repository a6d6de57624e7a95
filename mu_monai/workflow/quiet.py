"""Runs whose messages are not shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(name: str, level: int = logging.CRITICAL) -> Iterator[None]:
    """Show only messages of a level or above.

    Args:
        name: the logger, such as `mu_monai.engine`.
        level: the lowest level that is shown.

    Example:
        >>> with quiet("mu_monai.example"):
        ...     logging.getLogger("mu_monai.example").warning("not shown")
    """
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
