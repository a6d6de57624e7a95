"""A folder that is described by patterns, read into a manifest."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mu_monai.data.case_files import each_file, image_files
from mu_monai.data.layouts.listing import LayoutInput, Listing
from mu_monai.data.layouts.pairing import pair, same_name_problems, with_metadata
from mu_monai.data.layouts.patterns import (
    CASE,
    CLASS,
    PATIENT,
    SET,
    Arrangement,
    Cases,
    channels_of,
    columns_of,
    find_cases,
    patients_of,
)
from mu_monai.data.volumes.files import is_volume
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID

_log = logging.getLogger(__name__)

_SHOWN = 5  # cases whose patients are shown


def fits_arrangement(listing: Listing, arrangement: Arrangement) -> bool:
    """Whether a folder has an image with its label where an arrangement says; for classes, with what lies beside it."""
    cases = find_cases(listing, arrangement)
    if arrangement.labels:
        return any(case in cases.labels for case in cases.images)
    return bool(cases.images and cases.aside)


def read_arrangement(reading: LayoutInput, arrangement: Arrangement) -> pd.DataFrame:
    """Read a folder into a manifest.

    Args:
        reading: the folder and the label set.
        arrangement: where its images and labels are.

    Raises:
        InputError: if no file is where the arrangement says; with every label without an image, every two files of one
            name, and every case that lacks a channel; if the arrangement is complete, with every image without a label.
    """
    listing = reading.listing
    cases = find_cases(listing, arrangement, reading.label_set)
    if not cases.images:
        raise InputError(
            f"no image in {str(listing.root)!r} has the pattern {' or '.join(map(repr, arrangement.images))}; "
            f"{_examples(listing)}"
        )
    if cases.aside:
        _log.info("%d files are not for training in this layout, such as '%s'", len(cases.aside), cases.aside[0])
        reading.told.update(cases.aside)
    channels, lacking = channels_of(cases)
    raise_if_any([*_double_problems(cases, arrangement), *lacking])
    images = {case: [files[channel][0] for channel in channels] for case, files in cases.images.items()}
    firsts = {case: files[0] for case, files in images.items()}
    if len(channels) > 1:
        _log.info("each case has %d images, in the order %s", len(channels), ", ".join(channels))
    manifest = (
        _labeled(firsts, cases, arrangement, reading) if arrangement.labels else _classes(firsts, cases, arrangement)
    )
    manifest[IMAGE] = [each_file(_one_or_all(images[case]), os.path.abspath) for case in manifest[CASE_ID]]
    columns = [columns_of(cases.fields[case]) for case in manifest[CASE_ID]]
    manifest = manifest.join(pd.DataFrame(columns, index=manifest.index, dtype=object))
    patients = _patients(cases, firsts, listing.root, arrangement.patient)
    if patients:
        manifest[PATIENT_ID] = manifest[CASE_ID].map(patients)
    return with_metadata(manifest, listing.root)


def with_patients(manifest: pd.DataFrame, root: Path, patient: str) -> pd.DataFrame:
    """The manifest with the patients that an expression finds in the paths of its images.

    Args:
        manifest: see `read_manifest`.
        root: the folder, in which the paths are.
        patient: see `Arrangement`.

    Raises:
        InputError: see `patients_of`.
    """
    paths = {str(row): os.path.relpath(image_files(image)[0], root) for row, image in enumerate(manifest[IMAGE])}
    fields = {str(row): {CASE: str(case)} for row, case in enumerate(manifest[CASE_ID])}
    return manifest.assign(**{PATIENT_ID: list(patients_of(fields, paths, patient).values())})


def show_patients(manifest: pd.DataFrame) -> None:
    """Tell the patients of the first cases, for people to compare with what they know."""
    shown = manifest.head(_SHOWN)
    pairs = ", ".join(f"{case} of {patient}" for case, patient in zip(shown[CASE_ID], shown[PATIENT_ID], strict=True))
    _log.info("%d patients; the first cases: %s", manifest[PATIENT_ID].nunique(), pairs)


def _labeled(firsts: dict[str, Path], cases: Cases, arrangement: Arrangement, reading: LayoutInput) -> pd.DataFrame:
    """A manifest of the first image of each case and its label, without patients."""
    several = [case for case in firsts if len(cases.labels.get(case, ())) > 1]
    labels = {case: files[0] for case, files in cases.labels.items() if case not in firsts or len(files) == 1}
    unlabeled = [case for case in firsts if case not in cases.labels]
    absent: set[str] = set()
    if several:
        reading.leave_out("images have several label files", [firsts[case] for case in several])
        absent.update(several)
    if labels.keys() & firsts.keys() and not arrangement.complete:
        reading.leave_out("images have no label", [firsts[case] for case in unlabeled])
        absent.update(unlabeled)
    firsts = {case: file for case, file in firsts.items() if case not in absent}
    reading.told.update(file for case in absent for file in cases.files_of(case))
    expected = arrangement.expected or " or ".join(arrangement.labels)
    kind = "label" if all(is_volume(str(file)) for file in firsts.values()) else "mask"
    manifest = pair(firsts, labels, expected.replace(f"{{{SET}}}", reading.label_set or ""), kind)
    return manifest.drop(columns=PATIENT_ID)


def _double_problems(cases: Cases, arrangement: Arrangement) -> list[str]:
    images = [problem for files in cases.images.values() for problem in same_name_problems(files)]
    return images if arrangement.several else [*images, *same_name_problems(cases.labels)]


def _classes(firsts: Mapping[str, Path], cases: Cases, arrangement: Arrangement) -> pd.DataFrame:
    """A manifest of the first image of each case and its class, without patients."""
    raise_if_any(
        f"pattern {pattern!r} has no field {{{CLASS}}}, and no labels are given; say where they are with --labels, or "
        "which part of the path is the class, as in '{class}/{case}.jpg'"
        for pattern in arrangement.images
        if f"{{{CLASS}" not in pattern
    )
    rows = [(case, str(firsts[case]), cases.fields[case][CLASS]) for case in sorted(firsts)]
    return pd.DataFrame(rows, columns=[CASE_ID, IMAGE, LABEL], dtype=object)


def _one_or_all(files: list[Path]) -> Path | list[Path]:
    return files[0] if len(files) == 1 else files


def _patients(cases: Cases, firsts: Mapping[str, Path], root: Path, patient: str) -> dict[str, str]:
    if patient:
        paths = {case: file.relative_to(root).as_posix() for case, file in firsts.items()}
        return patients_of(cases.fields, paths, patient)
    return {case: fields[PATIENT] for case, fields in cases.fields.items() if PATIENT in fields}


def _examples(listing: Listing) -> str:
    """What is there instead: the first file of each suffix and depth."""
    kinds = {(path.count("/"), Path(path).suffix): path for path in reversed(listing.files)}
    return f"it has files such as {', '.join(map(repr, sorted(kinds.values())[:_SHOWN]))}" if kinds else "it is empty"
