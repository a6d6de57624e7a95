#!/usr/bin/env bash
# What a GPU gives: time and memory of a step in four forms, and seconds to train on and to unlearn ISIC lesions at 256 x 256 with the papers' network,
# each in 32 and in 16 bits; and how busy the GPU is. Made to fit into 12 minutes of a GPU.
#   benchmarks/gpu.sh DATA OUT [DEVICE]
# DATA holds isic_lesion/. EPOCHS (5) is how long the teacher trains. A run that is finished is skipped.
set -euo pipefail
data=$1 out=$2 device=${3:-cuda} epochs=${EPOCHS:-5}
mkdir -p "$out"
if [ "$device" != cpu ] && command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used --format=csv,nounits --loop=1 > "$out/gpu.csv" &
    trap 'kill %1' EXIT
fi

step() { # step VERB RUN [OPTION ...]
    local verb=$1 run=$2; shift 2
    if [ -f "$out/$run/scores.csv" ]; then return; fi
    rm -rf "${out:?}/$run"
    echo "+ mu-monai $verb isic $* --out $out/$run"
    mu-monai "$verb" isic --split "$out/split.json" --overlay paper_size --device "$device" "$@" --quiet --out "$out/$run"
}

[ -f "$out/split.json" ] || mu-monai split "$data/isic_lesion" --layout isic --forget 0.1 --out "$out/split.json"
for amp in false true; do
    size=(--set 'image_size=[256, 256]' --set amp=$amp)
    step train "teacher-amp-$amp" "${size[@]}" --set max_epochs="$epochs" --set score_interval="$epochs"
    for method in erase-to-retain kernel-swap; do
        step unlearn "$method-amp-$amp" "${size[@]}" --teacher "$out/teacher-amp-$amp" --method $method --set max_epochs=3 --set score_interval=3
    done
done
python "$(dirname "$0")/step_time.py" --device "$device" | tee "$out/step_time.txt"
python "$(dirname "$0")/step_time.py" --device "$device" --amp | tee "$out/step_time_amp.txt"
python - "$out" <<'END'
"""Seconds, sample passes a second, memory and Dice of the runs, and the median load of the GPU."""
import sys
from pathlib import Path

import pandas as pd

from mu_monai.runs import read_record

out = Path(sys.argv[1])
for folder in sorted(path.parent for path in out.glob("*/scores.csv")):
    record, scores = read_record(folder), pd.read_csv(folder / "scores.csv").query("subset == 'test'")
    dice = ", ".join(f"{model} {value:.3f}" for model, value in scores.groupby("model")["dice"].mean().items())
    rate = record.cost.passes / record.seconds
    print(f"{folder.name}: {record.seconds:.0f} s, {rate:.0f} passes a second, {record.peak_memory_mib:.0f} MiB, {dice}, {record.precision}")
if (out / "gpu.csv").is_file():
    print("median load of the GPU in percent:", pd.read_csv(out / "gpu.csv").iloc[:, 1].median())
END
