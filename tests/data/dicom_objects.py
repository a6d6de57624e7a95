"""DICOM objects as scanners and programs write them: volumes in one file, segmentations, contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    SegmentationStorage,
    generate_uid,
)

ROWS, COLUMNS, SLICES = 5, 6, 4  # as `write_series` writes them


def item(**elements: Any) -> Dataset:
    """An item of a sequence; mappings become sequences of one item, and lists of mappings of several."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, _value(value))
    return made


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Items([item(**value)])
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return Items([item(**each) for each in value])
    return value


def save(path: Path, sop_class: str, **elements: Any) -> Path:
    """Write an object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = item(**elements)
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.save_as(path, enforce_file_format=True)
    return path


def plane(position: Sequence[float], **more: Any) -> dict[str, Any]:
    """The functional groups of a frame."""
    return {"PlanePositionSequence": {"ImagePositionPatient": list(position)}, **more}


SHARED = {
    "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    "PixelMeasuresSequence": {"PixelSpacing": [1.5, 1.5]},
}


def write_multi_frame(path: Path, stored: np.ndarray, frames: list[dict[str, Any]], **changes: Any) -> Path:
    """A volume in one file.

    Args:
        stored: `(frames, rows, columns)`, of 16 bits.
        frames: the functional groups of each.
    """
    elements: dict[str, Any] = {
        **{"PatientID": path.parent.name, "SeriesInstanceUID": generate_uid(), "Modality": "CT"},
        **{"Rows": stored.shape[1], "Columns": stored.shape[2], "NumberOfFrames": len(stored), "SamplesPerPixel": 1},
        **{"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15},
        **{"PixelRepresentation": 0, "PixelData": stored.astype(np.uint16).tobytes()},
        **{"SharedFunctionalGroupsSequence": SHARED, "PerFrameFunctionalGroupsSequence": frames},
    }
    return save(path, EnhancedCTImageStorage, **{**elements, **changes})


def headers(series: Path) -> list[Dataset]:
    """The slices of a series in their order."""
    return sorted((pydicom.dcmread(file) for file in series.iterdir()), key=lambda header: header.InstanceNumber)


def write_segmentation(
    path: Path, series: Path, segments: Mapping[int, tuple[str, Any]], kind: str = "BINARY", **changes: Any
) -> Path:
    """A segmentation of a series.

    Args:
        segments: label, and `(slices, rows, columns)`, by number; slices without the segment have no frame.
        kind: of segmentation.
    """
    slices, frames, pixels = headers(series), [], []
    for number, (_, mask) in segments.items():
        for index in np.flatnonzero(mask.any(axis=(1, 2))):
            source = {"SourceImageSequence": {"ReferencedSOPInstanceUID": slices[index].SOPInstanceUID}}
            shown = {"SegmentIdentificationSequence": {"ReferencedSegmentNumber": number}}
            frames.append(plane(slices[index].ImagePositionPatient, DerivationImageSequence=source, **shown))
            pixels.append(mask[index])
    stacked = np.array(pixels, dtype=np.uint8)
    packed = np.packbits(stacked.ravel(), bitorder="little").tobytes() if kind == "BINARY" else stacked.tobytes()
    bits = 1 if kind == "BINARY" else 8
    elements = {
        **{"Modality": "SEG", "SegmentationType": kind, "SeriesDescription": path.stem, "NumberOfFrames": len(frames)},
        **{"Rows": ROWS, "Columns": COLUMNS, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"},
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0},
        **{"ReferencedSeriesSequence": {"SeriesInstanceUID": slices[0].SeriesInstanceUID}},
        "SegmentSequence": [{"SegmentNumber": number, "SegmentLabel": name} for number, (name, _) in segments.items()],
        **{"SharedFunctionalGroupsSequence": SHARED, "PerFrameFunctionalGroupsSequence": frames},
        "PixelData": packed + b"\0" * (len(packed) % 2),
    }
    return save(path, SegmentationStorage, **{**elements, **changes})


def write_contours(path: Path, series: Path, regions: Mapping[str, Sequence[tuple[int, Any]]], **contour: Any) -> Path:
    """Contours on a series.

    Args:
        regions: by name, the contours as index of the slice and corners `(n, 2)`, in columns and rows.
        contour: changed elements of every contour.
    """
    slices = headers(series)

    def drawn(index: int, corners: Any) -> dict[str, Any]:
        position = np.array(slices[index].ImagePositionPatient, dtype=float)
        points = [position + np.array([1.5 * column, 1.5 * row, 0]) for column, row in corners]
        return {
            "ContourGeometricType": "CLOSED_PLANAR",
            "ContourImageSequence": {"ReferencedSOPInstanceUID": slices[index].SOPInstanceUID},
            "ContourData": np.round(np.ravel(points), 4).tolist(),
        } | contour

    of_series = {"RTReferencedSeriesSequence": {"SeriesInstanceUID": slices[0].SeriesInstanceUID}}
    elements = {
        **{"Modality": "RTSTRUCT", "StructureSetLabel": path.stem},
        "ReferencedFrameOfReferenceSequence": {"RTReferencedStudySequence": of_series},
        "StructureSetROISequence": [
            {"ROINumber": number, "ROIName": name} for number, name in enumerate(regions, start=1)
        ],
        "ROIContourSequence": [
            {"ReferencedROINumber": number, "ContourSequence": [drawn(*each) for each in contours]}
            for number, contours in enumerate(regions.values(), start=1)
        ],
    }
    return save(path, RTStructureSetStorage, **elements)


def box(slices: slice, rows: slice, columns: slice) -> np.ndarray:
    """A mask `(slices, rows, columns)` of a box."""
    mask = np.zeros((SLICES, ROWS, COLUMNS), dtype=bool)
    mask[slices, rows, columns] = True
    return mask
