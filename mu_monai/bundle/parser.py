"""MONAI's config parser, with one table of MONAI's components for all parsers of a process."""

from __future__ import annotations

from functools import cache
from typing import Any

from monai.bundle import ComponentLocator, ConfigParser


def config_parser(config: Any = None) -> ConfigParser:
    """A parser of MONAI's, empty or of a config.

    Every parser of MONAI's searches all of MONAI's modules anew for the first name in its config that has no dots,
    which takes longer than all else about a small config.
    """
    parser = ConfigParser(config)
    parser.locator = component_locator()
    return parser


@cache
def component_locator() -> ComponentLocator:
    """The modules in which MONAI has a name; all of them are loaded when `monai` is."""
    return ComponentLocator()
