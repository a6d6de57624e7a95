"""Whether a bundle's network may answer with several tensors, and how it is then trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mu_monai.bundle.adopted.source import name_of

if TYPE_CHECKING:
    from mu_monai.bundle.adopted.parts import Parts

_OVER_ALL = "DeepSupervisionLoss"
_FINAL_LAST = "basicunetplusplus"


def several_problems(parts: Parts) -> Iterator[str]:
    """Why the first of a network's answers would not be the one to use."""
    if name_of(parts.network).lower() == _FINAL_LAST and _argument(parts, "deep_supervision"):
        yield (
            f"its network {name_of(parts.network)} with deep_supervision answers with several masks, of which the last "
            "is the final one, and runs use the first; set deep_supervision to false in its configs"
        )


def find_several(parts: Parts) -> None:
    """Find whether a network may give several answers, and take the loss of one answer out of the loss of all."""
    if name_of(parts.loss) == _OVER_ALL:
        parts.loss_of_all, parts.loss = parts.loss, parts.config.argument(parts.loss, "loss")[0]
        parts.several = True
        parts.notes.append(
            "the network answers with several tensors (deep supervision): train uses the bundle's loss over all of "
            "them, and everything else the first, with the loss of one"
        )
    elif _gives_several(parts):
        parts.several = True
        parts.notes.append(
            "the network answers with several tensors (deep supervision): runs use the first, also to train"
        )
    elif isinstance(parts.network, Mapping) and _is_own(str(parts.network.get("_target_"))):
        parts.several = True
        parts.notes.append("if the network, which is not MONAI's, answers with several tensors, runs use the first")


def _is_own(target: str) -> bool:
    """Whether a network is not one of MONAI's or torch's, whose answers are known."""
    return "." in target and not target.startswith(("monai.", "torch"))


def _gives_several(parts: Parts) -> bool:
    depth = _argument(parts, "dsdepth")
    deep = _argument(parts, "deep_supervision") is True or (isinstance(depth, int) and depth > 1)
    return deep or name_of(parts.network).lower() == _FINAL_LAST


def _argument(parts: Parts, name: str) -> Any:
    value, _ = parts.config.argument(parts.network, name)
    return parts.config.evaluated(value)
