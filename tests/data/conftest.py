"""Small sources on disk, and the real images where there are any."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROOT = Path(__file__).parents[2]


def write_image(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> str:
    """A random RGB image whose grain survives the perceptual hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return str(path)


def write_mask(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> str:
    """A random rectangle of 255 on 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top, left = np.random.default_rng(seed).integers(0, 10, 2)
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    mask[top : top + 6, left : left + 8] = 255
    Image.fromarray(mask).save(path)
    return str(path)


def write_volume(path: Path, values: np.ndarray | int = 0, affine: np.ndarray | None = None, **codes: int) -> str:
    """A NIfTI file of random Hounsfield units (`values` is a seed) or of these values; `sform=0, qform=0` as codes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(values, int):
        values = np.random.default_rng(values).integers(-1000, 500, (6, 5, 4)).astype(np.int16)
    image = nibabel.Nifti1Image(values, np.diag([1.5, 1.5, 2, 1]) if affine is None else affine)
    image.set_sform(image.affine, codes.get("sform", 1))
    image.set_qform(image.affine, codes.get("qform", 1))
    image.to_filename(path)
    return str(path)


def write_label(path: Path, affine: np.ndarray | None = None, shape: tuple[int, ...] = (6, 5, 4)) -> str:
    """A NIfTI file with a small structure of class 1 and one voxel of class 2."""
    label = np.zeros(shape, dtype=np.uint8)
    label[1:3, 1:3, 1:3] = 1
    label[2, 2, 2] = 2
    return write_volume(path, label, affine)


def write_series(folder: Path, slices: int = 4, patient: str = "Anna", **changes: object) -> str:
    """A DICOM series, 5 rows x 6 columns, 1.5 mm, slices 2 mm apart; `changes` are header elements of all slices."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = {"PatientID": patient, "SeriesInstanceUID": generate_uid(entropy_srcs=[str(folder)]), **changes}
    for number in range(slices):
        header = slice_header(number, **shared)
        header.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
    return str(folder)


def slice_header(number: int, **changes: object) -> pydicom.Dataset:
    """One slice of a CT with its pixels, which are 1024 above Hounsfield units."""
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.Modality, header.Manufacturer, header.ManufacturerModelName = "CT", "SIEMENS", "mCT"
    header.StudyDate, header.PatientSex, header.PatientAge = "20221231", "F", "045Y"
    header.InstanceNumber = number + 1
    header.Rows, header.Columns, header.SamplesPerPixel, header.PhotometricInterpretation = 5, 6, 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.PixelSpacing, header.ImageOrientationPatient = [1.5, 1.5], [1, 0, 0, 0, 1, 0]
    header.ImagePositionPatient = [0, 0, 2.0 * number]
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    header.PixelData = np.random.default_rng(number).integers(0, 2000, (5, 6)).astype(np.uint16).tobytes()
    for keyword, value in changes.items():
        setattr(header, keyword, value)
    return header


def put_bytes(folder: str | Path, keyword: str, value: bytes) -> None:
    """Write an element's bytes as they are into all slices, as faulty software does."""
    for file in Path(folder).iterdir():
        header = pydicom.dcmread(file)
        element, tag = header[keyword], header[keyword].tag
        header._dict[tag] = RawDataElement(tag, element.VR, len(value), value, 0, False, True)
        header.save_as(file)


def make_decathlon(folder: Path, **changes: object) -> Path:
    """Two volumes with labels and a `dataset.json` that names one without."""
    for seed, name in enumerate(("a_01", "a_02")):
        write_volume(folder / "imagesTr" / f"{name}.nii.gz", seed)
        write_label(folder / "labelsTr" / f"{name}.nii.gz")
    content = {
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz", "fold": 1}
            for name in ("a_01", "a_02")
        ],
        "test": ["./imagesTs/a_03.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content | changes))
    return folder


def make_dicom(folder: Path, patients: Sequence[str] = ("Anna", "Bert", "Cleo", "Dora", "Emil")) -> Path:
    """A DICOM series with its label for each patient; the first scanner is another one."""
    for seed, patient in enumerate(patients):
        place = folder / f"site-{seed % 2}" / f"scan-{seed}"
        write_series(place, patient=patient, Manufacturer="GE" if seed else "SIEMENS", WindowCenter=seed)
        write_label(place.with_name(f"{place.name}_seg.nii.gz"), np.diag([-1.5, -1.5, 2, 1]))
    return folder


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Write images and masks for `patients` x `images`, and return their manifest."""

    def make(patients: int = 10, images: int = 2) -> pd.DataFrame:
        rows = []
        for patient in range(patients):
            for image in range(images):
                seed = patient * images + image
                case = f"c{patient:02d}_{image}"
                picture = write_image(tmp_path / "source" / "pictures" / f"{case}.png", seed)
                mask = write_mask(tmp_path / "source" / "labels" / f"{case}.png", seed)
                rows.append((case, f"p{patient:02d}", picture, mask, "b" if patient < 2 else "a", 50 + patient))
        return pd.DataFrame(rows, columns=["case_id", "patient_id", "image", "label", "device", "age"])

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("MU_MONAI_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "isic9").is_dir():
        pytest.skip(
            f"no real images in {folder}; set MU_MONAI_DATA to the folder that holds isic9, isic_lesion and chase_db1"
        )
    return folder
