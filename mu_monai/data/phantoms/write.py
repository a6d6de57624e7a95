"""Built-in phantoms: drawn skin lesions, retinal vessels and CT-like volumes, for demonstrations and tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from PIL import Image

from mu_monai.data.layouts.layout import Source
from mu_monai.data.manifest import read_manifest
from mu_monai.data.phantoms import PHANTOM, PhantomKind
from mu_monai.data.phantoms.classes import CLASS_DIAGNOSES, draw_class, draw_class_style
from mu_monai.data.phantoms.lesions import LESION_DIAGNOSES, draw_lesion, draw_lesion_style
from mu_monai.data.phantoms.vessels import VESSEL_DIAGNOSES, draw_vessel_style, draw_vessels
from mu_monai.data.phantoms.volumes import VOLUME_DIAGNOSES, draw_volume, draw_volume_style
from mu_monai.data.selection import ForgetFraction
from mu_monai.data.split import SplitSettings, make_split
from mu_monai.data.split_file import write_split
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import atomic_path, read_json, write_json

_DRAWING = 2  # increase it whenever the drawings change: a folder with other drawings is not reused
_SHARE_OF_DEVICE_B = 0.3
_SETTINGS_JSON = "phantoms.json"
_SIZE, _VOLUME_SIZE = 256, 56  # the cost of a volume grows much faster with its side

_IMAGE, _MASK, _VOLUME, _LABELS = "images/{}.png", "masks/{}_segmentation.png", "images/{}.nii.gz", "labels/{}.nii.gz"
_PATHS = {"lesions": (_IMAGE, _MASK), "vessels": (_IMAGE, _MASK), "classes": (_IMAGE,), "volumes": (_VOLUME, _LABELS)}

_Drawn = tuple[NDArray[Any] | Nifti1Image, ...]  # an image, and its mask if it has one


def write_phantoms(
    kind: PhantomKind,
    folder: str | os.PathLike[str],
    *,
    patients: int = 40,
    images_per_patient: int = 2,
    size: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Draw phantoms into `images/` and `masks/` with a `manifest.csv`; the same settings give the same pixels.

    Volumes go into `images/` and `labels/`. Each patient's masks follow the habit of an annotator, which the images do
    not show, and the lesions of some patients look like another class. A network therefore fits the cases it was
    trained on clearly better than unseen ones, which is what unlearning and membership attacks are about.

    Args:
        kind: `lesions` (like dermoscopy), `vessels` (like fundus photographs, of the left and the right eye in turn),
            `classes` (lesions of nine classes, assigned to the patients in turn; without masks) or `volumes` (like CT;
            0 background, 1 organ, 2 lesion).
        folder: where to write; created if absent.
        patients: number of patients, >= 1.
        images_per_patient: >= 1.
        size: side of an image in pixels, >= 32; by default 256, or 56 for volumes, which have 0.6 times as many slices.
        seed: >= 0.

    Returns:
        The manifest with absolute paths and the metadata columns `device` (`a` or `b`), `diagnosis`, `eye` (vessels)
        and `phantom` (the kind).

    Raises:
        InputError: if a setting is out of range.
    """
    size = _size(kind, size)
    _check(kind, patients, images_per_patient, size, seed)
    folder = Path(folder)
    for name in _PATHS[kind]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)

    rows = [
        row
        for patient in range(1, patients + 1)
        for row in _write_patient(kind, folder, patient, (images_per_patient, size, seed))
    ]
    with atomic_path(folder / "manifest.csv") as path:
        pd.DataFrame(rows).to_csv(path, index=False)
    return read_manifest(folder / "manifest.csv")


def phantom_split(
    kind: PhantomKind,
    folder: str | os.PathLike[str],
    *,
    patients: int = 40,
    images_per_patient: int = 2,
    size: int | None = None,
    seed: int = 0,
) -> str:
    """Draw phantoms and split them, unless `folder` already has exactly these; it is made whole or not at all.

    An eighth of the patients are for validation, a fifth for test, and a tenth of the others (a fifth for volumes,
    since they are few) are to be forgotten: by default 48 images to retain, 6 to forget, 10 for validation and 16 for
    test.

    Args:
        kind: see `write_phantoms`, as for all other settings.
        folder: absent, empty, or made by an earlier call with the same settings.
        patients: >= 5.
        images_per_patient: >= 1.
        size: >= 32 pixels; see `write_phantoms`.
        seed: seed of the drawings and of the split, >= 0.

    Returns:
        The path of `split.json` in the folder.

    Raises:
        InputError: if the folder contains anything else, or a setting is out of range.

    Example:
        A bundle has `"split_file": "$mu_monai.data.phantom_split('lesions', @data_dir)"`.
    """
    size = _size(kind, size)
    _check(kind, patients, images_per_patient, size, seed)
    settings = {
        "drawing": _DRAWING,
        "kind": kind,
        "patients": patients,
        "images_per_patient": images_per_patient,
        "size": size,
        "seed": seed,
    }
    from mu_monai.processes import made_by_first  # needs torch, which a split has no use for

    folder = Path(folder).absolute()

    def make() -> str:
        if not _is_complete(folder, settings):
            _build(folder, settings)
        return str(folder / "split.json")

    return made_by_first(make)


