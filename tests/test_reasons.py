"""Errors as the libraries raise them are recognized, and named with what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.transforms import LoadImage
from PIL import Image
from torch import nn

from mu_monai.errors import InputError, RunError
from mu_monai.reasons import reason_for, unexpected

MEMORY, ONE = "the memory is full", "a batch has one image"
WRITE, READ = "a file cannot be written", "a file cannot be read"


def one_value(norm, *shape):
    return lambda _: norm(3).train()(torch.zeros(1, 3, *shape))


def stopped(text):
    """Raises what a process says when another one of its run is gone; only a GPU or two processes really do."""

    def attempt(_):
        raise RuntimeError(text)

    return attempt


def full(write):
    """Writes to a device that is always full."""

    def attempt(_):
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        with open("/dev/full", "wb") as stream:
            write(stream)

    return attempt


def reading(read, name, content):
    def attempt(folder):
        (folder / name).write_bytes(content)
        return read(folder / name)

    return attempt


def decompressed(file):
    return gzip.decompress(file.read_bytes())


@pytest.mark.parametrize(
    ("attempt", "reason", "advice"),
    [
        (stopped("NCCL error in: ProcessGroupNCCL.cpp:94"), "another process of this run", "--resume"),
        (lambda _: torch.empty(2**52), MEMORY, "batch_size"),
        (lambda _: np.empty(2**52), MEMORY, "image_size"),
        (lambda _: bytearray(2**60), MEMORY, "patch_size"),
        (one_value(nn.BatchNorm1d), ONE, "batch_size"),
        (one_value(nn.BatchNorm2d, 1, 1), ONE, "batch_size"),
        (one_value(nn.BatchNorm3d, 1, 1, 1), ONE, "batch_size"),
        (one_value(nn.InstanceNorm2d, 1, 1), "one value per channel of an image", "image_size"),
        (one_value(nn.InstanceNorm3d, 1, 1, 1), "one value per channel of an image", "patch_size"),
        (full(lambda stream: torch.save({"w": torch.zeros(1000)}, stream)), WRITE, "make room"),
        (full(lambda stream: np.save(stream, np.zeros(10**5))), WRITE, "make room"),
        (full(lambda stream: stream.write(bytes(10**6))), WRITE, "--resume"),
        (reading(Image.open, "a.png", b"text"), READ, "replace the file"),
        (reading(Image.open, "a.png", b""), READ, "replace the file"),
        (reading(nibabel.load, "a.nii", b"text"), READ, "replace the file"),
        (
            reading(lambda file: gzip.decompress(file.read_bytes()), "a.gz", gzip.compress(bytes(999))[:-9]),
            READ,
            "replace the file",
        ),
        (reading(pydicom.dcmread, "a.dcm", b"text"), READ, "replace the file"),
        (reading(LoadImage(reader="PILReader"), "a.png", b"text"), READ, "replace the file"),
        (reading(LoadImage(reader=["PydicomReader", "NibabelReader"]), "a.nii", b"text"), READ, "replace the file"),
        (lambda folder: folder.read_bytes(), "a folder is given in place of a file", "name the files in it"),
    ],
)
def test_an_error_of_a_library_is_named_with_what_to_do(tmp_path, attempt, reason, advice):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        attempt(tmp_path)
    found = reason_for(caught.value)
    assert isinstance(found, RunError)
    assert str(found).startswith(reason) or reason in str(found)
    assert advice in str(found)
    assert "\n" not in str(found)
    assert "Traceback" not in str(found)
    assert len(str(found)) < 600


@pytest.mark.parametrize("error", [KeyError("site"), ValueError("a\nb"), TypeError("x" * 1000), AssertionError()])
def test_any_other_error_is_its_type_and_message_in_a_line(error):
    assert reason_for(error) is None
    line = str(unexpected(error))
    assert line.startswith(type(error).__name__)
    assert "\n" not in line
    assert len(line) < 320


@pytest.mark.parametrize("clear", [InputError("a"), FloatingPointError("b"), RunError("c")])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_what_is_clear_is_found_however_deep_it_is(clear, depth):
    error = clear
    for _ in range(depth):
        outer = RuntimeError("Failed to evaluate {the whole config}")
        outer.__cause__ = error
        error = outer
    assert reason_for(error) is clear


def test_causes_in_a_circle_come_to_an_end():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert reason_for(one) is None
