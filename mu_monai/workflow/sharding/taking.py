"""The unlearning run that takes the weights of a model which never saw the forgotten, so that it is a run like any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mu_monai.bundle import Bundle
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import SEPARATOR, Trust
from mu_monai.data import Split
from mu_monai.methods.method import UnlearningMethod
from mu_monai.workflow.recipe import common_options, gone_options, reading_options, recipe_of
from mu_monai.workflow.unlearning import start_from


def taking(
    method: type[UnlearningMethod],
    settings: Mapping[str, Any],
    *,
    bundle: Bundle,
    split: Split,
    teacher: str | Path,
    out: Path,
    trust: Trust,
    gone: bool,
    device: str | None,
    quiet: bool,
    resume: bool = False,
) -> LayeredConfig:
    """The config of the run.

    Args:
        method: takes the weights.
        settings: its own, which name the model.
        bundle: the bundle.
        split: the split.
        teacher: the run that is in use now, for comparison.
        out: the run folder to make.
        trust: how far the runs are trusted.
        gone: whether the images of the forget cases no longer exist.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.
        resume: continue an interrupted run.
    """
    config = LayeredConfig(bundle, "unlearn")
    config.lay("options", {"run_dir": str(out), "resume": resume, "quiet": quiet})
    start_from(config, teacher, None, trust)
    config.lay("options", gone_options(gone) | common_options(bundle, split.path, device))
    config.lay("recipe", recipe_of(method, bundle, config.read("recipe")))
    named = {f"method{SEPARATOR}{key}": value for key, value in settings.items()}
    config.lay("options", {**named, f"scorer{SEPARATOR}expects_change": False})
    config.lay("options", reading_options(split, config))
    return config
