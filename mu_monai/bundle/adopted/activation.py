"""Which activation the outputs of a bundle's network have: from its loss, checked against its postprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mu_monai.bundle.adopted.source import SourceConfig, base_name
from mu_monai.errors import InputError

if TYPE_CHECKING:
    from mu_monai.bundle.adopted.parts import Parts

_SOFTMAX = ("CrossEntropyLoss",)
_SIGMOID = ("BCEWithLogitsLoss",)


def found_activation(parts: Parts) -> tuple[bool | None, bool]:
    """Whether the outputs are of a softmax (None if nothing says so), and whether the loss takes one-hot labels.

    Raises:
        InputError: if the loss and the postprocessing say different things.
    """
    by_loss, one_hot = _of_loss(parts)
    by_answer = _of_postprocessing(parts)
    if by_loss is not None and by_answer is not None and by_loss != by_answer:
        names = {True: "softmax", False: "sigmoid"}
        raise InputError(
            f"'{parts.folder}' cannot be adopted: its loss is of a {names[by_loss]} and its postprocessing of a "
            f"{names[by_answer]}; correct one of them"
        )
    softmax = by_loss if by_loss is not None else by_answer
    if softmax is None:
        parts.notes.append(
            "whether the outputs are of a softmax or of a sigmoid is not known from loss or postprocessing: give --set "
            "softmax=true (exactly one class is true) or false"
        )
    return softmax, bool(one_hot and softmax)


def _of_loss(parts: Parts) -> tuple[bool | None, bool]:
    loss = parts.loss
    if not isinstance(loss, Mapping):
        return None, False
    name = str(loss.get("_target_", "")).rpartition(".")[2]
    said = {key: bool(parts.config.evaluated(loss.get(key))) for key in ("softmax", "use_softmax", "sigmoid")}
    if name in _SOFTMAX or said["softmax"] or said["use_softmax"]:
        return True, name not in _SOFTMAX and not parts.config.evaluated(loss.get("to_onehot_y"))
    if name in _SIGMOID or said["sigmoid"]:
        return False, False
    return None, False


def _of_postprocessing(parts: Parts) -> bool | None:
    """What postprocessing for masks or classes says, in the training, evaluation and inference configs."""
    configs = [parts.config, parts.evaluation, *([] if parts.inference is None else [parts.inference])]
    found = {said for config in configs for said in _activations(config)}
    return found.pop() if len(found) == 1 else None


def _activations(config: SourceConfig) -> Iterator[bool]:
    for place, target in config.targets():
        if base_name(target) in ("Activationsd", "Activations"):
            component: Any = config.get(place)
            for name, softmax in {"softmax": True, "sigmoid": False}.items():
                value = component.get(name) if isinstance(component, Mapping) else None
                if isinstance(value, bool | list) and (value is True or (isinstance(value, list) and any(value))):
                    yield softmax
