"""What becomes of every bundle of MONAI's model zoo: adopted or refused, and whether a made case goes through it.

python benchmarks/zoo.py MODELS [--seconds 240]

MODELS is the folder `models` of https://github.com/Project-MONAI/model-zoo. Each bundle is read in a process of its
own. Where it is adopted, made images of the size that its metadata.json names go through its transforms, network
(weights drawn at random), loss and scores. Prints the table of docs/results/zoo.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

_CASES, _LARGEST = 6, 160


def one(folder: Path) -> str:
    """The outcome of a bundle, as a cell of the table."""
    from mu_monai import workflow
    from mu_monai.bundle.adopted.parts import CLASSIFICATION, find_parts
    from mu_monai.errors import InputError

    try:
        workflow.inspect_bundle(folder)
        parts = find_parts(folder)
    except InputError as error:
        reasons = [problem.partition("cannot be adopted: ")[2] or problem for problem in error.problems]
        return f"refused: {'; '.join(reasons)}"
    with tempfile.TemporaryDirectory() as place:
        try:
            table = _made(Path(place), parts.metadata, len(parts.classes or []) or 2, parts.task == CLASSIFICATION)
            names = parts.classes if parts.task == CLASSIFICATION else None
            _write(Path(place) / "cases.csv", table, names, parts.columns)
            workflow.split(Path(place) / "cases.csv", out=Path(place) / "split.json")
            told = workflow.inspect_bundle(folder, split=Path(place) / "split.json")
        except InputError as error:
            return f"adopted; the made case is refused: {error.problems[0]}"
    return f"adopted; {', '.join(line.split(maxsplit=1)[1] for line in told if line.startswith(('answer', 'judged')))}"


def _made(place: Path, metadata: Any, classes: int, by_class: bool) -> list[dict[str, str]]:
    """Made cases: noise with a block for each class."""
    image = metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
    sizes = [size for size in image.get("spatial_shape", []) if isinstance(size, int)] or [96, 96, 96]
    sizes = [min(size, _LARGEST) for size in sizes]
    channels, rng, rows = int(image.get("num_channels", 1)), np.random.default_rng(0), []
    for number in range(_CASES):
        label = np.zeros(sizes, np.uint8)
        for value in range(1, min(classes, 200)):
            corner = [int(rng.integers(0, max(1, size // 2))) for size in sizes]
            label[tuple(slice(start, start + max(2, size // 3)) for start, size in zip(corner, sizes, strict=True))] = (
                value
            )
        pixels = rng.normal(40, 30, sizes) + 10 * label
        if len(sizes) == 2:
            picture = np.repeat(pixels.clip(0, 255)[..., None], 3, axis=2) if channels == 3 else pixels.clip(0, 255)
            files = [place / f"image_{number}.png"]
            Image.fromarray(picture.astype(np.uint8)).save(files[0])
            mask = place / f"label_{number}.png"
            Image.fromarray(((label > 0) * 255).astype(np.uint8)).save(mask)
        else:
            files, mask = (
                [place / f"image_{number}_{c}.nii.gz" for c in range(channels)],
                place / f"label_{number}.nii.gz",
            )
            for file in files:
                nib.save(nib.Nifti1Image(pixels.astype(np.float32), np.eye(4)), file)
            nib.save(nib.Nifti1Image(label, np.eye(4)), mask)
        rows.append({"image": str(files[0]), "label": str(number % classes) if by_class else str(mask)})
    return rows


def _write(file: Path, rows: list[dict[str, str]], names: list[str] | None, columns: list[str]) -> None:
    lines = [",".join(["case_id", "patient_id", "image", "label", *columns])]
    for number, row in enumerate(rows):
        label = names[int(row["label"])] if names else row["label"]
        lines.append(",".join([f"c{number}", f"p{number}", row["image"], label, *[row["image"]] * len(columns)]))
    file.write_text("\n".join(lines) + "\n")


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("--seconds", type=int, default=240, help="for each bundle")
    parser.add_argument("--one", action="store_true", help="MODELS is a single bundle")
    given = parser.parse_args()
    if given.one:
        print(f"\n#{one(given.models)}")
        return
    print("| bundle | outcome | seconds |\n|---|---|---|")
    for folder in sorted(path for path in given.models.iterdir() if (path / "configs").is_dir()):
        started = time.monotonic()
        command = [sys.executable, __file__, str(folder), "--one"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=given.seconds)
            said = [line[1:] for line in done.stdout.splitlines() if line.startswith("#")]
            outcome = said[-1] if said else f"fails: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        except subprocess.TimeoutExpired:
            outcome = f"adopted; not finished in {given.seconds} s"
        cell = outcome.replace("|", "/").replace(str(folder), folder.name)
        print(f"| {folder.name} | {cell} | {time.monotonic() - started:.0f} |", flush=True)


if __name__ == "__main__":
    main()
