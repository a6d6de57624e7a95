#!/usr/bin/env bash
# The runs behind docs/results/volumes.md: hippocampus MR volumes, patients forgotten and a structure forgotten.
#   benchmarks/volumes.sh DATA OUT [SEED ...]
# DATA holds hippocampus/images and hippocampus/labels (Medical Segmentation Decathlon, Task04). A step whose run is
# finished is skipped, an interrupted one resumed.
set -euo pipefail
data=$1 out=$2; shift 2
seeds=${*:-0 1 2}

step() { # step VERB RUN [OPTION ...]: run it once, or go on with it
    local verb=$1 run=$2; shift 2
    if [ -f "$run/scores.csv" ]; then return; fi
    local resume=(); if [ -d "$run/checkpoints" ]; then resume=(--resume); else rm -rf "$run"; fi
    echo "+ mu-monai $verb volume3d $* --out $run"
    mu-monai "$verb" volume3d "$@" "${resume[@]}" --quiet --out "$run"
}

training=(--overlay mr --set 'classes=["background", "anterior", "posterior"]' --set 'spacing=[1, 1, 1]'
    --set 'patch_size=[40, 56, 40]' --set patches_per_volume=1 --set 'network_def#channels=[16, 32, 64, 128]'
    --set 'network_def#strides=[2, 2, 2]' --set max_epochs=40 --set score_interval=20)

for seed in $seeds; do
    folder=$out/hippocampus-seed$seed
    mkdir -p "$folder"
    [ -f "$folder/split.json" ] || mu-monai split "$data/hippocampus" --layout volumes --forget 0.1 --seed "$seed" \
        --out "$folder/split.json"
    own=(--split "$folder/split.json" --set seed="$seed")
    step train "$folder/teacher" "${own[@]}" "${training[@]}"
    step train "$folder/retrained" "${own[@]}" --subsets retain "${training[@]}"
    step train "$folder/retrained-without-anterior" "${own[@]}" --forget-class anterior "${training[@]}"
    student=("${own[@]}" --teacher "$folder/teacher" --set patches_per_volume=1) # a patch holds a whole volume
    for preset in paper two-phase; do
        step unlearn "$folder/$preset" "${student[@]}" --preset "$preset"
    done
    step unlearn "$folder/weight-0.3" "${student[@]}" --preset paper --set method#forget_weight=0.3
    step unlearn "$folder/forget-anterior" "${student[@]}" --preset paper --forget-class anterior
done
