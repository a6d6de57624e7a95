"""Print what forgetting costs: retraining, the released code's way and ours, on the same data, network and device.

python benchmarks/cost.py chase --split split.json --out runs/cost [--set image_size="[192, 192]" ...]

In one run, one after the other: the teacher (not counted), the model retrained without the forgotten patients, the
preset `paper-code` with images decoded from disk in every epoch (as released), and the presets `paper` and `two-phase`
with cached images. Seconds are those of making the data sets (the cache) and of the training loop with the method's own
watch, without scores and checkpoints. All models are scored afterwards, outside the clock.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import parse_settings, read_config
from mu_monai.bundle.trust import inherited
from mu_monai.metrics import subset_means
from mu_monai.runs.scores import utility_metrics

NEVER = 10**9  # epochs between scores during a run
UNCACHED = {"datasets::cache_rate": 0.0}


def timed_run(bundle: str, verb: str, presets: list[str], overrides: dict[str, Any]) -> tuple[float, pd.DataFrame]:
    """Seconds of one training, and the scores of the model that it made."""
    parser = read_config(open_bundle(bundle).files(verb, presets))
    parser.update(overrides)
    parser["handlers"] = [name for name in parser["handlers"] if name not in ("@scorer", "@run_folder")]
    parser.get_parsed_content("initialize")
    start = time.perf_counter()
    trainer = parser.get_parsed_content("train::trainer")
    trainer.run()
    seconds = time.perf_counter() - start
    Path(overrides["run_dir"]).mkdir(parents=True, exist_ok=True)
    role = "student" if verb == "unlearn" else "retrained"
    scores = parser.get_parsed_content("scorer").write({role: trainer.network}, overrides["run_dir"])
    return seconds, subset_means(scores, utility_metrics(scores)).set_index("subset")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--split", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--teacher", type=Path, help="a teacher's run folder; without it, one is trained")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="for trainings"
    )
    parser.add_argument("--set-unlearn", action="append", default=[], metavar="KEY=VALUE", help="for unlearnings")
    options = parser.parse_args()
    common = {"split": str(Path(options.split).resolve()), "quiet": True, "score_interval": NEVER}
    training = common | parse_settings(options.settings)
    teacher = options.teacher or options.out / "teacher"
    rows: dict[str, tuple[float, pd.DataFrame]] = {}
    if not (teacher / "model.pt").is_file():
        from mu_monai import workflow

        settings = [*options.settings, f"score_interval={NEVER}"]
        workflow.train(options.bundle, split=common["split"], out=teacher, settings=settings, quiet=True)
    rows["retrained"] = timed_run(
        options.bundle, "train", [], training | {"subsets": ["retain"], "run_dir": str(options.out / "retrained")}
    )
    base = inherited(teacher, open_bundle(options.bundle)) | common
    base |= parse_settings(options.set_unlearn) | {"teacher": str((teacher / "model.pt").resolve())}
    for preset, extra in (("paper-code", UNCACHED), ("paper", {}), ("two-phase", {})):
        overrides = base | extra | {"run_dir": str(options.out / preset)}
        rows[preset] = timed_run(options.bundle, "unlearn", [preset], overrides)
    print_table(rows)


def print_table(rows: dict[str, tuple[float, pd.DataFrame]]) -> None:
    """Markdown: seconds, ratios and scores of each way."""
    metric = utility_columns(rows)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"{device}, torch {torch.__version__}; {metric} per case\n")
    subsets = ("retain", "forget", "validation", "test")
    print(f"| model | seconds | retraining takes | {' | '.join(subsets)} |")
    print("|---" * (3 + len(subsets)) + "|")
    for name, (seconds, means) in rows.items():
        cells = [f"{means[metric].get(subset, float('nan')):.3f}" for subset in subsets]
        print(f"| {name} | {seconds:.1f} | {rows['retrained'][0] / seconds:.1f} times as long | {' | '.join(cells)} |")


def utility_columns(rows: dict[str, tuple[float, pd.DataFrame]]) -> str:
    return "accuracy" if "accuracy" in rows["retrained"][1] else "dice"


if __name__ == "__main__":
    main()
