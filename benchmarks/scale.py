"""Print seconds and memory of a split, an audit and a report over a growing number of cases, and how they grow.

python benchmarks/scale.py [--rows 1000 10000 100000 1000000] [--scored 1000 10000 100000] [--out FOLDER]

The split is of a table of volumes with a digest for each file: its own work is measured, and not how fast a disk is.
It is drawn, written, read and checked; hashing and looking at files are left out, and measured by `--files` on files of
1 MiB that are made for it. Audit and report are those of `mu-monai`, over runs of phantoms whose tables of scores are
made as long, with 2,000 draws per interval. Each is a process of its own; memory is its peak above that of its imports.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import psutil
import torch

from mu_monai import workflow
from mu_monai.data import Source, SplitSettings, make_split, phantom_split, read_split, write_split
from mu_monai.data.duplicates import digest_files
from mu_monai.data.split_checks import shared, straddling_groups
from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, PATIENT_ID, RETAIN, SUBSET
from mu_monai.runs import RunRecord, file_digests, read_record, write_record
from mu_monai.workflow import AuditOptions

SMALL = ["network_def#channels=[4, 8]", "network_def#strides=[2]", "image_size=[16, 16]", "max_epochs=1"]
LARGE = 10_000  # below it, what does not grow decides
MIB = 2**20


def manifest(rows: int) -> pd.DataFrame:
    """A table of volumes with four cases of each patient, from five devices."""
    names = [f"case-{number:07}" for number in range(rows)]
    return pd.DataFrame(
        {
            CASE_ID: names,
            PATIENT_ID: [f"patient-{number // 4:07}" for number in range(rows)],
            IMAGE: [f"/volumes/{name}.nii.gz" for name in names],
            LABEL: [f"/labels/{name}.nii.gz" for name in names],
            "device": [f"device-{number // 4 % 5}" for number in range(rows)],
        }
    )


def digested(paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """A digest for each file, without reading it."""
    return {path: hashlib.sha256(path.encode()).hexdigest() for path in paths}, []


def split(rows: int, folder: Path) -> None:
    """Draw, write, read and check a split."""
    source = Source(manifest=manifest(rows), path="table.csv", layout="manifest")
    with mock.patch("mu_monai.data.split.digest_files", digested):
        content = make_split(source, SplitSettings())
    found = read_split(write_split(folder / "split.json", content))
    table = found.table
    problems = [*straddling_groups(table, PATIENT_ID), *shared(table, table[CASE_ID], "case {!r}", within=True)]
    problems += shared(table, table[IMAGE].map(found.provenance.sha256), "content {}", within=False)
    assert not problems
    assert len(found.located[RETAIN]) > len(found.located[FORGET]) > 0


def enlarged(run: Path, rows: int, file: Path) -> None:
    """Give a run the scores of as many cases: those that it has again, with noise, for the cases of a split."""
    rng = np.random.default_rng(0)
    before, cases = pd.read_csv(run / "scores.csv"), read_split(file).table
    parts = []
    for (_, subset), scores in before.groupby(["model", SUBSET], sort=False):
        own = cases[cases[SUBSET] == subset]
        drawn = scores.iloc[rng.integers(len(scores), size=len(own))].reset_index(drop=True)
        numbers = drawn.select_dtypes("number").columns
        drawn[numbers] *= rng.uniform(0.9, 1, (len(own), len(numbers)))
        parts.append(drawn.assign(**{CASE_ID: own[CASE_ID].to_numpy(), PATIENT_ID: own[PATIENT_ID].to_numpy()}))
    pd.concat(parts).to_csv(run / "scores.csv", index=False)
    record = read_record(run).to_json()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    record |= {"split": record["split"] | {"file": str(file)}, "sha256": record["sha256"] | {"split": digest}}
    write_record(run, RunRecord.from_json({**record, "files": file_digests(run)}))


def scored(rows: int, folder: Path) -> None:
    """Runs of a teacher, a retrained model and a student with as many scored cases."""
    given = phantom_split("lesions", folder / "phantoms", patients=8, images_per_patient=1, size=32)
    for name, subsets in (("teacher", (RETAIN, FORGET)), ("retrained", (RETAIN,))):
        workflow.train("isic", split=given, out=folder / name, subsets=subsets, settings=SMALL, quiet=True)
    options = {"teacher": folder / "teacher", "method": "gradient-ascent", "settings": ["max_epochs=1"]}
    workflow.unlearn("isic", split=given, out=folder / "student", quiet=True, **options)
    split(rows, folder)
    for name in ("teacher", "retrained", "student"):
        enlarged(folder / name, rows, folder / "split.json")


def audit(rows: int, folder: Path) -> None:
    """The audit of the scores: membership, patients, groups and closeness to the retrained model."""
    options = AuditOptions(references=[folder / "retrained"], distances=False, quiet=True)
    workflow.audit(folder / "student", options=options)


def report(rows: int, folder: Path) -> None:
    """The report of three runs and the audit."""
    runs = [folder / name for name in ("teacher", "retrained", "student")]
    workflow.report(runs, out=folder / "report")


PARTS = {"split": split, "scored": scored, "audit": audit, "report": report}


def run_part(part: str, rows: int, folder: Path) -> None:
    """Run a part in this process, and print what it cost."""
    torch.set_num_threads(1)
    process, began, worked = psutil.Process(), time.monotonic(), time.process_time()
    before = process.memory_info().rss
    PARTS[part](rows, folder)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds, cpu = time.monotonic() - began, time.process_time() - worked
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": (peak - before) / MIB}))


def measured(part: str, rows: int, folder: Path) -> dict[str, float]:
    """What a part costs, in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--rows", str(rows), "--out", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def growth(rows: list[int], costs: list[float]) -> float:
    """The slope of the costs over the rows, both as logarithms: 1 is proportional, 2 quadratic."""
    large = [(row, cost) for row, cost in zip(rows, costs, strict=True) if row >= LARGE]
    if len(large) < 2:
        return float("nan")
    return float(np.polyfit(*np.log(np.array(large)).T, 1)[0])


def hashing(files: int, folder: Path) -> str:
    """How fast files are hashed."""
    paths = [folder / f"file-{number}.bin" for number in range(files)]
    for path in paths:
        path.write_bytes(os.urandom(MIB))
    began = time.monotonic()
    digest_files(map(str, paths))
    seconds = time.monotonic() - began
    return f"hashing: {files} files of 1 MiB in {seconds:.1f} s, {files / seconds:.0f} MiB/s on {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--scored", type=int, nargs="*", default=[10**3, 10**4, 10**5])
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.part:
        run_part(given.part, given.rows[0], given.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        print("| part | cases | s | CPU s | MiB |\n|---|---|---|---|---|")
        for part, sizes in (("split", given.rows), ("audit", given.scored), ("report", given.scored)):
            costs = []
            for rows in sizes:
                place = out / f"{rows}"
                place.mkdir(exist_ok=True)
                if part == "audit":
                    measured("scored", rows, place)
                costs.append(measured(part, rows, place))
                cost = costs[-1]
                shown = f"{cost['seconds']:.1f} | {cost['cpu']:.1f} | {cost['mib']:.0f}"
                print(f"| {part} | {rows:,} | {shown} |", flush=True)
            cpu, memory = (growth(sizes, [cost[name] for cost in costs]) for name in ("cpu", "mib"))
            print(f"| {part} | growth | | {cpu:.2f} | {memory:.2f} |", flush=True)
        print(f"\n{hashing(given.files, out)}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
