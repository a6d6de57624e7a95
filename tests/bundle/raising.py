"""Parts of a training that raise an error of a kind where it is wanted."""

from __future__ import annotations

import os
import signal
from pickle import PicklingError

import torch
from ignite.engine import Events
from PIL import UnidentifiedImageError
from torch import nn

from mu_monai.errors import InputError

KINDS = {
    "CPU memory": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: not enough memory"),
    "memory of numpy": lambda: MemoryError("Unable to allocate 8.00 GiB for an array with shape (2048, 2048, 256)"),
    "memory alone": lambda: MemoryError(),
    "GPU memory": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "GPU libraries": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "one value": lambda: ValueError(
        "Expected more than 1 value per channel when training, got input size [1, 8, 1, 1]"
    ),
    "one pixel": lambda: ValueError("Expected more than 1 spatial element when training, got input size [4, 64, 1, 1]"),
    "a worker": lambda: RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed."),
    "workers": lambda: RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
    "a lambda": lambda: PicklingError("Can't pickle <function <lambda> at 0x7f29>: attribute lookup failed"),
    "a function within": lambda: AttributeError("Can't get local object 'Net.__init__.<locals>.<lambda>'"),
    "a full disk": lambda: OSError(28, "No space left on device", "run/model.pt"),
    "a quota": lambda: OSError(122, "Disk quota exceeded", "run/model.pt"),
    "torch's writer": lambda: RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
    "no picture": lambda: UnidentifiedImageError("cannot identify image file '/x/a.png'"),
    "half a picture": lambda: OSError("image file is truncated (12 bytes not processed)"),
    "wrong input": lambda: InputError(["a is wrong", "b is wrong"]),
    "no number": lambda: FloatingPointError("the loss is nan"),
    "anything": lambda: KeyError("site"),
}


class Failing:
    """Hands on what it gets, or raises, or ends its process without a word."""

    def __init__(self, kind: str = "") -> None:
        self.kind = kind

    def __call__(self, value):
        if self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind:
            raise KINDS[self.kind]()
        return value


class Blank:
    """A case with an image and a mask without content, whatever its files are."""

    def __call__(self, case):
        return {**case, "image": torch.ones(1, 4, 4), "label": torch.zeros(1, 4, 4)}


class Network(nn.Module):
    """A layer, and a failing part."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.layer, self.failing = nn.Conv2d(1, 1, 1), Failing(kind)

    def forward(self, image):
        return self.failing(self.layer(image))


class Loss(nn.Module):
    """A mean, and a failing part."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.failing = Failing(kind)

    def forward(self, output, label):
        return self.failing((output - label).abs().mean())


class Writer:
    """Writes nothing after an epoch, or fails."""

    def __init__(self, kind: str = "") -> None:
        self.failing = Failing(kind)

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.failing)
