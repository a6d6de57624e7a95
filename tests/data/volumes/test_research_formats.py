"""MetaImage and NRRD files, written here by hand as ITK writes them."""

from __future__ import annotations

import gzip
import zlib

import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage

from mu_monai import workflow
from mu_monai.data import open_split, read_layout
from mu_monai.data.manifest import check_manifest
from mu_monai.errors import InputError

SPACING, ORIGIN = np.array([1.5, 2.0, 3.0]), np.array([10.0, -20.0, 30.0])
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])  # columns: the axes of the array, in LPS
MHA = {
    "int16": "MET_SHORT",
    "uint8": "MET_UCHAR",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
    "int64": "MET_LONG_LONG",
}
NRRD = {"int16": "short", "uint8": "unsigned char", "float32": "float", "float64": "double", "int64": "long long int"}


def mha(values, packed=False, big=False, **changes):
    header = {
        **{
            "ObjectType": "Image",
            "NDims": 3,
            "BinaryData": True,
            "BinaryDataByteOrderMSB": big,
            "CompressedData": packed,
        },
        **{"TransformMatrix": " ".join(map(str, TURN.T.ravel())), "Offset": " ".join(map(str, ORIGIN))},
        **{"ElementSpacing": " ".join(map(str, SPACING)), "DimSize": " ".join(map(str, values.shape))},
        **{"ElementType": MHA[values.dtype.name]},
        "ElementDataFile": "LOCAL",
    } | changes
    header["ElementDataFile"] = header.pop("ElementDataFile")  # always the last line
    content = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes(order="F")
    return "".join(f"{key} = {value}\n" for key, value in header.items()).encode() + (
        zlib.compress(content) if packed else content
    )


def nrrd(values, packed=False, big=False, **changes):
    step = (TURN * SPACING).T
    header = {
        **{"type": NRRD[values.dtype.name], "dimension": 3, "space": "left-posterior-superior"},
        **{
            "sizes": " ".join(map(str, values.shape)),
            "space directions": " ".join(f"({','.join(map(str, row))})" for row in step),
        },
        **{"endian": "big" if big else "little", "encoding": "gzip" if packed else "raw"},
        **{"space origin": f"({','.join(map(str, ORIGIN))})"},
    } | changes
    content = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes(order="F")
    lines = "".join(f"{key}: {value}\n" for key, value in header.items() if value is not None)
    return f"NRRD0004\n# made by hand\n{lines}\n".encode() + (gzip.compress(content) if packed else content)


def affine():
    expected = np.eye(4)
    expected[:3, :3] = np.diag([-1, -1, 1]) @ TURN * SPACING
    expected[:3, 3] = np.diag([-1, -1, 1]) @ ORIGIN
    return expected


def values(kind="int16", seed=0):
    return (np.random.default_rng(seed).random((6, 5, 4)) * 100).astype(kind)


@pytest.mark.parametrize("kind", MHA)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("suffix", "write"), [(".mha", mha), (".nrrd", nrrd)])
def test_voxels_and_place_are_read_as_they_are(tmp_path, suffix, write, packed, big, kind):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(write(values(kind), packed, big))
    image = nibabel.load(file)
    assert image.get_data_dtype() == kind
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), values(kind))
    np.testing.assert_allclose(image.affine, affine(), atol=1e-6)
    loaded = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True)(str(file))
    np.testing.assert_array_equal(loaded[0], values(kind).astype(np.float32))
    np.testing.assert_allclose(loaded.affine, affine(), atol=1e-6)


@pytest.mark.parametrize(("suffix", "write"), [(".mha", mha), (".nrrd", nrrd), (".NRRD", nrrd)])
def test_a_folder_of_them_is_split(tmp_path, suffix, write):
    for place in ("images", "labels"):
        (tmp_path / "data" / place).mkdir(parents=True)
    for n in range(5):
        (tmp_path / "data" / "images" / f"a{n}{suffix}").write_bytes(write(values(seed=n)))
        label = (values(seed=n) > 50).astype(np.uint8)
        (tmp_path / "data" / "labels" / f"a{n}{suffix}").write_bytes(write(label, packed=True))
    check_manifest(read_layout(tmp_path / "data").manifest)
    workflow.split(tmp_path / "data", out=tmp_path / "split.json")
    assert len(open_split(tmp_path / "split.json").table) == 5


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.mha", mha(values(), BinaryData=False), r"voxels that are text, or that begin elsewhere"),
        ("a.mha", mha(values(), HeaderSize=8), r"voxels that are text, or that begin elsewhere"),
        ("a.nrrd", nrrd(values(), **{"byte skip": 4}), r"begin elsewhere than after its header \(byte skip\)"),
        ("a.nrrd", nrrd(values(), **{"line skip": 1}), r"begin elsewhere than after its header \(line skip\)"),
        ("a.nrrd", nrrd(values(), **{"space units": '"um" "um" "um"'}), "gives its place in space in um, not in mm"),
        ("a.mha", mha(values())[:-9], "has 231 bytes of voxels instead of 240; it may be truncated"),
        ("a.mha", mha(values(), packed=True)[:-90], "bytes of voxels instead of 240"),
        ("a.mha", mha(values(), DimSize="600000 500000 4"), "is too large .600000x500000x4 voxels"),
        ("a.mha", mha(values(), ElementDataFile="a.raw"), "holds no single volume with its voxels in the same file"),
        ("a.mha", mha(values(), ElementNumberOfChannels=3), "holds no single volume"),
        ("a.mha", b"NDims = 3\n", "has no complete header"),
        ("a.mha", mha(values(), ElementType="MET_STRING"), "cannot be read"),
        ("a.nrrd", nrrd(values())[:-9], "has 231 bytes of voxels instead of 240"),
        ("a.nrrd", nrrd(values(), encoding="bzip2"), "has the encoding 'bzip2'; save it with raw or gzip"),
        ("a.nrrd", nrrd(values(), **{"data file": "a.raw"}), "holds no single volume"),
        ("a.nrrd", nrrd(values(), space=None), "a place in space; convert it to NIfTI"),
        ("a.nrrd", nrrd(values(), sizes="3 4 5 2"), "holds no single volume"),
        ("a.nrrd", b"NIFTI\n\n", "does not start like a NRRD file"),
        ("a.nrrd", b"NRRD0004\n" + b"# a\n" * 2000, "has no complete header"),
    ],
)
def test_what_is_not_one_volume_is_refused(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "manifest.csv").write_text(f"case_id,patient_id,image,label\n1,1,{name},x\n")
    with pytest.raises(InputError, match=expected):
        check_manifest(read_layout(tmp_path).manifest)
