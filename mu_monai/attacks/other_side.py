"""Other sides: images are shown to the model mirrored, turned or with swapped axes; its weights stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mu_monai.attacks.attack import Attack, AttackData
from mu_monai.keys import IMAGE

Turn = Callable[[torch.Tensor], torch.Tensor]
_SIDES: Mapping[str, tuple[Turn, Turn]] = {  # what is done to an image, and what takes it back
    "mirrored": (lambda image: image.flip(-1), lambda answer: answer.flip(-1)),
    "upside down": (lambda image: image.flip(-2), lambda answer: answer.flip(-2)),
    "turned": (lambda image: image.rot90(1, (-2, -1)), lambda answer: answer.rot90(-1, (-2, -1))),
    "axes swapped": (lambda image: image.transpose(-2, -1), lambda answer: answer.transpose(-2, -1)),
}


@dataclass(frozen=True, kw_only=True)
class OtherSide(Attack):
    r"""Show every image from another side, and turn the answer back before it is scored.

    .. math:: \tilde f(x) = g^{-1}(f(g(x)))

    A method may have turned the network instead of making it forget: kernel swap answers the image with swapped axes as
    the original answers the image. Then the forgotten stand out again on that side, and those of the retrained model
    do not. Of volumes, the last two axes are turned. A class is an answer without sides.

    Args:
        side: g: `mirrored` (the last axis), `upside down` (the one before it), `turned` (a quarter turn) or
            `axes swapped` (the last two).

    Source: ours. A volume has 47 other sides and an image 7; those that are not asked may still know the forgotten.

    Example:
        >>> network = nn.Conv2d(1, 1, (1, 2), bias=False)
        >>> network.weight.data = torch.tensor([[[[1.0, 0.0]]]])  # the pixel itself, and nothing of its right neighbor
        >>> OtherSide(side="mirrored")(network, None)(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
        tensor([[[[2., 3.]]]], grad_fn=<FlipBackward0>)
    """

    side: str = "axes swapped"
    summary = "shows images to the model from another side, and turns its answer back; needs no data"

    @torch.no_grad()
    def hindered(self, network: nn.Module, data: AttackData) -> str:
        """A network may take images of one shape only."""
        cases: Any = data.retain
        image = cases.collate_fn([cases.dataset[0]])[IMAGE][:1].to(data.device)
        if image.dim() < 4:
            return f"its input of shape {tuple(image.shape)} has no two axes to turn"
        try:
            data.inferer(image, self(network, data))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).strip().partition("\n")[0]
            return f"the network does not take such images ({reason})"
        return ""

    def act(self, network: nn.Module, data: AttackData) -> Iterator[int]:
        """Turn what goes into the network, and what comes out of it."""
        there, back = _SIDES[self.side]
        network.register_forward_pre_hook(lambda _, inputs: (there(inputs[0]).contiguous(), *inputs[1:]))
        network.register_forward_hook(lambda _, inputs, answer: _turned(answer, back, inputs[0].dim()))
        yield 0


def _turned(answer: Any, back: Turn, dimensions: int) -> Any:
    """The answer turned back; several answers one by one, and what has no sides as it is."""
    if isinstance(answer, list | tuple):
        return type(answer)(_turned(part, back, dimensions) for part in answer)
    return back(answer) if answer.dim() == dimensions else answer
