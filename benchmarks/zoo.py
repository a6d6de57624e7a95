"""What becomes of every bundle of MONAI's model zoo: adopted or refused, and whether a made case goes through it.

python benchmarks/zoo.py MODELS [--seconds 240]

MODELS is the folder `models` of https://github.com/Project-MONAI/model-zoo. Each bundle is read in a process of its
own. Where it is adopted, made images of the size that its metadata.json names go through its transforms, network
(weights drawn at random), loss and scores. Prints the table of docs/results/zoo.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CASES, _LARGEST, _SHOWN = 6, 160, 300


def one(folder: Path) -> str:
    """The outcome of a bundle, as a cell of the table."""
    from mu_monai import workflow
    from mu_monai.bundle.adopted.parts import find_parts
    from mu_monai.errors import InputError

    try:
        workflow.inspect_bundle(folder)
        parts = find_parts(folder)
    except InputError as error:
        reasons = [problem.partition("cannot be adopted: ")[2] or problem for problem in error.problems]
        return f"refused: {'; '.join(reasons)}"
    with tempfile.TemporaryDirectory() as place:
        try:
            _split(Path(place), parts)
            told = workflow.inspect_bundle(folder, split=Path(place) / "split.json")
        except InputError as error:
            return f"adopted; the made case is refused: {error.problems[0][:_SHOWN]}"
    seen = ", ".join(line.split(maxsplit=1)[1] for line in told if line.startswith(("answer", "judged")))
    return f"adopted; {seen.removesuffix(', with random weights')}"


def _split(place: Path, parts: Any) -> None:
    """A split of made cases: noise with a region for each class, in the form that the bundle reads."""
    from mu_monai import workflow
    from mu_monai.bundle.adopted.source import base_name
    from mu_monai.data import Patterns

    image = parts.metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
    sizes = [size for size in image.get("spatial_shape", []) if isinstance(size, int)] or [96, 96, 96]
    sizes = [min(size, _LARGEST) for size in sizes]
    classes, channels = len(parts.classes or []) or 2, int(image.get("num_channels", 1))
    rng, objects = np.random.default_rng(0), "SplitLabeld" in {base_name(name) for _, name in parts.config.targets()}
    steps = np.diag([*(parts.spacing or [1.0, 1.0, 1.0]), 1.0])
    rows = [["case_id", "patient_id", "image", "label", *parts.columns]]
    for number in range(_CASES):
        label = _regions(sizes, classes)
        pixels = rng.normal(40, 30, sizes) + 10 * (label % 8)
        if len(sizes) == 2:
            files, mask = [place / f"image_{number}_0.png"], place / f"label_{number}.png"
            gray = pixels.clip(0, 255).astype(np.uint8)
            Image.fromarray(np.repeat(gray[..., None], 3, axis=2) if channels > 1 else gray).save(files[0])
            drawn = _object(label, 1 + number % classes) if objects else (label > 0) * 255
            Image.fromarray(drawn.astype(np.uint8)).save(mask)
        else:
            files = [place / f"image_{number}_{channel}.nii.gz" for channel in range(channels)]
            mask = place / f"label_{number}.nii.gz"
            for file in files:
                nib.save(nib.Nifti1Image(pixels.astype(np.float32), steps), file)
            nib.save(nib.Nifti1Image(label.astype(np.uint8), steps), mask)
        name = parts.classes[number % classes] if parts.classes else str(number % classes)
        rows.append([f"c{number}", f"p{number}", str(files[0]), str(mask) if parts.label_file else name])
        rows[-1] += [str(files[0])] * len(parts.columns)
    if channels > 1 and len(sizes) > 2 and not parts.columns:
        patterns = Patterns(images="image_{case}_{channel}.nii.gz", labels="label_{case}.nii.gz")
        workflow.split(place, out=place / "split.json", patterns=patterns)
        return
    if objects:  # what the masks' values mean is known to the bundle alone, so the cases come from its own list
        entries = [dict(zip(("image", "label"), row[2:], strict=True)) for row in rows[1:]]
        lists = {"training": entries[:-2], "validation": entries[-2:]}
        (place / "dataset.json").write_text(json.dumps(lists))
        workflow.split(place, out=place / "split.json", from_bundle=parts.folder)
        return
    (place / "cases.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    workflow.split(place / "cases.csv", out=place / "split.json")


def _regions(sizes: list[int], classes: int) -> NDArray[np.int64]:
    """A tile for each class, over the first two axes."""
    side = int(np.ceil(np.sqrt(classes)))
    first, second = (np.arange(size) * side // size for size in sizes[:2])
    tiles = np.minimum(first[:, None] * side + second[None, :], classes - 1)
    return np.broadcast_to(tiles.reshape(*tiles.shape, *[1] * (len(sizes) - 2)), sizes)


def _object(label: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """A mask of one object by the number of its class, and of others, which are 255."""
    return np.select([label == 0, label == label.max()], [number, 255])


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
        print(f"| `{folder.name}` | {cell} | {time.monotonic() - started:.0f} |", flush=True)


if __name__ == "__main__":
    main()
