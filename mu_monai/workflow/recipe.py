"""What is laid over a bundle's config for a method, a split or a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.bundle import Bundle
from mu_monai.bundle.config import read_config
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.registry import imported, method_named
from mu_monai.runs.origin import target_of

FORGET_CLASSES = "forget_classes"


def common_options(bundle: Bundle, split: str | Path | None, device: str | None) -> dict[str, str]:
    """The options that training, unlearning and evaluation share, by id."""
    options = {"bundle_root": str(bundle.folder)}
    if split is not None:
        options["split"] = str(Path(split).resolve())
    if device is not None:
        options["device"] = f"$torch.device('{device}')"
    return options


def class_options(forget_classes: Sequence[str]) -> dict[str, Any]:
    """The option for classes of a mask that are to be forgotten."""
    return {FORGET_CLASSES: list(forget_classes)} if forget_classes else {}


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

    Batches are as large as those of the bundle's training, unless the recipe says otherwise.
    """
    if configured(parser) is kind:
        return {}
    settings = parser.get("method")
    common = {item.name for item in fields(UnlearningMethod)} - {"stop_at", "tolerance"}
    common |= {FORGET_CLASSES} if kind.forgets_classes else set()
    shared = {key: value for key, value in settings.items() if key in common}
    training = read_config(bundle.files("train"))
    batch = {} if training.get("batch_size") is None else {"batch_size": training.get("batch_size")}
    return {"method": {"_target_": target_of(kind), **shared}, **batch, **kind.recipe}
