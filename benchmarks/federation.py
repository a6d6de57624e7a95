"""Make the federations behind docs/results/federation.md: lesions at three sites, one of which leaves.

python benchmarks/federation.py OUT [--data DATA] [--seed 0]

Without DATA, each site has phantoms of its own, and `west` leaves. DATA holds isic_lesion/: the site that leaves,
`archive`, has the images of one source, and those of the other are divided between `north` and `south` by a hash of
their ids. The site that leaves joins in round 3 of 8. Everything is in OUT; a federation that is there is not made
again. It ends with the table, which is in OUT/table.csv as well.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import pandas as pd

from mu_monai import workflow
from mu_monai.data import write_phantoms
from mu_monai.data.shards import keyed_place
from mu_monai.files import write_json
from mu_monai.runs.federation import is_federation, read_federation

OTHERS = ("north", "south")
ROUNDS, JOINS, LATER = 8, 3, 2
PHANTOMS = {"leaves": "west", "local_epochs": 10, "settings": ["image_size=[64, 64]"]}
LESIONS = {"leaves": "archive", "local_epochs": 5, "settings": ["image_size=[128, 128]"]}
ROUTES = {
    "rewind": {"route": "rewind"},
    "retraining": {"route": "retraining"},
    "distil-0.3": {"route": "distil", "damage": 0.3, "rounds": LATER},
    "distil-0.5": {"route": "distil", "damage": 0.5, "rounds": LATER},
    "unlearn": {"route": "unlearn", "rounds": LATER},
}


def lesions(data: Path, out: Path) -> dict[str, Path]:
    """Write a manifest for each site of the real images."""
    rows = pd.read_csv(data / "metadata.csv")
    rows["site"] = [
        LESIONS["leaves"] if source == "isic2017_full_resized" else OTHERS[keyed_place(image, 2, "site")]
        for image, source in zip(rows["image_id"], rows["source"], strict=True)
    ]
    for name, own in rows.groupby("site"):
        ids = own["image_id"]
        table = pd.DataFrame({"case_id": ids, "patient_id": ids})
        table["image"] = [str(next((data / "images").glob(f"{image}.*")).resolve()) for image in ids]
        table["label"] = [str((data / "masks" / f"{image}_segmentation.png").resolve()) for image in ids]
        table.to_csv(out / f"{name}.csv", index=False)
    return {str(name): out / f"{name}.csv" for name in sorted(rows["site"].unique())}


def phantoms(out: Path) -> dict[str, Path]:
    """Draw 60 patients for each site."""
    names = (*OTHERS, str(PHANTOMS["leaves"]))
    for seed, name in enumerate(names):
        if not (out / name / "manifest.csv").is_file():
            write_phantoms("lesions", out / name, patients=60, images_per_patient=1, seed=seed)
    return {name: out / name / "manifest.csv" for name in names}


def sites(manifests: dict[str, Path], leaves: str, out: Path, seed: int) -> Path:
    """Split each site's images, and write the file that names the sites."""
    for name, manifest in manifests.items():
        if not (out / f"{name}.json").is_file():
            workflow.split(manifest, out=out / f"{name}.json", validation=0.2, test=0.2, seed=seed)
    joins = {name: JOINS if name == leaves else 1 for name in manifests}
    write_json(out / "sites.json", {name: {"split": f"{name}.json", "joins": first} for name, first in joins.items()})
    return out / "sites.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    study = PHANTOMS if given.data is None else LESIONS
    manifests = phantoms(out) if given.data is None else lesions(given.data / "isic_lesion", out)
    whole, leaves, seconds = out / "training", str(study["leaves"]), {}
    for name, how in ({"training": {}} | ROUTES).items():
        folder, began = out / name, time.monotonic()
        if is_federation(folder) and read_federation(folder).finished:
            continue
        if how:
            workflow.forget_site(whole, site=leaves, out=folder, **how)
        else:
            workflow.train_federation(
                "isic",
                sites=sites(manifests, leaves, out, given.seed),
                rounds=ROUNDS,
                local_epochs=study["local_epochs"],
                out=folder,
                settings=[*study["settings"], f"seed={given.seed}"],
                device="cpu",
            )
        seconds[name] = round(time.monotonic() - began)
    table = workflow.compare_federations([out / name for name in ("training", *ROUTES)])
    table.to_csv(out / "table.csv", index=False)
    logging.info("\n%s\nseconds: %s", table.to_string(index=False), seconds)


if __name__ == "__main__":
    main()
