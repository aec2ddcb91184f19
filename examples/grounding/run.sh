#!/usr/bin/env bash
# Launch:  bash examples/grounding/run.sh
# Needs:   the extra `lite` (pip install 'mvlm-plugin[lite]'), two CPU cores, 3 GB of memory, no data: the pictures are
#          generated.
# Cost:    26 minutes on two cores, 24 of them training.
# Result:  runs/grounding/checkpoints, runs/grounding/maps (heat maps of words) and runs/grounding/pointing.json.
# Change:  UPDATES=1000 bash examples/grounding/run.sh   for a shorter look.
set -euo pipefail
HERE=$(dirname "$0")
PLUGIN=$HERE/../../mvlm_plugin
OUT=${OUT:-runs/grounding}
UPDATES=${UPDATES:-5000}
PAIRS=${PAIRS:-40000}
SEED=${SEED:-1}
WARMUP=$((UPDATES < 100 ? 1 : 50))
mkdir -p "$OUT"

echo "1/3  preparing $PAIRS generated scenes, and pictures of them with short captions"
mvlm-prep scenes --dest "$OUT/scenes" --pairs "$PAIRS" --image-size 128 --seed 1
python "$HERE/short_captions.py" "$OUT/scenes" "$OUT/short"
mvlm-prep tsv --captions "$OUT/short/captions.tsv" --images "$OUT/short/images" --dest "$OUT/short-bin" \
    --tokenizer-from "$OUT/scenes"

# Patches are features of a pre-trained network's early stages, which tell shapes and see little beyond their own patch;
# patches of plain pixels learn colours alone in this time. MIM is left out: no figure here reads it.
echo "2/3  training for $UPDATES updates of 32 pairs (log: $OUT/train.log)"
rm -rf "$OUT/checkpoints"
fairseq-train "$OUT/scenes:$OUT/short-bin" --dataset-weights 1,1 --user-dir "$PLUGIN" --task joint_masked_vl \
    --arch mvlm_tiny --image-encoder hybrid_vit_tiny_patch16 --image-encoder-weights packaged --frozen-image-stages 5 \
    --image-size 128 --image-mask-block 16 --criterion joint_masked_vl --mim-weight 0 \
    --optimizer adam --adam-betas "(0.9, 0.98)" --weight-decay 0.01 --clip-norm 1.0 \
    --lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates "$WARMUP" --total-num-update "$UPDATES" \
    --batch-size 32 --max-update "$UPDATES" --seed "$SEED" --cpu --num-workers 1 \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --disable-validation \
    --log-format json --log-interval 25 --log-file "$OUT/train.log" \
    2>&1 | python "$HERE/../quickstart/progress.py" --updates "$UPDATES"

echo "3/3  where words point"
mvlm-eval grounding --path "$OUT/checkpoints/checkpoint_last.pt" --data "$OUT/scenes" --subset test \
    --out "$OUT/maps" --count 8 --json "$OUT/pointing.json"
