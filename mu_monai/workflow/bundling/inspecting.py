"""What was understood of anybody's bundle: its parts, the ids they were found at, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mu_monai.bundle import open_bundle
from mu_monai.bundle.adopted.adopt import write_configs
from mu_monai.bundle.adopted.parts import Parts
from mu_monai.bundle.config import parse_settings, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import whole_folder
from mu_monai.keys import RETAIN
from mu_monai.lock import writes
from mu_monai.workflow.bundling.trying import label_problems, tried
from mu_monai.workflow.checks import place_problems, usable_split
from mu_monai.workflow.recipe import common_options

_SHOWN = 110


def inspect_bundle(bundle: str | Path, *, split: str | Path | None = None, settings: Sequence[str] = ()) -> list[str]:
    """Say what was understood of a bundle, from which id; with a split, take one case through everything.

    Args:
        bundle: the folder of a bundle that was not made for `mu-monai`.
        split: a `split.json` of its cases; without it nothing is read.
        settings: `KEY=VALUE` overrides of config ids.

    Returns:
        one sentence a line.

    Raises:
        InputError: with every reason why the bundle cannot be adopted, or not be used with the split.
    """
    opened = open_bundle(bundle)
    if opened.parts is None:
        return [f"'{bundle}' is in the form that commands run; check it with mu-monai bundle check {bundle}"]
    lines = [*_parts(opened.parts)]
    if split is None:
        return [*lines, "no case was tried; give --split to take one through transforms, network, loss and scores"]
    config = LayeredConfig(opened, "train")
    config.lay("options", common_options(opened, split, None))
    given = parse_settings(settings)
    unknown = list(unknown_ids(config.read("recipe"), list(given)))
    config.lay("settings", given)
    _, broken = usable_split(split, [RETAIN])
    raise_if_any([*unknown, *broken, *place_problems({"--split": split})])
    trial = tried(config)
    raise_if_any(label_problems(trial, config))
    return [*lines, *(f"{name:<15} {text}" for name, text in trial.found.items())]


def _parts(parts: Parts) -> Iterator[str]:
    rows = {
        "network": _named(parts.network),
        "loss": _named(parts.loss),
        "optimizer": f"{_named(parts.optimizer)} (to train; to unlearn, AdamW, as methods' rates need)",
        "training": "the trainer's transform, with augmentation",
        "transform": "the evaluator's transform, for scores and membership",
    }
    for part, text in rows.items():
        where = f" [{parts.found[part].replace('::', '#')}]" if part in parts.found else ""
        yield f"{part:<15} {text}{where}"
    activation = {True: "softmax", False: "sigmoid", None: "not known"}[parts.softmax]
    yield f"{'task':<15} {parts.task}, activation {activation}" + (", labels one-hot" if parts.one_hot else "")
    yield f"{'classes':<15} {', '.join(parts.classes) if parts.classes else 'not named'}"
    yield f"{'inferer':<15} {_named(parts.window) if parts.window else 'SimpleInferer'}"
    if parts.spacing:
        yield f"{'spacing':<15} {' x '.join(f'{size:g}' for size in parts.spacing)} mm"
    yield f"{'numbers':<15} {', '.join(f'{name} {value:g}' for name, value in parts.numbers.items())}"
    yield f"{'inference':<15} {f'none: it {parts.unpredicted}' if parts.unpredicted else 'its own'}"
    yield from (f"{'note':<15} {note}" for note in parts.notes)


def _named(component: Any) -> str:
    target = component.get("_target_") if isinstance(component, Mapping) else component
    return str(target)[:_SHOWN]


@writes("out")
def adopt_bundle(bundle: str | Path, *, out: str | Path) -> Path:
    """Write the configs that commands run for a bundle, for those who want to read them.

    Args:
        bundle: the folder of a bundle that was not made for `mu-monai`.
        out: the folder to make, with `configs/` in it.

    Raises:
        InputError: if `out` exists, or the bundle cannot be adopted.
    """
    out, opened = Path(out), open_bundle(bundle)
    if opened.parts is None:
        raise InputError(f"'{bundle}' is in the form that commands run already; change its configs, or copy them")
    if out.exists():
        raise InputError(f"'{out}' exists; give another folder or remove it")
    with whole_folder(out) as folder:
        write_configs(opened.parts, folder)
    return out