def _size(kind: str, size: int | None) -> int:
    return (_VOLUME_SIZE if kind == "volumes" else _SIZE) if size is None else size


def _check(kind: str, patients: int, images_per_patient: int, size: int, seed: int) -> None:
    kinds = get_args(PhantomKind)
    problems = [] if kind in kinds else [f"phantom kind {kind!r} is unknown; choose {', '.join(map(repr, kinds))}"]
    bounds = {
        "patients": (patients, 1),
        "images_per_patient": (images_per_patient, 1),
        "size": (size, 32),
        "seed": (seed, 0),
    }
    problems += [
        f"{name}={value!r} is too small; choose a whole number >= {least}"
        for name, (value, least) in bounds.items()
        if value < least
    ]
    raise_if_any(problems)


def _write_patient(
    kind: PhantomKind, folder: Path, patient: int, settings: tuple[int, int, int]
) -> list[dict[str, str]]:
    images, size, seed = settings
    rng = np.random.default_rng([seed, patient])  # one stream per patient: more patients do not change the first ones
    device = "b" if rng.random() < _SHARE_OF_DEVICE_B else "a"
    diagnosis, draw = _artist(kind, rng, (device, size), patient)
    rows = []
    for number in range(1, images + 1):
        eye = "LR"[(number - 1) % 2]
        case = f"phantom_{patient:03d}_{number}"
        files = [path.format(case) for path in _PATHS[kind]]
        for file, drawn in zip(files, draw(eye), strict=True):
            _save(folder / file, drawn)
        row = {"case_id": case, "patient_id": f"phantom_{patient:03d}"}
        row |= {"image": files[0], "label": (*files, diagnosis)[1], "device": device, "diagnosis": diagnosis}
        rows.append(row | ({"eye": eye} if kind == "vessels" else {}) | {PHANTOM: kind})
    return rows


def _save(path: Path, drawn: NDArray[Any] | Nifti1Image) -> None:
    if isinstance(drawn, Nifti1Image):
        nib.save(drawn, path)
        return
    pixels = drawn.astype(np.uint8) * 255 if drawn.dtype == bool else drawn
    Image.fromarray(pixels).save(path, compress_level=1)


def _artist(
    kind: PhantomKind, rng: np.random.Generator, settings: tuple[str, int], patient: int
) -> tuple[str, Callable[[str], _Drawn]]:
    """The diagnosis of a patient, and a function that draws another image of the patient, given the eye."""
    device, size = settings
    if kind == "lesions":
        skin = draw_lesion_style(rng, device)
        lesion = str(rng.choice(LESION_DIAGNOSES))
        return lesion, lambda _: draw_lesion(rng, skin, lesion, size)
    if kind == "classes":
        name = CLASS_DIAGNOSES[(patient - 1) % len(CLASS_DIAGNOSES)]
        style = draw_class_style(rng, device, name)
        return name, lambda _: (draw_class(rng, style, size),)
    if kind == "volumes":
        body = draw_volume_style(rng, device)
        finding = str(rng.choice(VOLUME_DIAGNOSES))
        return finding, lambda _: draw_volume(rng, body, finding, size)
    retina = draw_vessel_style(rng, device)
    condition = str(rng.choice(VESSEL_DIAGNOSES))
    return condition, lambda eye: draw_vessels(rng, retina, condition, eye, size)


def _is_complete(folder: Path, settings: dict[str, Any]) -> bool:
    file = folder / _SETTINGS_JSON
    return file.is_file() and (folder / "split.json").is_file() and read_json(file) == settings


def _build(folder: Path, settings: dict[str, Any]) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{str(folder)!r} exists and does not hold these phantoms; give another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        building = Path(temporary) / folder.name  # inside the private folder, so that it gets the usual permissions
        _write_all(building, settings)
        try:
            if folder.exists():
                folder.rmdir()  # it is empty; Windows cannot rename onto an existing folder
            building.rename(folder)
        except OSError:
            if not _is_complete(folder, settings):  # else another process has just made the same phantoms
                raise


def _write_all(folder: Path, settings: dict[str, Any]) -> None:
    drawing = {name: value for name, value in settings.items() if name != "drawing"}
    manifest = write_phantoms(folder=folder, **drawing)
    source = Source(manifest=manifest, path=f"built-in phantoms: {settings['kind']}", layout="manifest")
    forget = ForgetFraction(0.2 if settings["kind"] == "volumes" else 0.1)
    shares = SplitSettings(forget=forget, validation=0.125, test=0.2, seed=settings["seed"])
    write_split(folder / "split.json", make_split(source, shares))
    write_json(folder / _SETTINGS_JSON, settings)
