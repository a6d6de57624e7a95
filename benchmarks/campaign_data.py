"""Damage pictures, volumes, DICOM series and splits, and compare what is read with what another reader reads."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from campaign_runs import odd_json
from campaign_trying import broken, call, here, outcome, tried
from PIL import Image, ImageOps
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from mu_monai.data import open_split
from mu_monai.data.pictures.decoding import read_image, read_mask
from mu_monai.data.volumes.files import read_volume
from mu_monai.files import file_sha256

PATIENTS = 6
SHARES = ["--forget", "0.3", "--validation", "0.2", "--test", "0.2"]
SAME = "as it is meant"


class Data(ABC):
    """A small study, one file of which is damaged before each `mu-monai split`.

    Args:
        place: a folder to work in.
        patience: the seconds after which a command hangs.
    """

    def __init__(self, place: Path, patience: float) -> None:
        self.place, self.patience = place, patience
        self.source, self.study = place / "source", place / "study"
        if not self.source.is_dir():
            self.make(self.source)
        shutil.rmtree(self.study, ignore_errors=True)
        shutil.copytree(self.source, self.study)
        self.sound = here(self._work)
        if self.sound.code or self.sound.result != SAME:
            raise SystemExit(f"the sound study is not usable: {self.sound}")

    @abstractmethod
    def make(self, folder: Path) -> None:
        """Make the sound study."""

    @abstractmethod
    def damage(self, folder: Path, rng: random.Random) -> str:
        """Damage one of its files; returns what was done."""

    @abstractmethod
    def read(self, split: Path) -> str:
        """`SAME` if every file of a split is read as another reader reads it, or else what differs."""

    def command(self) -> list[object]:
        """What uses the study, and writes `out.json` beside its manifest."""
        return ["split", self.study / "manifest.csv", *SHARES, "--out", self.study / "out.json"]

    def once(self, rng: random.Random) -> tuple[str, str]:
        """Damage a file and make a split: the outcome, and what was done and said."""
        shutil.rmtree(self.study)
        shutil.copytree(self.source, self.study)
        what = self.damage(self.study, rng)
        found = tried(self._work, self.place / "said.json", self.patience)
        last = found.said.strip().splitlines()[-1:] or [""]
        return outcome(found, self.sound), f"{what}: {found.result or last[0]}"

    def _work(self) -> tuple[int, str, str]:
        code, said = call(*self.command())
        try:
            return code, said, self.read(self.study / "out.json") if code == 0 else ""
        except (OSError, ValueError) as error:  # accepted, and another reader cannot read it
            return code, said, f"{type(error).__name__}: {error}"


def write_manifest(folder: Path, rows: list[tuple[str, str]]) -> None:
    """A manifest of images and labels, a patient each."""
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["case_id", "patient_id", "image", "label"])
        table.writerows((f"c{number}", f"p{number}", *row) for number, row in enumerate(rows))


def differing(split: Path, same: Callable[[Path, Path, Any], str]) -> str:
    """What is read differently in any case of a split."""
    opened = open_split(split)
    for row in opened.table.itertuples():
        wrong = same(Path(split.parent, row.image), Path(split.parent, row.label), opened)
        if wrong:
            return f"{row.case_id}: {wrong}"
    return SAME


# -- pictures ----------------------------------------------------------------------------------------------------------

Change = Callable[[Image.Image, Path], None]


def _exif(picture: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


def _deep(picture: Image.Image, path: Path) -> None:
    values = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    values.flat[0] = 65535
    Image.fromarray(values).save(path, format="PNG")


def _pages(picture: Image.Image, path: Path) -> None:
    picture.save(path, format="TIFF", save_all=True, append_images=[picture])


PICTURES: dict[str, Change] = {
    "EXIF orientation": _exif,
    "16 bits": _deep,
    "palette": lambda picture, path: picture.convert("RGB").quantize(16).save(path, format="PNG"),
    "transparent": lambda picture, path: Image.merge(
        "RGBA", [*picture.convert("RGB").split(), picture.convert("L")]
    ).save(path, format="PNG"),
    "CMYK": lambda picture, path: picture.convert("CMYK").save(path, format="TIFF"),
    "colors": lambda picture, path: picture.convert("RGB").save(path, format="PNG"),
    "two pages": _pages,
    "floats": lambda picture, path: picture.convert("F").save(path, format="TIFF"),
    "another size": lambda picture, path: picture.resize((20, 12)).save(path, format="PNG"),
    "lossy": lambda picture, path: picture.convert("L").save(path, format="JPEG", quality=10),
    "all black": lambda picture, path: picture.point(lambda _: 0).save(path, format="PNG"),
}


class Pictures(Data):
    """Photographs and masks of several formats."""

    def make(self, folder: Path) -> None:
        """Make the sound study."""
        draw = np.random.default_rng(0)
        folder.mkdir(parents=True)
        rows = []
        for number in range(PATIENTS):
            name = f"x{number}{('.png', '.jpg', '.tif', '.bmp', '.png', '.jpg')[number]}"
            pixels = Image.fromarray(draw.integers(0, 256, (24, 24, 3), dtype=np.uint8))
            pixels.resize((24, 16), Image.Resampling.BICUBIC).save(folder / name)
            mask = np.zeros((16, 24), np.uint8)
            mask[2 : 6 + number, 3:12] = 255
            Image.fromarray(mask).save(folder / f"m{number}.png")
            rows.append((name, f"m{number}.png"))
        write_manifest(folder, rows)

    def damage(self, folder: Path, rng: random.Random) -> str:
        """Damage an image or a mask."""
        path = rng.choice(sorted(path for path in folder.iterdir() if path.name[0] in "xm" and path.suffix != ".csv"))
        if rng.random() < 0.6:
            content, what = broken(path.read_bytes(), rng)
            path.write_bytes(content)
            return f"{path.name}, {what}"
        what = rng.choice(sorted(PICTURES))
        with Image.open(path) as stored:
            picture = stored.copy()
        PICTURES[what](picture, path)
        return f"{path.name}, {what}"

    def read(self, split: Path) -> str:
        """Compare with Pillow."""

        def same(image: Path, label: Path, opened: Any) -> str:
            ours, theirs = read_image(str(image), opened.provenance.reading.picture_range), _pillow(image)
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=0.01):
                return "the image is read as something else"
            return "" if np.array_equal(read_mask(str(label)), _pillow(label, mask=True)) else "the mask is not its own"

        return differing(split, same)


def _pillow(path: Path, *, mask: bool = False) -> np.ndarray:
    with Image.open(path) as stored:
        picture = ImageOps.exif_transpose(stored)
        if mask:
            return np.asarray(picture).astype(np.uint8) if picture.mode == "1" else np.asarray(picture)
        if picture.mode.startswith(("I", "F")):
            white = 65535 if picture.mode.startswith("I") else 255
            return np.repeat((np.asarray(picture) / white * 255)[..., None], 3, axis=-1)
        return np.asarray(picture.convert("RGB"))


# -- volumes and series ------------------------------------------------------------------------------------------------

AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])
SHAPE = (6, 5, 4)


def save_volume(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    """A NIfTI file with its place in space."""
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.to_filename(path)


def _moved(distance: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] = distance
    return affine


VOLUMES: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "NaN": lambda values: (np.where(values == values.max(), np.nan, values).astype(np.float32), AFFINE),
    "mirrored": lambda values: (values, AFFINE @ np.diag([-1, 1, 1, 1])),
    "moved": lambda values: (values, _moved(30)),
    "four dimensions": lambda values: (np.stack([values, values], -1), AFFINE),
    "another grid": lambda values: (values[:-1], AFFINE),
    "decimals": lambda values: (values.astype(np.float64) + 0.25, AFFINE),
    "complex": lambda values: (values.astype(np.complex64), AFFINE),
    "negative": lambda values: (-values.astype(np.int16), AFFINE),
    "empty": lambda values: (values * 0, AFFINE),
}


class Volumes(Data):
    """NIfTI files, compressed or not."""

    affine = AFFINE
    images: tuple[str, ...] = tuple(f"x{number}.nii{'.gz' * (number % 2)}" for number in range(PATIENTS))

    def make(self, folder: Path) -> None:
        """Make the sound study."""
        draw = np.random.default_rng(0)
        folder.mkdir(parents=True)
        for number, name in enumerate(self.images):
            self.make_image(folder / name, draw.integers(-1000, 500, SHAPE).astype(np.int16))
            label = np.zeros(SHAPE, np.uint8)
            label[1:3, 1:3, 1 : 2 + number % 3] = 1
            save_volume(folder / f"m{number}.nii.gz", label, self.affine)
        write_manifest(folder, [(name, f"m{number}.nii.gz") for number, name in enumerate(self.images)])

    def make_image(self, path: Path, values: np.ndarray) -> None:
        """One image."""
        save_volume(path, values)

    def damage(self, folder: Path, rng: random.Random) -> str:
        """Damage an image or a label."""
        path = rng.choice(sorted(path for path in folder.iterdir() if ".nii" in path.name))
        chance = rng.random()
        if chance < 0.3:
            what = rng.choice(sorted(VOLUMES))
            save_volume(path, *VOLUMES[what](np.asanyarray(nibabel.load(path).dataobj)))
            return f"{path.name}, {what}"
        packed = path.suffix == ".gz" and chance < 0.8  # the others are damaged as they are
        content, what = broken(gzip.decompress(path.read_bytes()) if packed else path.read_bytes(), rng)
        if chance > 0.6 and packed:  # a header that lies
            place = rng.randrange(40, 348)
            content = content[:place] + bytes(rng.randrange(256) for _ in range(2)) + content[place + 2 :]
        path.write_bytes(gzip.compress(content) if packed else content)
        return f"{path.name}, {what}{' inside' * packed}"

    def read(self, split: Path) -> str:
        """Compare with nibabel, and with a reader of the whole compressed file."""

        def same(image: Path, label: Path, _: Any) -> str:
            return next((f"{path.name} {wrong}" for path in (image, label) if (wrong := self.differs(path))), "")

        return differing(split, same)

    def differs(self, path: Path) -> str:
        """How a file is read differently."""
        ours, theirs = read_volume(str(path)), nibabel.load(path)
        if path.suffix == ".gz":
            try:
                gzip.decompress(path.read_bytes())
            except (OSError, EOFError, zlib.error):
                return "is damaged"
        values = np.asanyarray(theirs.dataobj)
        equal = np.allclose(ours.values.reshape(values.shape), values, rtol=1e-6, equal_nan=True)
        return "" if equal and np.allclose(ours.affine, theirs.affine) else "is read as something else"


class Series(Volumes):
    """Folders of DICOM slices with labels in NIfTI."""

    affine = np.diag([-1.5, -1.5, 2.0, 1.0])
    images = tuple(f"x{number}" for number in range(PATIENTS))

    def make_image(self, path: Path, values: np.ndarray) -> None:
        """A series; slices lie along the third axis."""
        path.mkdir()
        uid = generate_uid(entropy_srcs=[path.name])
        for number in range(SHAPE[2]):
            save_slice(path / f"IM{number}", number, values[:, :, number].T, path.name, uid)

    def damage(self, folder: Path, rng: random.Random) -> str:
        """Damage a slice."""
        path = rng.choice(sorted(folder.glob("x*/IM*")))
        chance = rng.random()
        if chance < 0.1:
            path.unlink()
            return f"{path.parent.name}/{path.name}, removed"
        if chance < 0.2:
            shutil.copy(path, path.with_name("IM9"))
            return f"{path.parent.name}/{path.name}, twice"
        if chance < 0.6:
            header = pydicom.dcmread(path)
            keyword, value = rng.choice(ELEMENTS)
            setattr(header, keyword, value)
            header.save_as(path)
            return f"{path.parent.name}/{path.name}, {keyword} = {value!r}"
        content, what = broken(path.read_bytes(), rng)
        path.write_bytes(content)
        return f"{path.parent.name}/{path.name}, {what}"

    def differs(self, path: Path) -> str:
        """Compare with the pixels of every slice, whatever their order."""
        if path.is_file():
            return super().differs(path)
        slices = [pydicom.dcmread(file) for file in path.iterdir()]
        theirs = [each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept) for each in slices]
        ours = read_volume(str(path)).values
        equal = ours.shape[2] == len(theirs) and np.allclose(np.sort(ours, axis=None), np.sort(theirs, axis=None))
        return "" if equal else "is read as something else"


ELEMENTS: tuple[tuple[str, Any], ...] = (
    ("PatientID", "another"), ("PatientID", ""), ("SeriesInstanceUID", "1.2.3"), ("InstanceNumber", 1),
    ("ImagePositionPatient", [0, 0, 500]), ("ImagePositionPatient", [0, 0, 0]), ("PixelSpacing", [3, 3]),
    ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0]), ("RescaleSlope", 2), ("RescaleIntercept", 0), ("Rows", 4),
    ("Columns", 600), ("BitsAllocated", 8), ("PixelRepresentation", 1), ("Modality", "MR"), ("NumberOfFrames", 3),
    ("PhotometricInterpretation", "RGB"), ("SamplesPerPixel", 3), ("PixelData", b"\0\0"),
    ("BodyPartExamined", "\x1b[2K"),
)  # fmt: skip


def save_slice(path: Path, number: int, stored: np.ndarray, patient: str, series: str) -> None:
    """One slice of a CT."""
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.PatientID, header.SeriesInstanceUID, header.Modality = patient, series, "CT"
    header.InstanceNumber = number + 1
    header.Rows, header.Columns = stored.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.PixelSpacing, header.ImageOrientationPatient = [1.5, 1.5], [1, 0, 0, 0, 1, 0]
    header.ImagePositionPatient = [0, 0, 2.0 * number]
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    header.PixelData = (stored + 1024).astype(np.uint16).tobytes()
    header.save_as(path, enforce_file_format=True)


# -- splits ------------------------------------------------------------------------------------------------------------


class Splits(Pictures):
    """A split of pictures, from which the forgotten are chosen anew."""

    def make(self, folder: Path) -> None:
        """Make the sound study and its split."""
        super().make(folder)
        code, said = call("split", folder / "manifest.csv", *SHARES, "--out", folder / "split.json")
        if code:
            raise SystemExit(said)

    def command(self) -> list[object]:
        """What uses the split."""
        return ["split", self.study / "split.json", "--forget", "0.5", "--out", self.study / "out.json"]

    def damage(self, folder: Path, rng: random.Random) -> str:
        """Damage the split."""
        path = folder / "split.json"
        if rng.random() < 0.6:
            content, what = odd_json(json.loads(path.read_text()), rng)
            path.write_text(json.dumps(content))
            return what
        content, what = broken(path.read_bytes(), rng)
        path.write_bytes(content)
        return what

    def read(self, split: Path) -> str:
        """Every case is one of the damaged split, with its files as they were, and no patient is in two subsets."""
        before, after = (_cases(path) for path in (split.with_name("split.json"), split))
        if {case[1:] for case in before} != {case[1:] for case in after}:
            return "other cases"
        owners = [(patient, subset in ("retain", "forget")) for subset, _, patient, *_ in after]
        if len(dict(owners)) != len(set(owners)):
            return "a patient in training and test"
        sound = {file_sha256(path) for path in self.source.iterdir()}
        read = {file_sha256(self.study / name) for *_, image, label in after for name in (image, label)}
        return SAME if read <= sound and len(after) == PATIENTS else "other files"


def _cases(split: Path) -> list[tuple[str, ...]]:
    content = json.loads(split.read_text(encoding="utf-8-sig"))
    return [
        (subset, case["case_id"], case["patient_id"], case["image"], case["label"])
        for subset in ("retain", "forget", "validation", "test")
        for case in content.get(subset, [])
    ]
