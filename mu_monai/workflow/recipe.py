"""What is laid over a bundle's config for a method, a split or a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.adapters.milestones import find_milestones
from mu_monai.bundle import Bundle
from mu_monai.bundle.config import read_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.data import Split
from mu_monai.engine.cost import TRAINED
from mu_monai.errors import InputError
from mu_monai.keys import MILESTONES_DIR
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.budget import MOST
from mu_monai.methods.registry import imported, method_named, registered
from mu_monai.runs.origin import target_of

FORGET_CLASSES = "forget_classes"
FORGET_IMAGES_GONE = "forget_images_gone"


def common_options(bundle: Bundle, split: str | Path | None, device: str | None) -> dict[str, str]:
    """The options that training, unlearning and evaluation share, by id."""
    options = {"bundle_root": str(bundle.place)}
    if split is not None:
        options["split"] = str(Path(split).resolve())
    if device is not None:
        options["device"] = f"$torch.device('{device}')"
    return options


def reading_options(split: Split | None, config: LayeredConfig) -> dict[str, Any]:
    """How the files of a split are read, for the ids of this kind that a bundle's config has."""
    known = config.read().get()
    options = {} if split is None else split.provenance.reading.options()
    return {key: value for key, value in options.items() if key in known}


def class_options(forget_classes: Sequence[str]) -> dict[str, Any]:
    """The option for classes of a mask that are to be forgotten."""
    return {FORGET_CLASSES: list(forget_classes)} if forget_classes else {}


def gone_options(gone: bool) -> dict[str, bool]:
    """The option for forget cases whose images no longer exist."""
    return {FORGET_IMAGES_GONE: True} if gone else {}


def gone_problems(
    gone: bool, kind: type[UnlearningMethod] | None, names: Sequence[str], parser: ConfigParser
) -> list[str]:
    """Why a run cannot do without the images of the forget cases.

    Args:
        gone: whether they are gone.
        kind: the method; None if nothing is known about it.
        names: the classes of a mask to forget.
        parser: the config, before any option is laid over it.
    """
    if not gone:
        return []
    problems = []
    if kind is None or not kind.without_forget_images:
        able = [name for name, other in registered().items() if other.without_forget_images]
        what = "the method of this config" if kind is None else kind.__name__
        problems.append(
            f"{what} needs the images of the forget cases, which are gone (--forget-images-gone); use one of "
            f"{', '.join(able)}"
        )
    if names:
        problems.append(
            f"--forget-images-gone is for cases, and classes are to be forgotten here ({', '.join(names)}); omit it"
        )
    return problems + gone_unsupported(parser)


def gone_unsupported(parser: ConfigParser) -> list[str]:
    """Why a config, before any option is laid over it, cannot leave the forget cases' files alone."""
    if FORGET_IMAGES_GONE in parser:
        return []
    return [
        f"the bundle's config has no id '{FORGET_IMAGES_GONE}', so it reads the images of the forget cases; add it, "
        "and where it is used, as in a shipped bundle"
    ]


def own_settings(bundle: Bundle, method: str | None) -> list[str]:
    """The bundle's own config for a method, by name, as a list of one; empty if the bundle has none.

    A config with the name of another package's method may be about a different method, and then does not count.
    """
    if method is None or not bundle.has(method):
        return []
    kind = configured(read_config(bundle.files("unlearn", [method])))
    return [method] if kind in (None, method_named(method)) else []


def configured(parser: ConfigParser) -> type[UnlearningMethod] | None:
    """The class of the method that a bundle's config names; None if it is not one of `UnlearningMethod`."""
    return imported(parser.get("method::_target_"))


def recipe_of(kind: type[UnlearningMethod], bundle: Bundle, parser: ConfigParser) -> dict[str, Any]:
    """The config of a method without settings in a bundle: its recipe and defaults, with the bundle's data and task.

    Batches are as large as those of the bundle's training, or the share of them that the method takes, unless the
    recipe says otherwise.
    """
    if configured(parser) is kind:
        return {}
    settings = parser.get("method")
    common = {item.name for item in fields(UnlearningMethod)} - {"stop_at", "tolerance"}
    common |= {FORGET_CLASSES} if kind.forgets_classes else set()
    shared = {key: value for key, value in settings.items() if key in common}
    size = read_config(bundle.files("train")).get("batch_size")
    size = max(1, int(kind.batch_share * size)) if isinstance(size, int) else size
    batch = {} if size is None else {"batch_size": size}
    return {"method": {"_target_": target_of(kind), **shared}, **batch, **kind.recipe}


