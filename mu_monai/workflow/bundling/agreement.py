"""What must agree in a bundle: duplicated files, shared config ids, preprocessing, and the names of presets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.bundle.trust import INHERITED, with_references
from mu_monai.keys import IMAGE
from mu_monai.methods import METHODS
from mu_monai.workflow.bundling.reading import INFERENCE, TRAIN, UNLEARN, BundleConfigs, target_name, value_at

TWINS = ("unlearn.json", "metadata.json", "logging.conf")
_DATA = ("dataset_dir", "split", "device", "cases", "datasets")
_APART = ("keys", "track_meta")  # may differ between equal steps: a mask is inverted by its metadata
_SHOWN = 120


def twin_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which files beside `configs/` differ from those in it; MONAI's short command reads them."""
    for name in TWINS:
        twins = (bundle.folder / "configs" / name, bundle.folder / name)
        contents = [file.read_bytes() if file.is_file() else None for file in twins]
        if None in contents or contents[0] != contents[1]:
            yield f"'{name}' and 'configs/{name}' differ; after each edit in configs/, copy the file over the other one"


def name_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which configs do not have the folder's name: MONAI's command would look for another bundle."""
    name = bundle.folder.name
    wanted = {"bundle_name": name, "bundle_root": f"$mu_monai.bundle_root('{name}')"}
    for config, parser in bundle.whole.items():
        for key, value in wanted.items():
            if parser.get(key, value) != value:
                yield (
                    f"'configs/{config}.json' has {key} = {parser.get(key)!r}, and the bundle's folder is '{name}'; "
                    f"set it to {value!r}, or rename the folder"
                )


def shared_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which ids that define the model and its use, including the ids that they refer to, differ between the configs."""
    contents = {name: parser.get() for name, parser in bundle.whole.items()}
    shared = [key for content in contents.values() for key in with_references(content, INHERITED)]
    for key in dict.fromkeys((*_DATA, *shared)):
        values: dict[str, list[str]] = {}
        for name, content in contents.items():
            if key in content:
                values.setdefault(json.dumps(content[key], sort_keys=True), []).append(f"{name}.json")
        if len(values) > 1:
            told = "; ".join(f"{value:.{_SHOWN}} in {', '.join(names)}" for value, names in values.items())
            yield f"the configs differ in '{key}', which must be the same in all that have it: {told}"


def preparation_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Where the preprocessing of `inference.json` differs from that of the training."""
    if TRAIN not in bundle.whole or INFERENCE not in bundle.whole:
        return
    trained = [step for step in _steps(bundle.whole[TRAIN], "transforms") if IMAGE in _keys(step)]
    used = _steps(bundle.whole[INFERENCE], "preprocessing")
    for number in range(max(len(trained), len(used))):
        one, other = (steps[number] if number < len(steps) else {} for steps in (trained, used))
        if not _same_on_images(one, other):
            yield (
                f"step {number + 1} on an image is {_told(one)} in 'transforms' of train.json and {_told(other)} in "
                "'preprocessing' of inference.json; a network works only on images prepared as in its training: make "
                "them the same"
            )
            return


def _steps(parser: ConfigParser, key: str) -> list[Mapping[str, Any]]:
    steps = value_at(parser, f"{key}::transforms")
    number_of = len(steps) if isinstance(steps, list) else 0
    found = [value_at(parser, f"{key}::transforms::{number}") for number in range(number_of)]
    return [step for step in found if isinstance(step, Mapping)]


def _keys(step: Mapping[str, Any]) -> list[Any]:
    keys = step.get("keys", IMAGE)
    return keys if isinstance(keys, list) else [keys]


def _same_on_images(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two steps do the same to an image; an argument may be a single value, or one for each key."""
    if (one.keys() | other.keys()) - {*_APART} != (one.keys() & other.keys()) - {*_APART}:
        return False
    return all(
        any(mine == its for mine in _of_the_image(one, key) for its in _of_the_image(other, key))
        for key in one
        if key not in _APART
    )


def _of_the_image(step: Mapping[str, Any], key: str) -> list[Any]:
    """The value of an argument for the image: the argument itself, or its element if it has one for each key."""
    value, keys = step[key], _keys(step)
    each = isinstance(value, list) and len(value) == len(keys) > 1
    return [value, value[keys.index(IMAGE)]] if each and IMAGE in keys else [value]


def _told(step: Mapping[str, Any]) -> str:
    return f"{dict(step)!r:.{_SHOWN}}" if step else "nothing"


def overlay_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which presets and method configs do not match their names."""
    for name, overlay in bundle.overlays.items():
        preset = overlay.get("preset")
        if preset not in (None, name):
            yield (
                f"'configs/{name}.json' says that it is the preset {preset!r}; set it to {name!r}, the name of its file"
            )
        wanted = METHODS[name].__name__ if name in METHODS else None
        made = target_name(overlay.get("method"))
        if wanted and made != wanted:
            yield (
                f"'configs/{name}.json' is named after a method, and its 'method' is {made}; set it to "
                f"mu_monai.methods.{wanted}, or rename the file"
            )


def default_preset_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Whether `unlearn.json` claims to be a preset that it is not: its runs would be recorded under a wrong name."""
    name = bundle.get(UNLEARN, "preset")
    if name is None:
        return
    if name not in list(bundle.overlays):
        yield (
            f"'configs/unlearn.json' says that it is the preset {name!r}, and there is no 'configs/{name}.json'; set "
            "'preset' to null, or to the name of a preset"
        )
        return
    other = [key for key, value in bundle.overlays[name].items() if bundle.get(UNLEARN, key) != value]
    if other:
        yield (
            f"'configs/unlearn.json' says that it is the preset {name!r}, whose file has a different "
            f"{', '.join(other)}; make them the same, or set 'preset' to null"
        )
