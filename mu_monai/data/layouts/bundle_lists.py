"""The cases that a bundle lists for its training and validation, as a source that keeps this division."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.bundle.adopted.cases import Entries, listed_cases
from mu_monai.bundle.adopted.parts import CLASSIFICATION, Parts, find_parts
from mu_monai.bundle.adopted.source import make_importable
from mu_monai.bundle.find import find_bundle
from mu_monai.data.case_files import image_files
from mu_monai.data.layouts.arranged import show_patients, with_patients
from mu_monai.data.layouts.layout import Source
from mu_monai.data.layouts.listing import stem_of
from mu_monai.data.layouts.pairing import with_patient_ids
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL

BUNDLE_LISTS = "bundle"  # the layout of such a source


def read_bundle_lists(bundle: str | Path, data: str | Path, patient: str | None = None) -> Source:
    """Read the cases that a bundle was trained on and validated on.

    Args:
        bundle: the folder of a bundle that was not made for `mu-monai`.
        data: the folder of its images, which becomes its `dataset_dir`.
        patient: who the patient is, see `Arrangement`; None if each case is a patient of its own.

    Raises:
        InputError: if the lists cannot be read, or name files that do not exist or a case twice.
    """
    folder = find_bundle(bundle)
    if not Path(data).is_dir():
        raise InputError(f"'{data}' is not a folder; give the folder of the images that '{bundle}' lists")
    make_importable(folder)
    parts = find_parts(folder)
    listed = listed_cases(parts, Path(data))
    entries = [*listed.trained, *listed.held_out]
    names = _names(entries)
    rows = [{CASE_ID: name, **_row(entry, parts, Path(data))} for name, entry in zip(names, entries, strict=True)]
    manifest = pd.DataFrame(rows)
    manifest = with_patients(manifest, Path(data), patient) if patient is not None else with_patient_ids(manifest)
    show_patients(manifest)
    return Source(
        manifest=manifest,
        path=str(data),
        layout=BUNDLE_LISTS,
        classes=tuple(parts.classes or ()) if parts.task != CLASSIFICATION else (),
        held_out=frozenset(names[len(listed.trained) :]),
    )


def _names(entries: Entries) -> list[str]:
    """The name of each image's first file; with its folder where names alone are not unique."""
    files = [Path(str(image_files(entry[IMAGE])[0])) for entry in entries]
    names = [stem_of(file) for file in files]
    if len(set(names)) < len(names):
        names = [f"{file.parent.name}/{stem_of(file)}" for file in files]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    raise_if_any(f"the bundle lists the case {name!r} more than once; list each once" for name in twice[:10])
    return names


def _row(entry: Mapping[str, Any], parts: Parts, data: Path) -> dict[str, Any]:
    image = tuple(_absolute(file, data) for file in image_files(entry[IMAGE]))
    label = _absolute(entry[LABEL], data) if parts.label_file else _class(entry[LABEL], parts.classes)
    row = {IMAGE: image if len(image) > 1 else image[0], LABEL: label}
    return row | {name: _absolute(entry[name], data) for name in parts.columns if name in entry}


def _absolute(file: object, data: Path) -> str:
    return str((data / str(file)).absolute())


def _class(label: Any, classes: Sequence[str] | None) -> str:
    """The name of a class that is given by its number, by one-hot coding, or by its name."""
    values = list(label) if isinstance(label, Sequence) and not isinstance(label, str) else None
    if values and sorted(values) != [0] * (len(values) - 1) + [1]:
        raise InputError(
            f"the label {label!r} of the bundle's list is not one class in one-hot coding; a model of several classes "
            "at a time cannot be unlearned here"
        )
    number = values.index(1) if values else label
    if isinstance(number, int) and classes is not None:
        return classes[number] if 0 <= number < len(classes) else str(number)
    return str(number)
