#!/usr/bin/env bash
# The comparisons behind docs/results/comparison.md: ISIC lesions, three requests on the nine classes of ISIC, hippocampus volumes, and CHASE.
#   benchmarks/compare.sh DATA OUT [SEED ...]
# DATA holds isic_lesion/, isic9/, hippocampus/ and chase_db1/. An experiment has one split, made with the first seed, and a teacher, in OUT/EXPERIMENT;
# ISIC lesions are compared with all seeds, the others with the first.
# EXPERIMENTS names which to do, by default all: lesions, classes-patients, classes-device, classes-half, hippocampus, chase.
# DEVICE and TRIALS go to mu-monai; ATTACKS, by default all, are run on the three methods that came nearest to the retrained model. What is finished is not made again, and what was interrupted goes on.
set -euo pipefail
data=$1 out=$2; shift 2
seeds=(${*:-0 1 2})
experiments=${EXPERIMENTS:-lesions classes-patients classes-device classes-half hippocampus chase}
common=(--trials "${TRIALS:-3}")
if [ -n "${DEVICE:-}" ]; then common+=(--device "$DEVICE"); fi

experiment() { # experiment NAME BUNDLE SEEDS SPLIT_OPTION ... -- TRAINING_OPTION ... -- COMPARE_OPTION ...
    local name=$1 bundle=$2 own=$3; shift 3
    local split=() training=()
    while [ "$1" != -- ]; do split+=("$1"); shift; done; shift
    while [ "$1" != -- ]; do training+=("$1"); shift; done; shift
    training+=(--set "seed=${seeds[0]}")
    case " $experiments " in *" $name "*) ;; *) return 0 ;; esac
    local folder=$out/$name
    mkdir -p "$folder"
    [ -f "$folder/split.json" ] || mu-monai split "${split[@]}" --seed "${seeds[0]}" --out "$folder/split.json"
    if [ ! -f "$folder/teacher/scores.csv" ]; then
        local resume=(); if [ -d "$folder/teacher/checkpoints" ]; then resume=(--resume); else rm -rf "$folder/teacher"; fi
        echo "+ mu-monai train $bundle --split $folder/split.json ${training[*]} --out $folder/teacher"
        mu-monai train "$bundle" --split "$folder/split.json" "${training[@]}" ${DEVICE:+--device "$DEVICE"} "${resume[@]}" --quiet \
            --out "$folder/teacher"
    fi
    echo "+ mu-monai compare $bundle --split $folder/split.json --teacher $folder/teacher --seeds $own ${common[*]} $* --out $folder/comparison"
    mu-monai compare "$bundle" --split "$folder/split.json" --teacher "$folder/teacher" --seeds "$own" "${common[@]}" "$@" \
        --out "$folder/comparison" || echo "$name: some runs failed, see $folder/comparison/index.html"
}

first=${seeds[0]} all=$(IFS=,; echo "${seeds[*]}")

experiment lesions isic "$all" "$data/isic_lesion" --layout isic --forget 0.1 -- \
    --set image_size="[128, 128]" --set score_interval=40 --

nine=("$data/isic9" --layout class-folders --on-duplicates drop)
experiment classes-patients isic_classification "$first" "${nine[@]}" --forget 0.1 -- --set score_interval=20 --
experiment classes-device isic_classification "$first" "${nine[@]}" --forget-where "source == 'vidir_molemax'" -- \
    --set score_interval=20 --
experiment classes-half isic_classification "$first" "${nine[@]}" --forget-where "label == 'melanoma'" \
    --forget-fraction-of 0.5 -- --set score_interval=20 --

experiment hippocampus volume3d "$first" "$data/hippocampus" --layout volumes --forget 0.1 -- \
    --overlay mr --set 'classes=["background", "anterior", "posterior"]' --set 'spacing=[1, 1, 1]' \
    --set 'patch_size=[40, 56, 40]' --set patches_per_volume=1 --set score_interval=40 \
    --set 'network_def#channels=[16, 32, 64, 128]' --set 'network_def#strides=[2, 2, 2]' --set max_epochs=40 -- \
    --set patches_per_volume=1 --set batch_size=8 --set method#forget_loader#batch_size=8

experiment chase chase "$first" "$data/chase_db1" --layout chase --label-set 1stHO --forget 0.2 -- \
    --set image_size="[192, 192]" --set score_interval=100 --

for name in $experiments; do
    python "$(dirname "$0")/comparison_attacks.py" "$out/$name/comparison" --attacks "${ATTACKS:-all}"
    python "$(dirname "$0")/comparison_table.py" "$out/$name/comparison" > "$out/$name.md"
done
