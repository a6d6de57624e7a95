"""Damage whatever the program reads, kill whatever it does, and count what comes of it.

    python benchmarks/campaign.py --kills 50 --mutations 1000 --out campaign

Pictures, volumes, DICOM series, splits, and the records, weights and configs of runs and releases are damaged at
random, one file each time, which a command then uses. What is accepted is compared with what another reader reads, or
with the result of the sound file. Every verb is killed by SIGKILL at random moments, and gone on with as a user would.
Two tables are printed.

Silent, tracebacks, hangs and anything lost must be zero; then the program ends with 0, else with 1. Every case that is
not well is listed. The same seed gives the same damage. Needs a system with `fork`.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from campaign_data import Pictures, Series, Splits, Volumes
from campaign_kills import LOST, SAME, Kills, verbs
from campaign_runs import SMALL, Runs, prepare, split_of
from campaign_trying import BAD, OUTCOMES, TRACEBACK, needed

from mu_monai import workflow  # loaded before anything is tried, so that every process has it

DATA = {"pictures": Pictures, "volumes": Volumes, "DICOM": Series, "splits": Splits}
RUNS = ("records", "weights", "configs")
Once = Callable[[random.Random], tuple[str, str]]


def main() -> None:
    """Make runs, damage and kill, print the tables."""
    options = parsed()
    torch.set_num_threads(1)
    preload()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.out or Path(temporary)
        made = prepare(place, options.data)
        if not options.fast:
            retrained(made, place / "report.json")
        damage = table(damages(options, made, place), options.mutations, options, list(OUTCOMES))
        kills = table(killed(options, made, place), options.kills, options, [SAME, LOST, TRACEBACK])
    for found in filter(len, (damage, kills)):
        print(found.to_string(), end="\n\n")
    bad = sum(int(found[name].sum()) for found in (damage, kills) for name in (*BAD, LOST) if name in found)
    sys.exit(1 if bad else 0)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of images that 'mu-monai split' takes; else phantoms")
    parser.add_argument("--mutations", type=int, default=1000, help="of every kind of file")
    parser.add_argument("--kills", type=int, default=50, help="of every verb")
    parser.add_argument("--only", default="", help="kinds and verbs, separated by commas; by default all")
    parser.add_argument("--fast", action="store_true", help="leave out commands that take more than about a second")
    parser.add_argument("--seconds", type=float, default=1e9, help="at most, for each kind and each verb")
    parser.add_argument("--patience", type=float, default=60, help="seconds after which a command hangs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the folder to work in; by default a temporary one")
    return parser.parse_args()


def preload() -> None:
    """Import what commands import on first use."""
    import monai.bundle  # noqa: F401

    for verb in ("split", "train", "unlearn", "compose", "evaluate", "audit", "predict", "merge", "release", "report"):
        getattr(workflow, verb)
    gc.freeze()  # nothing of this is looked at again, which would copy its memory in every process


def retrained(made: Path, report: Path) -> None:
    """A model without the forgotten, for comparisons."""
    if not (made / "retrained").is_dir():
        settings = [text for setting in (*SMALL, "max_epochs=2", "batch_size=8") for text in ("--set", setting)]
        common = ["--split", split_of(made), "--subsets", "retain", "--quiet"]
        needed(report, "train", "isic", *common, *settings, "--out", made / "retrained")


def chosen(names: list[str], options: argparse.Namespace) -> list[str]:
    """Those that `--only` names."""
    return [name for name in names if not options.only or name in options.only.split(",")]


def damages(options: argparse.Namespace, made: Path, place: Path) -> dict[str, Callable[[], Once]]:
    """What damages a file of each kind."""
    found: dict[str, Callable[[], Once]] = {}
    for name in chosen([*DATA, *RUNS], options):
        folder = place / "damaged" / name
        if name in DATA:
            found[name] = lambda name=name, folder=folder: DATA[name](folder, options.patience).once
        else:
            found[name] = lambda name=name, folder=folder: Runs(made, folder, name, options.patience, options.fast).once
    return found


def killed(options: argparse.Namespace, made: Path, place: Path) -> dict[str, Callable[[], Once]]:
    """What kills each verb."""
    folder = place / "killed"
    return {
        name: lambda name=name: Kills(name, made, folder / name, options.patience, options.fast).once
        for name in chosen(list(verbs(made, folder, options.fast)), options)
    }


def table(
    kinds: dict[str, Callable[[], Once]], count: int, options: argparse.Namespace, outcomes: list[str]
) -> pd.DataFrame:
    """A row for each kind, a column for each outcome; what is not well is printed at once."""
    rows: dict[str, Counter[str]] = {}
    for kind, prepared in kinds.items() if count else ():
        once, rng, until = prepared(), random.Random(f"{options.seed} {kind}"), time.monotonic() + options.seconds
        rows[kind] = Counter()
        while rows[kind].total() < count and time.monotonic() < until:
            outcome, what = once(rng)
            rows[kind][outcome] += 1
            if outcome in (*BAD, LOST):
                print(f"{outcome}: {kind}: {what}", flush=True)
        print(f"{kind}: {rows[kind].total()} done", file=sys.stderr, flush=True)
    found = pd.DataFrame(rows).T.reindex(columns=outcomes).fillna(0).astype(int)
    found.insert(0, "tried", found.sum(axis=1))
    return found


if __name__ == "__main__":
    main()
