"""Attack the three methods that came nearest to the retrained model in what benchmarks/compare.sh makes.

python benchmarks/comparison_attacks.py RUNS/lesions-seed* [--attacks retain-finetuning,relearning]

The three are those with the smallest average gap over all folders. What an attack finds is beside the run, in
`attacked.json`, and is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comparison_table import ATTACKED_JSON, read, together

from mu_monai.keys import RETRAINED, STUDENT
from mu_monai.workflow import audit

BEST = 3


def main() -> None:
    """Audit the runs of the best methods under attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--attacks", default="all")
    arguments = parser.parse_args()
    comparisons = read(arguments.folders)
    table = together(comparisons)
    best = table.loc[(table["model"] == STUDENT) & (table["missing"] == 0), "label"].head(BEST)
    for out, content in comparisons.items():
        retrained = {row["seed"]: out / row["run"] for row in content["rows"] if row["model"] == RETRAINED}
        for row in content["rows"]:
            file = out / row["run"] / ATTACKED_JSON
            if row["label"] in set(best) and not file.is_file():
                reference, attacks = retrained[row["seed"]], arguments.attacks.split(",")
                audit(file.parent, references=[reference], attacks=attacks, distances=False, quiet=True, out=file)
                print(file, flush=True)


if __name__ == "__main__":
    main()
