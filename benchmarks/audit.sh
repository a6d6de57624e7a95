#!/usr/bin/env bash
# The runs and audits behind docs/results/audit.md: ISIC lesions, hippocampus volumes and the nine ISIC classes, a tenth of the patients forgotten;
# ISIC lesions, one patient; CHASE_DB1, one child.
#   benchmarks/audit.sh DATA OUT [SEED ...]
# DATA holds isic_lesion/, hippocampus/, isic9/ and chase_db1/. A step whose run or audit is finished is skipped, an interrupted one resumed.
set -euo pipefail
data=$1 out=$2; shift 2
seeds=${*:-0 1 2 3 4}
attacks=retain-finetuning,relearning,int8,int4,pruning-30,linear-probe

step() { # step VERB BUNDLE RUN [OPTION ...]: run it once, or go on with it
    local verb=$1 bundle=$2 run=$3; shift 3
    if [ -f "$run/scores.csv" ]; then return; fi
    local resume=(); if [ -d "$run/checkpoints" ]; then resume=(--resume); else rm -rf "$run"; fi
    echo "+ mu-monai $verb $bundle $* --out $run"
    mu-monai "$verb" "$bundle" "$@" "${resume[@]}" --quiet --out "$run"
}

audit() { # audit FOLDER RUN [OPTION ...]
    local folder=$1 run=$2; shift 2
    if [ -f "$folder/$run/audit.json" ]; then return; fi
    echo "+ mu-monai audit $folder/$run $*"
    mu-monai audit "$folder/$run" --teacher "$folder/teacher" "$@" --quiet
}

experiment() { # experiment BUNDLE FOLDER SEED CALIBRATED_OPTIONS -- TRAINING_OPTION ...
    local bundle=$1 folder=$2 seed=$3; shift 3
    local calibrated=(); while [ "$1" != -- ]; do calibrated+=("$1"); shift; done; shift
    local own=(--split "$folder/split.json" --set seed="$seed") run
    step train "$bundle" "$folder/teacher" "${own[@]}" "$@"
    step train "$bundle" "$folder/retrained" "${own[@]}" --subsets retain "$@"
    own+=(--teacher "$folder/teacher")
    step unlearn "$bundle" "$folder/calibrated" "${own[@]}" --method calibrated-erase-to-retain "${calibrated[@]}"
    local median=("${calibrated[@]}" --set method#target=median)
    step unlearn "$bundle" "$folder/median" "${own[@]}" --method calibrated-erase-to-retain "${median[@]}"
    step unlearn "$bundle" "$folder/unsettled" "${own[@]}" --method calibrated-erase-to-retain "${median[@]}" \
        --set method#settle_steps=0 --set epoch_length=10 --set max_epochs=12
    step unlearn "$bundle" "$folder/paper" "${own[@]}" --preset paper
    step unlearn "$bundle" "$folder/two-phase" "${own[@]}" --preset two-phase
    for run in calibrated median unsettled paper two-phase; do
        audit "$folder" "$run" --reference "$folder/retrained" --attacks "$attacks"
    done
}

for seed in $seeds; do
    folder=$out/isic-seed$seed
    mkdir -p "$folder"
    [ -f "$folder/split.json" ] || mu-monai split "$data/isic_lesion" --layout isic --forget 0.1 --seed "$seed" \
        --out "$folder/split.json"
    experiment isic "$folder" "$seed" -- --set image_size="[128, 128]" --set score_interval=40
    # one patient: the first of those that are forgotten above; the others stay
    [ -f "$folder/one.json" ] || python - "$folder" << 'PYTHON'
import json, sys
from pathlib import Path

folder = Path(sys.argv[1])
split = json.loads((folder / "split.json").read_text())
patient = split["forget"][0]["patient_id"]
split["retain"] += [case for case in split["forget"] if case["patient_id"] != patient]
split["forget"] = [case for case in split["forget"] if case["patient_id"] == patient]
split["provenance"]["selector"] = {"kind": "ids", "value": [patient]}
(folder / "one.json").write_text(json.dumps(split))
PYTHON
    step unlearn isic "$folder/one" --split "$folder/one.json" --set seed="$seed" --teacher "$folder/teacher" \
        --method calibrated-erase-to-retain --set method#forget_loader#batch_size=1 --set epoch_length=5
    audit "$folder" one --attacks retain-finetuning

    folder=$out/hippocampus-seed$seed
    mkdir -p "$folder"
    [ -f "$folder/split.json" ] || mu-monai split "$data/hippocampus" --layout volumes --forget 0.1 --seed "$seed" \
        --out "$folder/split.json"
    experiment volume3d "$folder" "$seed" --set patches_per_volume=1 --set batch_size=8 --set epoch_length=20 \
        --set method#forget_loader#batch_size=8 -- --overlay mr --set 'classes=["background", "anterior", "posterior"]' \
        --set 'spacing=[1, 1, 1]' --set 'patch_size=[40, 56, 40]' --set patches_per_volume=1 --set score_interval=40 \
        --set 'network_def#channels=[16, 32, 64, 128]' --set 'network_def#strides=[2, 2, 2]' --set max_epochs=40

    folder=$out/classes-seed$seed
    mkdir -p "$folder"
    [ -f "$folder/split.json" ] || mu-monai split "$data/isic9" --layout class-folders --on-duplicates drop --forget 0.1 \
        --seed "$seed" --out "$folder/split.json"
    experiment isic_classification "$folder" "$seed" --

    folder=$out/chase-seed$seed
    mkdir -p "$folder"
    children=(02 01 04 07 03)
    echo "${children[$((seed % 5))]}" > "$folder/forget.txt"
    [ -f "$folder/split.json" ] || mu-monai split "$data/chase_db1" --layout chase --label-set 1stHO \
        --forget-ids "$folder/forget.txt" --seed "$seed" --out "$folder/split.json"
    experiment chase "$folder" "$seed" -- --set image_size="[192, 192]"
done
