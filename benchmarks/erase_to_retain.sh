#!/usr/bin/env bash
# The runs behind docs/results/erase-to-retain.md: teachers, retrained models and students of three presets on real images.
#   benchmarks/erase_to_retain.sh DATA OUT [SEED ...]
# DATA holds chase_db1/, isic_lesion/ and isic9/. A step whose run is finished is skipped, an interrupted one resumed.
set -euo pipefail
data=$1 out=$2; shift 2
seeds=${*:-0 1 2}
presets="paper paper-code two-phase"

step() { # step VERB BUNDLE RUN [OPTION ...]: run it once, or go on with it
    local verb=$1 bundle=$2 run=$3; shift 3
    if [ -f "$run/scores.csv" ]; then return; fi
    local resume=(); if [ -d "$run/checkpoints" ]; then resume=(--resume); else rm -rf "$run"; fi
    echo "+ mu-monai $verb $bundle $* --out $run"
    mu-monai "$verb" "$bundle" "$@" "${resume[@]}" --quiet --out "$run"
}

experiment() { # experiment BUNDLE SPLIT TEACHER FOLDER SEED [TRAIN_OPTION ...]
    local bundle=$1 split=$2 teacher=$3 folder=$4 seed=$5; shift 5
    step train "$bundle" "$teacher" --split "$split" --set seed="$seed" "$@"
    step train "$bundle" "$folder/retrained" --split "$split" --subsets retain --set seed="$seed" "$@"
    local preset
    for preset in $presets; do
        step unlearn "$bundle" "$folder/$preset" --split "$split" --teacher "$teacher" --preset "$preset" --set seed="$seed"
    done
}

# Two children per seed are forgotten in turn, six in all; a seed's validation and test children stay the same for both.
children=(02,07 01,03 04,05)
for seed in $seeds; do
    for observer in 1stHO 2ndHO; do
        folder=$out/chase-$observer-seed$seed
        for child in ${children[$seed]/,/ }; do
            mkdir -p "$folder/forget$child"
            echo "$child" > "$folder/forget$child.txt"
            [ -f "$folder/forget$child.json" ] || mu-monai split "$data/chase_db1" --layout chase --label-set "$observer" \
                --forget-ids "$folder/forget$child.txt" --seed "$seed" --out "$folder/forget$child.json"
            experiment chase "$folder/forget$child.json" "$folder/teacher" "$folder/forget$child" "$seed" \
                --set image_size="[192, 192]"
        done
    done
    folder=$out/isic-seed$seed
    mkdir -p "$folder"
    [ -f "$folder/split.json" ] || mu-monai split "$data/isic_lesion" --layout isic --forget 0.1 --seed "$seed" \
        --out "$folder/split.json"
    experiment isic "$folder/split.json" "$folder/teacher" "$folder" "$seed" --set image_size="[128, 128]"
done

folder=$out/classes-seed0
mkdir -p "$folder"
[ -f "$folder/split.json" ] || mu-monai split "$data/isic9" --layout class-folders --on-duplicates drop --forget 0.1 \
    --out "$folder/split.json"
experiment isic_classification "$folder/split.json" "$folder/teacher" "$folder" 0
