"""Make the federations behind docs/results/federation.md: lesions at three sites, one of which leaves.

python benchmarks/federation.py DATA OUT [--seed 0]

DATA holds isic_lesion/. The site that leaves, `archive`, has the images of one source; those of the other source are
divided between `north` and `south` by a hash of their ids. It joins in round 3 of 8. Everything is in OUT; a federation
that is there is not made again. It ends with the table, which is in OUT/table.csv as well.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import pandas as pd

from mu_monai import workflow
from mu_monai.data.shards import keyed_place
from mu_monai.files import write_json
from mu_monai.runs.federation import is_federation, read_federation

LEAVES, OTHERS = "archive", ("north", "south")
ROUNDS, LOCAL, JOINS, LATER = 8, 5, 3, 2
SETTINGS = ("image_size=[128, 128]",)
DAMAGES = (0.3, 0.5)


def sites(data: Path, out: Path, seed: int) -> Path:
    """Write a manifest and a split for each site, and the file that names them."""
    rows = pd.read_csv(data / "metadata.csv")
    rows["site"] = [
        LEAVES if source == "isic2017_full_resized" else OTHERS[keyed_place(image, 2, "site")]
        for image, source in zip(rows["image_id"], rows["source"], strict=True)
    ]
    for name, own in rows.groupby("site"):
        ids = own["image_id"]
        table = pd.DataFrame({"case_id": ids, "patient_id": ids})
        table["image"] = [str(next((data / "images").glob(f"{image}.*")).resolve()) for image in ids]
        table["label"] = [str((data / "masks" / f"{image}_segmentation.png").resolve()) for image in ids]
        table.to_csv(out / f"{name}.csv", index=False)
        if not (out / f"{name}.json").is_file():
            workflow.split(out / f"{name}.csv", out=out / f"{name}.json", validation=0.2, test=0.2, seed=seed)
    joins = {name: JOINS if name == LEAVES else 1 for name in (LEAVES, *OTHERS)}
    write_json(out / "sites.json", {name: {"split": f"{name}.json", "joins": first} for name, first in joins.items()})
    return out / "sites.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    whole, seconds = out / "training", {}
    made = {"training": {}, "rewind": {"route": "rewind"}, "retraining": {"route": "retraining"}}
    made |= {f"distil-{share}": {"route": "distil", "damage": share, "rounds": LATER} for share in DAMAGES}
    made |= {"unlearn": {"route": "unlearn", "rounds": LATER}}
    made |= {"unlearn-1e-4": {"route": "unlearn", "rounds": LATER, "settings": ["learning_rate=1e-4"]}}
    for name, how in made.items():
        folder, began = out / name, time.monotonic()
        if not (is_federation(folder) and read_federation(folder).finished):
            if how:
                workflow.forget_site(whole, site=LEAVES, out=folder, **how)
            else:
                workflow.train_federation(
                    "isic",
                    sites=sites(given.data / "isic_lesion", out, given.seed),
                    rounds=ROUNDS,
                    local_epochs=LOCAL,
                    out=folder,
                    settings=[*SETTINGS, f"seed={given.seed}"],
                    device="cpu",
                )
            seconds[name] = round(time.monotonic() - began)
    table = workflow.compare_federations([out / name for name in made])
    table.to_csv(out / "table.csv", index=False)
    logging.info("\n%s\nseconds: %s", table.to_string(index=False), seconds)


if __name__ == "__main__":
    main()
