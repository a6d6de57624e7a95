"""A bundle's config with overrides: reading it, refusing what does not fit, and running it as MONAI does."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow, ReferenceResolver
from monai.utils import optional_import

from mu_monai.adapters import misfits, read_weights
from mu_monai.bundle import find_bundle
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json
from mu_monai.keys import CONFIG_JSON, RUN_JSON

SEPARATOR = "::"
INHERITED = ("classes", "network_def", "image_size", "transforms", "loss", "inferer")
_PLACES = ("bundle_root", "dataset_dir", "run_dir", "split", "device")  # where this run finds things, not what they are
logger = logging.getLogger(__name__)


def config_files(bundle: str | Path, name: str, overlays: Sequence[str] = ()) -> list[str]:
    """The config `name` of a bundle with overlay files laid over it.

    Args:
        bundle: folder, or name of a shipped bundle.
        name: `train`, `unlearn`, `evaluate` or `inference`.
        overlays: files, or names of files in the bundle's `configs/`.

    Raises:
        InputError: where the bundle or a file is missing.
    """
    configs = find_bundle(bundle) / "configs"
    files, problems = [], []
    for wanted in (name, *overlays):
        found = [path for path in (configs / f"{wanted}.json", Path(wanted)) if path.is_file()]
        if found:
            files.append(str(found[0]))
        else:
            names = ", ".join(sorted(path.stem for path in configs.glob("*.json")))
            problems.append(f"config '{wanted}' is neither a file nor one of the bundle's: {names}")
    raise_if_any(problems)
    return files


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


def unknown_ids(parser: ConfigParser, ids: Sequence[str]) -> Iterator[str]:
    """A problem for every id that the config does not have, with the nearest that it has."""
    known = list(_ids(parser.get()))
    for wanted in ids:
        allowed = [*known, *_arguments(parser, wanted)]
        if wanted not in allowed:
            near = difflib.get_close_matches(wanted, allowed, n=3) or [k for k in known if SEPARATOR not in k]
            names = ", ".join(dict.fromkeys(name.replace(SEPARATOR, "#") for name in near))
            yield f"--set '{wanted.replace(SEPARATOR, '#')}' is no id of this config; the nearest are {names}"


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


def inherited(run: str | Path, files: Sequence[str], ids: Sequence[str] = INHERITED) -> dict[str, Any]:
    """What a model needs to be used as it was trained: network, transforms, loss, inferer and all that they refer to.

    Args:
        run: the run folder.
        files: the bundle's config and overlays; ids that an overlay sets are left to it.
        ids: what to take over, as far as the run has it.

    Raises:
        InputError: where the run's config would execute code that the bundle's own config does not: a run folder may
            come from somebody else, and must not do more than the bundle that the user chose.
    """
    file = Path(run) / CONFIG_JSON
    config = read_json(file) if file.is_file() else {}
    overlaid = {
        key.replace("#", SEPARATOR): value for overlay in files[1:] for key, value in read_json(overlay).items()
    }
    found = {key: config[key] for key in _with_references(config, ids) if key not in overlaid}
    within = {key: value for key, value in overlaid.items() if key.partition(SEPARATOR)[0] in found}
    folder = Path(files[0]).parent
    known = {text for path in folder.glob("*.json") for text in _executed(read_json(path))}
    raise_if_any(
        f"'{file}' would execute {text!r}, which the bundle in '{folder}' does not; if you trust where it comes from, "
        "say it in an overlay of your own"
        for text in sorted(set(_executed(found)) - known)
    )
    return found | within


def _with_references(config: Mapping[str, Any], ids: Sequence[str]) -> list[str]:
    """The ids that there are, and every id that they refer to, directly or through others; no places."""
    found: list[str] = []
    waiting = list(ids)
    while waiting:
        key = waiting.pop(0)
        if key in config and key not in found and key not in _PLACES:
            found.append(key)
            waiting += [
                name.partition(SEPARATOR)[0] for name in ReferenceResolver.find_refs_in_config(config[key], key)
            ]
    return found


def _executed(config: Any) -> Iterator[str]:
    """The texts of a config that MONAI executes or imports."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "_target_" and isinstance(value, str):
                yield value
            else:
                yield from _executed(value)
    elif isinstance(config, list):
        for value in config:
            yield from _executed(value)
    elif isinstance(config, str) and config.startswith("$"):
        yield config


def read_run(folder: str | Path) -> dict[str, Any]:
    """The `run.json` of a finished run.

    Raises:
        InputError: where the folder is no run, or the run is not finished.
    """
    file = Path(folder) / RUN_JSON
    if not file.is_file():
        raise InputError(f"'{folder}' is no run folder: it holds no {RUN_JSON}")
    record: dict[str, Any] = read_json(file)
    if record["status"] != "finished":
        raise InputError(f"the run '{folder}' is {record['status']}, not finished; go on with it through --resume")
    return record


def bundle_of(record: Mapping[str, Any]) -> str:
    """The bundle that a run was made with: its folder where it still is, else its name among the shipped ones."""
    bundle = record["bundle"]
    return str(bundle["root"]) if Path(bundle["root"]).is_dir() else str(bundle["name"])


def weight_problems(parser: ConfigParser, weights: str | Path) -> list[str]:
    """Why weights do not fit the config's network; empty where they do."""
    try:
        network = parser.get_parsed_content("network_def", instantiate=True)
    except RuntimeError as error:
        return [str(_misfit(error))]
    try:
        return [
            f"weights '{weights}' do not fit the bundle's network: {t}" for t in misfits(network, read_weights(weights))
        ]
    except InputError as error:
        return error.problems


def collect(*steps: Any) -> list[str]:
    """Call every step and gather the problems of all, so that a user sees them at once."""
    problems: list[str] = []
    for step in steps:
        try:
            problems += step() or []
        except InputError as error:
            problems += error.problems
    return problems


def unless_raised(_result: object) -> list[str]:
    """No problems, since what was called did not raise any; for `collect`.

    Example:
        >>> collect(lambda: unless_raised(parse_settings(["max_epochs=3"])))
        []
    """
    return []


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


def _misfit(error: RuntimeError) -> Exception:
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


def _cause(error: RuntimeError) -> Exception:
    """MONAI wraps whatever a config raises, with the whole config as text; users need the first cause alone."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError | FloatingPointError | OSError):
        cause = cause.__cause__
    return error if cause is None else cause