def needs_milestones(kind: type[UnlearningMethod] | None) -> bool:
    """Whether a method starts from the weights of an earlier epoch."""
    return kind is not None and "milestones" in kind.needs


def milestone_options(
    kind: type[UnlearningMethod] | None, teacher: str | Path | None, folder: str | Path | None
) -> dict[str, Any]:
    """Where a method that needs milestones finds them: in a folder, or in the teacher's run."""
    if folder is None and teacher is not None and (Path(teacher) / MILESTONES_DIR).is_dir():
        folder = Path(teacher) / MILESTONES_DIR
    return {"method::milestones": str(Path(folder).resolve())} if folder is not None and needs_milestones(kind) else {}


def milestone_problems(
    kind: type[UnlearningMethod] | None, folder: str | Path | None, config: LayeredConfig
) -> list[str]:
    """Why a method cannot have the milestones that it needs, or why a folder of them is of no use.

    Args:
        kind: the method.
        folder: what `--milestones` said.
        config: all options.
    """
    if not needs_milestones(kind):
        return [] if folder is None else ["--milestones is only for methods that need them, such as rewind; omit it"]
    where = config.read().get("method").get("milestones")
    if where is None:
        return [
            "the method starts from the weights of an earlier epoch, and the teacher's run has none: give their folder "
            "as --milestones, train a teacher that keeps them (milestones=12), or use a method that does not need them"
        ]
    try:
        find_milestones(where)
    except InputError as error:
        return list(error.problems)
    return []


def target_problems(lora_targets: str | None, config: ConfigParser) -> list[str]:
    """Why layers cannot be chosen for adapters: all weights train."""
    if lora_targets in (None, "all") or config.get("network::trainable") != "all":
        return []
    return [
        f"--lora-targets '{lora_targets}' chooses layers for adapters, but all weights train here "
        "(network#trainable=all): leave it out, or give adapters with --set network#trainable=adapters"
    ]


def budget_options(
    budget: float | None,
    kind: type[UnlearningMethod] | None,
    passes: int | None,
    config: LayeredConfig,
    *,
    samples: int | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """A share of the teacher's training as a limit in sample passes; methods that can use all of it are given steps.

    Args:
        budget: the share, such as 0.05; None for no limit.
        kind: the method.
        passes: the sample passes of the teacher's training; None if they are not known.
        config: all other options, for batches and epochs.
        samples: images that the training takes of a case, such as patches; None for what the config says.
        processes: how many processes take a batch each.
    """
    if budget is None or passes is None or not 0 <= budget <= 1:  # not a number either
        return {}
    limit, parser = int(budget * passes), config.read()
    options: dict[str, Any] = {"method::budget": limit}
    batch, epochs, length = (parser.get(name) for name in ("batch_size", "max_epochs", "epoch_length"))
    each = samples or parser.get("patches_per_volume", 1)
    known = all(isinstance(number, int) for number in (batch, epochs, length, each))
    if limit and kind is not None and kind.fills_budget and known:
        batch = batch * each * processes
        epochs = max(1, min(epochs, limit // (MOST * batch) // length))  # one of fewer steps than by the recipe is none
        steps = -(-limit // (TRAINED * batch))  # the most that there can be: the budget ends them before
        options |= {"max_epochs": epochs, "epoch_length": -(-steps // epochs)}
    return options


def budget_problems(budget: float | None, passes: int | None, teacher: str | Path | None) -> list[str]:
    """Why a run cannot be limited to a share of its teacher's training, which took so many sample passes."""
    if budget is None:
        return []
    if not 0 <= budget <= 1:
        return [f"--budget {budget:g} is not allowed; give a share of the teacher's training in [0, 1], such as 0.05"]
    if passes is None:
        return [
            f"--budget is a share of the teacher's training, and what that took is not known: the teacher "
            f"({teacher or 'that of the bundle'}) is not a run, or was made by an earlier version; give a number of "
            "sample passes instead, with --set method#budget=2000"
        ]
    return []
