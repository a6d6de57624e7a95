"""Divide a source of images by patient into retain, forget, validation and test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mu_monai.data import (
    ForgetFraction,
    ForgetIds,
    ForgetSelector,
    ForgetWhere,
    Patterns,
    Provenance,
    Reading,
    Source,
    SplitSettings,
    check_manifest,
    make_split,
    open_split,
    parse_label_map,
    provenance_of,
    read_layout,
    reselect,
    write_split,
)
from mu_monai.data.explained.cases import explained_cases
from mu_monai.data.explained.sheet import write_sheet
from mu_monai.data.layouts.drawn import undone_on_error
from mu_monai.data.layouts.volumes import is_decathlon
from mu_monai.errors import InputError, collect, raise_if_any, unless_raised
from mu_monai.files import absence
from mu_monai.keys import SUBSETS
from mu_monai.lock import writes
from mu_monai.tables import read_ids
from mu_monai.workflow.options import ForgetChoice

_SHOWN = 12  # classes
_ID_COLUMNS = ("patient_id", "case_id", "image_id", "PatientID", "SeriesInstanceUID")


@writes("out")
def split(
    source: str | Path,
    *,
    out: str | Path,
    layout: str | None = None,
    label_set: str | None = None,
    salt: str | None = None,
    from_bundle: str | Path | None = None,
    patterns: Patterns = Patterns(),  # noqa: B008 - frozen
    forget: ForgetChoice = ForgetChoice(),  # noqa: B008 - frozen
    validation: float | None = None,
    test: float | None = None,
    group_by: str | None = None,
    seed: int = 0,
    on_duplicates: str | None = None,
    strict: bool = False,
    picture_range: tuple[float, float] | None = None,
    label_map: str | None = None,
    structures: Sequence[str] = (),
    explain: bool = False,
    force: bool = False,
) -> str:
    """Write a `split.json`, and describe in words what it contains.

    Args:
        source: a folder in a known layout, or a manifest CSV; or the `split.json` that a model was trained on: then
            only its training cases are divided again, and validation and test stay the same.
        out: the split file to write. Labels that DICOM objects draw are written beside it, to `<out>_labels/`.
        layout: a key of `mu_monai.data.LAYOUTS`; None to recognize it.
        label_set: which of several label sets, such as CHASE_DB1's observers `1stHO` and `2ndHO`.
        salt: what the layout `dicom` hashes identifiers with; None to draw it.
        from_bundle: a bundle that was trained elsewhere, whose lists say which cases it was trained on; `source` is the
            folder of its images. What it was validated on becomes validation and test.
        patterns: where images and labels are, and who the patient is, in a folder of another layout.
        forget: whom to forget; by default nobody, for a model that is trained before anybody asks.
        validation: share of all patients for validation, in [0, 1); by default 0.2.
        test: share of all patients for the test set, in [0, 1); by default 0.2.
        group_by: the column whose groups stay together in one subset; by default `patient_id`.
        seed: seed of the draw, >= 0.
        on_duplicates: what to do about copies in the source: `error` (the default), `drop` or `together`.
        strict: near-duplicates of forget cases, and whatever is left out, are an error, not a warning.
        picture_range: the values of images of more than 8 bits that become black and white, lower one first; by
            default the range of the bits that they use.
        label_map: the class of each value of masks and volumes, as text; see `parse_label_map`.
        structures: which structures of DICOM objects (SEG, RTSTRUCT) become classes, by name or number, in this order;
            names of one structure are separated by `|`. By default all, in alphabetical order.
        explain: also tell what was understood of five cases, and draw them beside the split, as `<out>.png`.
        force: replace existing files.

    Returns:
        the layout, the counts per subset, and any copies, one line each.

    Raises:
        InputError: every problem of the source or the settings; nothing is written then.
    """
    out = Path(out)
    sheet = out.with_suffix(".png")
    written = [out, *[sheet] * explain]
    options = {"validation": validation, "test": test, "group_by": group_by, "on_duplicates": on_duplicates}
    changed: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    selectors: list[ForgetSelector | None] = []
    raise_if_any(
        collect(
            lambda: [] if force else [*map(_taken, filter(Path.exists, written))],
            lambda: unless_raised(selectors.append(selector_of(forget))),  # type: ignore[func-returns-value]
            lambda: unless_raised(SplitSettings(forget=None, seed=seed, **changed)),
        )
    )
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError(f"--out '{out}' is the source, which a model may have been trained on; give another --out")
    (selector,) = selectors
    settings = SplitSettings(forget=selector, seed=seed, strict=strict, **changed)
    drawn_to = out.with_name(f"{out.stem}_labels")
    described = {"layout": layout, "label_set": label_set, "salt": salt, "structure": " ".join(structures) or None}
    with undone_on_error(drawn_to):
        if Path(source).suffix == ".json" and not is_decathlon(Path(source)):
            if selector is None:
                raise InputError(
                    f"choose which training cases of '{source}' to forget: --forget, --forget-ids or --forget-where"
                )
            declared = {"picture_range": picture_range, "label_map": label_map, **asdict(patterns)}
            raise_if_any(_without_effect({**described, **declared, **changed}))
            content = reselect(open_split(source), selector, seed=settings.seed, strict=settings.strict)
        else:
            if from_bundle is None:
                drawn: dict[str, Any] = {"structures": structures, "drawn_to": drawn_to}
                found = read_layout(source, layout, label_set, salt, patterns=patterns, strict=strict, **drawn)
            else:
                raise_if_any(_decided_by_bundle({**described, **changed}, patterns))
                found = _bundle_lists(from_bundle, source, patterns.patient)
            content = make_split(_checked(found, picture_range, label_map), settings)
        provenance = provenance_of(content)
        cases = explained_cases(content, provenance, SUBSETS) if explain else []
        write_split(out, content)
    lines = [line for case in cases for line in (case.title, *(f"  {text}" for text in case.lines))]
    lines += _summary(out, provenance)
    if explain:
        lines.append(f"sheet: {write_sheet(sheet, cases)}")
    return "\n".join(lines)


def _taken(file: Path) -> str:
    return f"'{file}' exists; give another --out, or --force to replace it"


def _bundle_lists(bundle: str | Path, data: str | Path, patient: str | None) -> Source:
    from mu_monai.data.layouts.bundle_lists import read_bundle_lists  # loads MONAI, which other splits spare

    return read_bundle_lists(bundle, data, patient)


def _checked(images: Source, picture_range: tuple[float, float] | None, label_map: str | None) -> Source:
    """A source whose files were all read, and how they are to be read."""
    if picture_range is not None and not -math.inf < picture_range[0] < picture_range[1] < math.inf:
        raise InputError(
            f"--picture-range {picture_range[0]:g} {picture_range[1]:g} is not a range; give two numbers, black first"
        )
    reading = Reading(picture_range=picture_range)
    if label_map is not None:
        classes, names = parse_label_map(label_map)
        images, reading = replace(images, classes=names), replace(reading, label_map=classes)
    own = images.held_out is not None
    found = check_manifest(
        images.manifest, allow_repeated_ids=True, reading=reading, classes=images.classes, own_labels=own
    )
    return replace(images, reading=found)


def _decided_by_bundle(options: Mapping[str, object], patterns: Patterns) -> list[str]:
    given = {**options, "images": patterns.images, "labels": patterns.labels}
    return [
        f"--{name.replace('_', '-')} {value} has no effect with --from-bundle: the bundle's lists say which cases "
        "there are and which of them are held out; leave it out"
        for name, value in given.items()
        if value is not None and name not in ("group_by", "on_duplicates")
    ]


def _without_effect(options: Mapping[str, object]) -> list[str]:
    return [
        f"--{name.replace('_', '-')} {value} has no effect on a split.json, where only the choice of whom to "
        "forget changes; omit it, or split the images again"
        for name, value in options.items()
        if value is not None
    ]


def selector_of(forget: ForgetChoice) -> ForgetSelector | None:
    """The selector of a choice; None if nobody is to be forgotten.

    Raises:
        InputError: if the choice is more than one, or its file cannot be read.
    """
    if forget.share is not None and forget.where is None:
        raise InputError(
            f"--forget-fraction-of {forget.share} is a share of the patients that meet a condition; give the "
            "condition with --forget-where, or use --forget for a share of all training patients"
        )
    choices = [choice for choice in (forget.fraction, forget.ids, forget.where) if choice is not None]
    if len(choices) > 1:
        raise InputError(f"give one of --forget, --forget-ids and --forget-where, not {len(choices)} of them")
    if forget.fraction is not None:
        return ForgetFraction(forget.fraction)
    if forget.where is not None:
        return ForgetWhere(forget.where, forget.share)
    return None if forget.ids is None else _ids(forget.ids)


def _ids(file: str | Path) -> ForgetIds:
    if not Path(file).is_file():
        raise InputError(
            f"the file of ids '{file}' {absence(file)}; give a text file with one patient or case id per line"
        )
    return ForgetIds(*map(tuple, read_ids(file, _ID_COLUMNS)))


def _summary(out: Path, provenance: Provenance) -> list[str]:
    counts, labels = provenance.counts, provenance.label_set
    lines = [f"layout {provenance.layout or 'not known'}" + (f", labels of {labels}" if labels else "")]
    lines += [f"{name:<10} {counts[name]['patients']:>7} patients {counts[name]['cases']:>7} cases" for name in SUBSETS]
    if provenance.classes:
        more = f" and {len(provenance.classes) - _SHOWN} more" if len(provenance.classes) > _SHOWN else ""
        lines.append(f"classes: {', '.join(provenance.classes[:_SHOWN])}{more}")
    if provenance.reading.picture_range is not None:
        low, high = provenance.reading.picture_range
        lines.append(f"images of more than 8 bits: {low:g} is black, {high:g} is white")
    if provenance.reading.label_map is not None:
        pairs = ", ".join(f"{value}: {index}" for value, index in provenance.reading.label_map.items())
        lines.append(f"label values: {pairs}")
    if provenance.dropped:
        lines.append(f"dropped as copies: {len(provenance.dropped)} cases")
    if provenance.together:
        lines.append(f"kept together as copies: {len(provenance.together)} sets")
    return [*lines, f"split: {out}"]
