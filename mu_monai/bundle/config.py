"""A bundle's config with overrides: reading it, refusing unknown ids, and running it as MONAI does."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

import monai
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import optional_import
from torch import nn

from mu_monai.bundle.parser import component_locator, config_parser
from mu_monai.bundle.references import REFERENCE
from mu_monai.bundle.trust import SEPARATOR
from mu_monai.errors import InputError, RunError, raise_if_any
from mu_monai.files import read_json
from mu_monai.reasons import case_of, causes, reason_for, unexpected
from mu_monai.runs.error_log import forget_error, log_error

_DATA, _RUN_DIR = "datasets", "run_dir"
_SHARED: ContextVar[dict[str, Any] | None] = ContextVar("shared data sets", default=None)
logger = logging.getLogger(__name__)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` pairs as config overrides; a value is read as JSON if possible, otherwise as text.

    Raises:
        InputError: for an entry without `=`.

    Example:
        >>> parse_settings(["method#forget_weight=2", "image_size=[64, 64]"])
        {'method::forget_weight': 2, 'image_size': [64, 64]}
    """
    problems = [f"--set '{text}' is not KEY=VALUE, such as max_epochs=3" for text in settings if "=" not in text]
    raise_if_any(problems)
    pairs = (text.split("=", 1) for text in settings)
    return {key.strip().replace("#", SEPARATOR): _value(text) for key, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def read_config(files: Sequence[str]) -> ConfigParser:
    """Parse config files, later ones laid over earlier ones, with the bundle's metadata.

    Raises:
        InputError: if one of them is missing, or is not a JSON mapping.
    """
    metadata = Path(files[0]).parent / "metadata.json"
    for file in (*map(Path, files), metadata):
        read_json(file, dict)  # says what is wrong with which file, as MONAI does not
    parser = config_parser()
    parser.read_config(list(files))
    parser.read_meta(metadata)
    return parser


def unknown_ids(parser: ConfigParser, ids: Sequence[str], how: str = "--set") -> Iterator[str]:
    """One problem for every id that the config does not have, with the closest ids that it has.

    Args:
        parser: the config.
        ids: the ids to set, with `::` between the levels.
        how: the option that sets them, which starts the sentence.
    """
    known = list(_ids(parser.get()))
    for config_id in ids:
        allowed = [*known, *_arguments(parser, config_id)]
        if config_id not in allowed:
            near = difflib.get_close_matches(config_id, allowed, n=3) or [k for k in known if SEPARATOR not in k]
            names = ", ".join(dict.fromkeys(name.replace(SEPARATOR, "#") for name in near))
            yield f"{how} '{config_id.replace(SEPARATOR, '#')}' is not an id of this config; the closest are {names}"


def _ids(config: Any, prefix: str = "") -> Iterator[str]:
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(config, Mapping):
        items = iter(config.items())
    elif isinstance(config, list):
        items = iter(enumerate(config))
    for key, value in items:
        yield f"{prefix}{key}"
        yield from _ids(value, f"{prefix}{key}{SEPARATOR}")


def _arguments(parser: ConfigParser, config_id: str) -> list[str]:
    """The constructor's arguments of the component that an id belongs to: they need not be in the file."""
    parent = config_id.rpartition(SEPARATOR)[0]
    target = parser.get(f"{parent}{SEPARATOR}_target_") if parent else None
    if not isinstance(target, str) or "." not in target:
        return []
    module, _, name = target.rpartition(".")
    component, imported = optional_import(module, name=name)
    names = inspect.signature(component).parameters if imported else ()
    return [f"{parent}{SEPARATOR}{argument}" for argument in names]


def built_network(parser: ConfigParser) -> nn.Module:
    """The network that a config describes, with randomly initialized weights.

    Raises:
        InputError: if it cannot be built.
    """
    try:
        network = parser.get_parsed_content("network_def", instantiate=True)
    except Exception as error:  # a network may raise any error for its arguments, and MONAI may wrap it
        why = reason_for(error) or f"{unexpected(error)}; {_advice(list(causes(error))[-1])}"
        raise InputError(f"the network cannot be built: {why}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"the config's 'network_def' makes a {type(network).__name__}, not a network")
    return network


def _advice(error: BaseException) -> str:
    """What to do about a network that cannot be built."""
    if isinstance(error, FileNotFoundError):
        return "put the file there: the network is built from it"
    if isinstance(error, TypeError) and "unexpected keyword" in str(error):
        return f"as installed (MONAI {monai.__version__}) it does not take this argument: remove it from the configs"
    if isinstance(error, pickle.UnpicklingError):
        return "torch reads tensors alone: let the config read the file with weights_only=False, if you trust the file"
    return "check its arguments in the bundle's config, the --set values and overlays"


def run_config(
    files: Sequence[str],
    overrides: Mapping[str, Any],
    before: Callable[[ConfigParser], None] | None = None,
) -> ConfigWorkflow:
    """Run a config as `python -m monai.bundle run` does.

    Args:
        files: the config and what is laid over it.
        overrides: values by id.
        before: is called with the config when its components are made, before anything runs.

    Raises:
        InputError, FloatingPointError: as raised by the config's components, without MONAI's wrapping.
        RunError: for anything else, with its reason; the traceback is in `error.log` of the run folder.
    """
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # it warns about the missing logging file
    workflow = ConfigWorkflow(
        config_file=list(files),
        meta_file=str(Path(files[0]).parent / "metadata.json"),
        logging_file=False,
        **overrides,
    )
    workflow.parser.locator = component_locator()
    try:
        workflow.initialize()
        take_shared(workflow.parser)
        _build(workflow)
        if before is not None:
            before(workflow.parser)
        workflow.run()
        workflow.finalize()
    except Exception as error:  # the components of a config may raise anything
        _fail(error, overrides.get(_RUN_DIR))
    forget_error(overrides.get(_RUN_DIR))
    return workflow


@contextmanager
def sharing_data() -> Iterator[None]:
    """Read images once for all configs that run in here and read them alike, instead of once for each."""
    if _SHARED.get() is not None:
        yield
        return
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def take_shared(parser: ConfigParser) -> None:
    """Give a config the data sets of an earlier one, if it would make the same."""
    shared = _SHARED.get()
    if shared is None or _DATA not in parser:
        return
    key = json.dumps(_defined(parser, _DATA), sort_keys=True)
    if key not in shared:
        shared[key] = parser.get_parsed_content(_DATA)
    parser.ref_resolver.resolved_content[_DATA] = shared[key]


def _defined(parser: ConfigParser, name: str) -> dict[str, Any]:
    """The content of an id and of all ids that it refers to, as it is in the config."""
    content: dict[str, Any] = {}
    left = [name]
    while left:
        current = left.pop()
        if current not in content:
            content[current] = parser.get(current)
            found = REFERENCE.findall(json.dumps(content[current]))
            left += [reference for reference in found if reference in parser]
    return content


def _build(workflow: ConfigWorkflow) -> None:
    """Make the components before anything runs, so that a setting that does not fit is reported as wrong input."""
    try:
        main = next(key for key in ("train::trainer", "scorer", "evaluator") if key in workflow.parser)
        workflow.parser.get_parsed_content(main)
    except RuntimeError as error:
        reason = _misfit(error)
        raise reason from (reason.__cause__ if reason in causes(error) else error)


def _misfit(error: Exception) -> Exception:
    """The reason why MONAI could not build the config: a known one, that of a case, or else an `InputError`."""
    known = reason_for(error)
    if known is not None:
        return known
    told = unexpected(error)
    if case_of(error):
        return told
    return InputError(
        f"the config cannot be built ({told}); check the --set values and overlays: one has the wrong type or size"
    )


def _fail(error: Exception, folder: str | Path | None) -> NoReturn:
    """Raise the reason of an error, and leave its traceback in the run folder."""
    reason = reason_for(error) or unexpected(error)
    # wrong input says all there is to say, and the folder may be somebody else's
    log = None if isinstance(reason, InputError) else log_error(folder, error)
    if isinstance(reason, RunError):
        raise RunError(str(reason), log) from error
    raise reason
