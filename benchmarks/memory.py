"""Print the peak memory of split, training, unlearning and evaluation on CT volumes of a clinical size.

python benchmarks/memory.py [--shape 512 512 200] [--spacing 0.8 0.8 1.5] [--set patches_per_volume=4 ...]

Four drawn volumes, one for each subset, are enlarged into a temporary folder and go through the bundle `volume3d` with
its own settings, for one epoch. Every command is a process of its own, and its resident memory is what the operating
system says of it at its end; GPU memory is not in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from mu_monai.data import write_phantoms

SHORT = ["--quiet", "--set", "max_epochs=1"]


def enlarge(file: str, shape: list[int], spacing: list[float], order: int) -> None:
    """Write a volume again with more voxels."""
    voxels = np.asarray(nib.load(file).dataobj)
    factors = [size / old for size, old in zip(shape, voxels.shape, strict=True)]
    larger = ndimage.zoom(voxels, factors, order=order)
    if order:  # every voxel has its own noise, as in a scanner: smooth volumes would compress too well
        rng = np.random.default_rng(0)
        larger += rng.integers(-20, 20, larger.shape, dtype=np.int16)
    nib.save(nib.Nifti1Image(larger, np.diag([*spacing, 1])), file)


def peak(*arguments: str) -> tuple[float, float]:
    """Run a command; peak resident memory in GiB, and minutes."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mu_monai", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"mu-monai {' '.join(arguments)} failed")
    return usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20), (time.perf_counter() - start) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=[512, 512, 200], help="voxels along each axis")
    parser.add_argument("--spacing", nargs=3, type=float, default=[0.8, 0.8, 1.5], help="mm")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="for both runs"
    )
    options = parser.parse_args()
    settings = [*SHORT, *(part for setting in options.settings for part in ("--set", setting))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = write_phantoms("volumes", folder, patients=4, images_per_patient=1)
        for image, label in zip(manifest["image"], manifest["label"], strict=True):
            enlarge(image, options.shape, options.spacing, order=1)
            enlarge(label, options.shape, options.spacing, order=0)
        split, teacher, student = (str(folder / name) for name in ("split.json", "teacher", "student"))
        subsets = ["--forget", "0.5", "--validation", "0.25", "--test", "0.25"]
        commands = {
            "split": ["split", str(folder / "manifest.csv"), *subsets, "--out", split],
            "train": ["train", "volume3d", "--split", split, "--out", teacher, *settings],
            "unlearn": ["unlearn", "volume3d", "--split", split, "--teacher", teacher, "--out", student, *settings],
            "evaluate": ["evaluate", student],
        }
        found = {name: peak(*arguments) for name, arguments in commands.items()}
    print(f"\nvolumes of {' x '.join(map(str, options.shape))} voxels of {options.spacing} mm\n")
    print("| command | peak memory, GiB | minutes |\n|---|---|---|")
    for name, (memory, minutes) in found.items():
        print(f"| {name} | {memory:.2f} | {minutes:.1f} |")


if __name__ == "__main__":
    main()
