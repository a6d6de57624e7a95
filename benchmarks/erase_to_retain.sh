#!/usr/bin/env bash
# The runs behind docs/results/erase-to-retain.md: teacher, retrained model and unlearned students on real images.
#   benchmarks/erase_to_retain.sh DATA OUT [SEED ...]
# DATA holds chase_db1/ and isic_lesion/. A step whose run is finished is skipped, an interrupted one resumed.
set -euo pipefail
data=$1 out=$2; shift 2
seeds=${*:-0}

step() { # step VERB BUNDLE RUN [OPTION ...]: run it once, or go on with it
    local verb=$1 bundle=$2 run=$3; shift 3
    if [ -f "$run/scores.csv" ]; then return; fi
    local resume=(); if [ -d "$run/checkpoints" ]; then resume=(--resume); else rm -rf "$run"; fi
    echo "+ mu-monai $verb $bundle $* --out $run"
    mu-monai "$verb" "$bundle" "$@" "${resume[@]}" --quiet --out "$run"
}

experiment() { # experiment NAME BUNDLE SEED TRAIN_SETTING ...
    local name=$1 bundle=$2 seed=$3; shift 3
    local folder=$out/$name-seed$seed
    local split=(--split "$folder/split.json")
    step train "$bundle" "$folder/teacher" "${split[@]}" --set seed="$seed" "$@"
    step train "$bundle" "$folder/retrained" "${split[@]}" --subsets retain --set seed="$seed" "$@"
    step unlearn "$bundle" "$folder/paper" "${split[@]}" --teacher "$folder/teacher" --set seed="$seed"
    step unlearn "$bundle" "$folder/alternate" "${split[@]}" --teacher "$folder/teacher" --set seed="$seed" \
        --set method#schedule=alternate_epoch
    step unlearn "$bundle" "$folder/gentle" "${split[@]}" --teacher "$folder/teacher" --set seed="$seed" \
        --set method#forget_weight=0.3
    local student
    for student in paper alternate gentle; do
        mu-monai report "$folder/teacher" "$folder/retrained" "$folder/$student" --out "$folder/report-$student"
    done
}

for seed in $seeds; do
    for observer in 1stHO 2ndHO; do
        mkdir -p "$out/chase-$observer-seed$seed"
        [ -f "$out/chase-$observer-seed$seed/split.json" ] || mu-monai split "$data/chase_db1" --layout chase \
            --label-set "$observer" --forget 0.1 --seed "$seed" --out "$out/chase-$observer-seed$seed/split.json"
        experiment "chase-$observer" chase "$seed"
    done
    mkdir -p "$out/isic-seed$seed"
    [ -f "$out/isic-seed$seed/split.json" ] || mu-monai split "$data/isic_lesion" --layout isic --forget 0.1 \
        --seed "$seed" --out "$out/isic-seed$seed/split.json"
    experiment isic isic "$seed" --set image_size="[128, 128]"
done
