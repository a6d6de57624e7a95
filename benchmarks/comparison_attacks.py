"""Attack the three methods that came nearest to the retrained model in what benchmarks/compare.sh makes.

python benchmarks/comparison_attacks.py OUT/lesions/comparison [--attacks retain-finetuning,relearning]

The three are those with the smallest average gap over its seeds. What an attack finds is beside the run, in
`attacked.json`, and is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comparison_table import ATTACKED_JSON

from mu_monai.files import read_json
from mu_monai.keys import RETRAINED, STUDENT
from mu_monai.report import comparison_table
from mu_monai.workflow import AuditOptions, audit

BEST = 3


def main() -> None:
    """Audit the runs of the best methods under attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--attacks", default="all")
    arguments = parser.parse_args()
    out, rows = arguments.comparison, read_json(arguments.comparison / "comparison.json")["rows"]
    table = comparison_table(rows)
    best = set(table.loc[(table["model"] == STUDENT) & (table["missing"] == 0), "label"].head(BEST))
    retrained = {row["seed"]: out / row["run"] for row in rows if row["model"] == RETRAINED}
    for row in rows:
        file = out / row["run"] / ATTACKED_JSON
        if row["label"] in best and not file.is_file():
            options = AuditOptions(
                references=[retrained[row["seed"]]], attacks=arguments.attacks.split(","), distances=False, quiet=True
            )
            audit(file.parent, out=file, options=options)
            print(file, flush=True)


if __name__ == "__main__":
    main()
