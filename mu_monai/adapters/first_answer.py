"""Networks that answer with several tensors, such as with deep supervision, as networks that answer with one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mu_monai.errors import InputError


class _FirstAnswer(nn.Module):
    """What is put in front of a network's class, so that its type, weights and copies stay what they are."""

    first_in_training: bool

    def forward(self, image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The first of the answers to `image`, `(B, C, ...)`."""
        answer = super().forward(image, *args, **kwargs)  # of the network's own class
        _let_copy(self)
        return _first(answer, image) if self.first_in_training or not self.training else answer


def first_answer(network: nn.Module, in_training: bool = True) -> nn.Module:
    """Let a network answer with the first of its tensors: the one at full resolution in MONAI's networks.

    A list or tuple gives its first entry, and tensors that are stacked as `(B, S, C, ...)`, as of MONAI's DynUNet,
    the first of the `S`. A single tensor stays as it is.

    Args:
        network: the network; it is changed in place, and its weights keep their names.
        in_training: also in training mode; otherwise it gives all its answers there.

    Raises:
        InputError: when the network is used and answers with something else, such as a mapping.

    Example:
        >>> class Two(nn.Linear):
        ...     def forward(self, x):
        ...         return [super().forward(x), x]
        >>> network = first_answer(Two(2, 1))
        >>> network(torch.zeros(3, 2)).shape, isinstance(network, Two)
        (torch.Size([3, 1]), True)
    """
    kind = type(network)
    network.__class__ = type(kind.__name__, (_FirstAnswer, kind), {})
    network.first_in_training = in_training  # type: ignore[assignment]  # nn.Module has typed attributes
    return network


def _let_copy(network: nn.Module) -> None:
    """Detach what DynUNet keeps of its last answers: a network that holds their graph cannot be copied."""
    kept = vars(network).get("heads")
    if isinstance(kept, list):
        kept[:] = [head.detach() for head in kept]


def _first(answer: Any, image: torch.Tensor) -> torch.Tensor:
    if isinstance(answer, list | tuple) and answer:
        answer = answer[0]
    if not isinstance(answer, torch.Tensor):
        raise InputError(
            f"the network answers with a {type(answer).__name__}, and runs need a tensor, or several with the one to "
            "use in front; let its forward() return that one"
        )
    return answer[:, 0] if answer.ndim > image.ndim else answer
