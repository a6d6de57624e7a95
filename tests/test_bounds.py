"""Small files that promise, or unpack to, far more than they hold are refused before they take memory or time."""

import gzip
import struct
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from mu_monai import files
from mu_monai.adapters import read_weights
from mu_monai.data.volumes import files as volumes
from mu_monai.data.volumes.files import read_volume
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import file_sha256
from mu_monai.runs import examples
from mu_monai.runs.examples import read_examples
from mu_monai.workflow.predicting import image_problems
from tests.data.conftest import write_volume

MIB = 1 << 20


@contextmanager
def little_memory(most=32 * MIB):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def promising(path, *shape, packed=False):
    """A NIfTI file of a few voxels whose header promises others."""
    write_volume(path.with_suffix(".nii") if packed else path)
    content = bytearray((path.with_suffix(".nii") if packed else path).read_bytes())
    struct.pack_into(f"<{len(shape) + 1}h", content, 40, len(shape), *shape)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((30000, 30000, 30000), "is too large .30000x30000x30000 voxels.; at most 1,073,741,824 voxels"),
        ((2000, 2000, 200), "cannot hold the 1,600,000,000 bytes"),
        ((32000, 32000, 2), "is too large|cannot hold"),
    ],
)
def test_a_header_that_promises_more_than_the_file_holds(tmp_path, packed, shape, message):
    path = promising(tmp_path / ("x.nii.gz" if packed else "x.nii"), *shape, packed=packed)
    with little_memory(), pytest.raises(InputError, match=message):
        read_volume(str(path))


def test_predict_refuses_them_before_its_reader_does(tmp_path):
    path = promising(tmp_path / "x.nii.gz", 30000, 30000, 30000, packed=True)
    write_volume(tmp_path / "good.nii")
    with little_memory(), pytest.raises(InputError, match=r"^image '.*x\.nii\.gz' is too large .*"):
        raise_if_any(image_problems([path, tmp_path / "good.nii"]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "x.mha",
            "DimSize = 9000 9000 9000\nElementType = MET_SHORT\nCompressedData = True\nElementDataFile = LOCAL\n",
        ),
        ("y.mha", "DimSize = 9000 9000 9000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"),
        (
            "x.nrrd",
            "NRRD0004\ntype: short\ndimension: 3\nspace: lps\nsizes: 9000 9000 9000\n"
            "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: gzip\n\n",
        ),
    ],
)
def test_headers_of_other_formats_too(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode())
    with little_memory(), pytest.raises(InputError, match="is too large"):
        read_volume(str(tmp_path / name))


def test_a_compressed_volume_ends_after_its_voxels(tmp_path, monkeypatch):
    write_volume(tmp_path / "x.nii")
    with gzip.open(tmp_path / "x.nii.gz", "wb") as stream:
        stream.write((tmp_path / "x.nii").read_bytes() + bytes(3 * MIB))
    assert read_volume(str(tmp_path / "x.nii.gz")).values.shape == (6, 5, 4)
    monkeypatch.setattr(volumes, "_REST", MIB)
    with little_memory(), pytest.raises(InputError, match="goes on for more than"):
        read_volume(str(tmp_path / "x.nii.gz"))


def test_the_digest_of_a_bomb_is_not_computed_to_its_end(tmp_path, monkeypatch):
    with gzip.open(tmp_path / "x.nii.gz", "wb") as stream:
        for _ in range(40):
            stream.write(bytes(MIB))
    assert file_sha256(tmp_path / "x.nii.gz")
    monkeypatch.setattr(files, "MOST_UNPACKED", 4 * MIB)
    with little_memory(), pytest.raises(InputError, match="unpacks to more than 4,194,304 bytes"):
        file_sha256(tmp_path / "x.nii.gz")


def test_weights_are_not_packed(tmp_path):
    torch.save({"weight": torch.zeros(4 * MIB)}, tmp_path / "plain.pt")
    assert read_weights(tmp_path / "plain.pt")["weight"].numel() == 4 * MIB
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "x.pt", "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    with little_memory(), pytest.raises(InputError, match="cannot be read as plain weights"):
        read_weights(tmp_path / "x.pt")


def test_examples_unpack_to_what_is_allowed(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "examples.npz", image=np.zeros(64 * MIB, np.uint8))
    monkeypatch.setattr(examples, "MOST_UNPACKED", 8 * MIB)
    with little_memory(), pytest.raises(InputError, match=r"unpacks to 67,1.* bytes, and 8,388,608 are allowed"):
        read_examples(tmp_path / "examples.npz")
