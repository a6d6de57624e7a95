"""The forms in which configs of earlier versions say what the shipped bundles now say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PICTURE_READER = "mu_monai.data.pictures.reader.PictureReader"
FIRST_ANSWER = "mu_monai.adapters.first_answer"
_MAP_LABELS = "mu_monai.data.map_labels.MapLabelsd"
_IMAGE, _MASK = "$lambda image: image.convert('RGB')", "$lambda image: image.convert('L')"


def earlier_form(config: Any) -> Any:
    """A part of a config as an earlier version has it.

    MONAI's reader of pictures is in the place of ours, there are no label maps, and networks give all their answers.

    Example:
        >>> earlier_form([{"_target_": PICTURE_READER, "kind": "mask", "label_map": "@label_map"}])
        [{'_target_': 'PILReader', 'converter': "$lambda image: image.convert('L')"}]
    """
    if isinstance(config, list):
        return [earlier_form(item) for item in config if not (isinstance(item, Mapping) and _is(item, _MAP_LABELS))]
    if not isinstance(config, Mapping):
        return config
    if _is(config, FIRST_ANSWER):
        return earlier_form(config["network"])
    if _is(config, PICTURE_READER):
        return {"_target_": "PILReader", "converter": _MASK if config.get("kind") == "mask" else _IMAGE}
    return {key: earlier_form(item) for key, item in config.items()}


def _is(part: Mapping[str, Any], target: str) -> bool:
    return part.get("_target_") == target
