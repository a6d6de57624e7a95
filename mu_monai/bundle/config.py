"""A bundle's config with overrides: reading it, refusing what does not fit, and running it as MONAI does."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import optional_import
from torch import nn

from mu_monai.bundle.trust import SEPARATOR
from mu_monai.errors import InputError, raise_if_any

logger = logging.getLogger(__name__)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` pairs as config overrides; a value is read as JSON where it is JSON, else as text.

    Raises:
        InputError: for a text without `=`.

    Example:
        >>> parse_settings(["method#forget_weight=2", "image_size=[64, 64]"])
        {'method::forget_weight': 2, 'image_size': [64, 64]}
    """
    problems = [f"--set '{text}' is no KEY=VALUE, such as max_epochs=3" for text in settings if "=" not in text]
    raise_if_any(problems)
    pairs = (text.split("=", 1) for text in settings)
    return {key.strip().replace("#", SEPARATOR): _value(text) for key, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def read_config(files: Sequence[str]) -> ConfigParser:
    """Parse config files, later ones laid over earlier ones, with the bundle's metadata."""
    parser = ConfigParser()
    parser.read_config(list(files))
    parser.read_meta(Path(files[0]).parent / "metadata.json")
    return parser


def unknown_ids(parser: ConfigParser, ids: Sequence[str], how: str = "--set") -> Iterator[str]:
    """A problem for every id that the config does not have, with the nearest that it has.

    Args:
        parser: the config.
        ids: what is going to be set, with `::` between the levels.
        how: what sets it, the beginning of the sentence.
    """
    known = list(_ids(parser.get()))
    for wanted in ids:
        allowed = [*known, *_arguments(parser, wanted)]
        if wanted not in allowed:
            near = difflib.get_close_matches(wanted, allowed, n=3) or [k for k in known if SEPARATOR not in k]
            names = ", ".join(dict.fromkeys(name.replace(SEPARATOR, "#") for name in near))
            yield f"{how} '{wanted.replace(SEPARATOR, '#')}' is no id of this config; the nearest are {names}"


def _ids(config: Any, prefix: str = "") -> Iterator[str]:
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(config, Mapping):
        items = iter(config.items())
    elif isinstance(config, list):
        items = iter(enumerate(config))
    for key, value in items:
        yield f"{prefix}{key}"
        yield from _ids(value, f"{prefix}{key}{SEPARATOR}")


def _arguments(parser: ConfigParser, wanted: str) -> list[str]:
    """The constructor's arguments of the component that `wanted` would be set on: they need not stand in the file."""
    parent = wanted.rpartition(SEPARATOR)[0]
    target = parser.get(f"{parent}{SEPARATOR}_target_") if parent else None
    if not isinstance(target, str) or "." not in target:
        return []
    module, _, name = target.rpartition(".")
    component, found = optional_import(module, name=name)
    return [f"{parent}{SEPARATOR}{argument}" for argument in inspect.signature(component).parameters] if found else []


def built_network(parser: ConfigParser) -> nn.Module:
    """The network that a config describes, with weights as its initializers draw them.

    Raises:
        InputError: where it cannot be built.
    """
    try:
        network = parser.get_parsed_content("network_def", instantiate=True)
    except Exception as error:  # a network refuses its arguments with whatever it likes, and MONAI wraps it or not
        raise InputError(f"the network cannot be built: {_misfit(error)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"the config's 'network_def' makes a {type(network).__name__} and not a network")
    return network


def run_config(files: Sequence[str], overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """Run a config as `python -m monai.bundle run` does.

    Raises:
        InputError, FloatingPointError, OSError: as the config's components raised it, without MONAI's wrapping.
    """
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # it warns of the logging file we do without
    workflow = ConfigWorkflow(
        config_file=list(files),
        meta_file=str(Path(files[0]).parent / "metadata.json"),
        logging_file=False,
        **overrides,
    )
    try:
        workflow.initialize()
        _build(workflow)
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        raise _cause(error) from None
    return workflow


def _build(workflow: ConfigWorkflow) -> None:
    """Make the components before anything runs, so that a setting which does not fit is told as wrong input."""
    try:
        main = next(key for key in ("train::trainer", "scorer", "evaluator") if key in workflow.parser)
        workflow.parser.get_parsed_content(main)
    except RuntimeError as error:
        raise _misfit(error) from None


def _misfit(error: Exception) -> Exception:
    """What MONAI could not make a component of, as wrong input."""
    cause = _cause(error)
    if cause is not error:
        return cause
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    return InputError(
        f"the config cannot be built ({type(root).__name__}: {root}); look at the --set values and overlays: one has "
        "the wrong type or size"
    )


def _cause(error: Exception) -> Exception:
    """MONAI wraps whatever a config raises, with the whole config as text; users need the first cause alone."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError | FloatingPointError | OSError):
        cause = cause.__cause__
    return error if cause is None else cause
