"""Mixed precision: networks that compute in 16 bits while their weights, losses and measurements stay in 32."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch.utils._pytree import tree_map

from mu_monai.errors import InputError

FULL = "fp32"
_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}


def half_for(device: torch.device) -> torch.dtype:
    """The 16-bit numbers that a device computes with: bfloat16, or float16 on a GPU that has no bfloat16.

    Raises:
        InputError: for a device that is neither a CPU nor an NVIDIA GPU.

    Example:
        >>> half_for(torch.device("cpu"))
        torch.bfloat16
    """
    if device.type == "cpu":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    raise InputError(f"amp=true needs a CPU or an NVIDIA GPU, and the device is '{device}'; use amp=false")


def named(dtype: torch.dtype) -> str:
    """What records call it.

    Example:
        >>> named(torch.bfloat16)
        'bf16'
    """
    return _NAMES[dtype]


class Mixed(Inferer):
    """Applies a network in mixed precision; its answers are in 32 bits again, so that losses are.

    Args:
        inferer: how it is applied otherwise.
        device: where the network is.
        dtype: the 16-bit numbers.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> network, answers = torch.nn.Linear(1, 1), []
        >>> hook = network.register_forward_hook(lambda module, inputs, answer: answers.append(answer.dtype))
        >>> apply = Mixed(SimpleInferer(), torch.device("cpu"), torch.bfloat16)
        >>> apply(torch.zeros(1, 1), network).dtype, answers
        (torch.float32, [torch.bfloat16])
    """

    def __init__(self, inferer: Inferer, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.full, self._device, self._dtype = inferer, device, dtype

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """The answers to `inputs`, in 32 bits."""
        with torch.autocast(self._device.type, self._dtype):
            answers = self.full(inputs, network, *args, **kwargs)
        return tree_map(_widened, answers)


def _widened(answer: Any) -> Any:
    return answer.float() if isinstance(answer, torch.Tensor) and answer.dtype in _NAMES else answer


def in_full(inferer: Any) -> Any:
    """An inferer without mixed precision, for what is measured.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> type(in_full(Mixed(SimpleInferer(), torch.device("cpu"), torch.bfloat16))).__name__
        'SimpleInferer'
    """
    return inferer.full if isinstance(inferer, Mixed) else inferer
