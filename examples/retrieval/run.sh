#!/usr/bin/env bash
# Launch:  bash examples/retrieval/run.sh PRETRAINED
#          e.g. bash examples/retrieval/run.sh runs/flickr8k_lite
# Needs:   PRETRAINED with data-bin/ and checkpoints/checkpoint_last.pt, as examples/flickr8k_lite leaves it; the extra
#          `lite`; two CPU cores, 12 GB of memory.
# Options: SEED; TOP_K candidates that ITM ranks again (16); SUBSET to measure on (val).
# Cost:    20 minutes on one core.
# Result:  runs/retrieval/seedS/finetuned.json and runs/retrieval/pretrained.json: recall after and before fine-tuning, by
#          ITC and re-ranked by ITM; beside the first the checkpoint.
set -euo pipefail
PRETRAINED=${1:?usage: run.sh PRETRAINED}
SEED=${SEED:-1}
UPDATES=${UPDATES:-250}
TOP_K=${TOP_K:-16}
SUBSET=${SUBSET:-val}
OUT=${OUT:-runs/retrieval}
PLUGIN=$(dirname "$0")/../../mvlm_plugin
RUN=$OUT/seed$SEED
START=$PRETRAINED/checkpoints/checkpoint_last.pt

# The contrastive ranking has learnt what these photos teach it, and would overfit. So it stays as it is, and matching learns
# to rank its nearest candidates.
fairseq-train "$PRETRAINED/data-bin" --user-dir "$PLUGIN" --task vl_retrieval --arch mvlm_lite \
    --finetune-from-model "$START" \
    --frozen-image-stages 9 --frozen-text-layers 6 \
    --frozen-modules image_encoder,image_adapter,text_encoder,text_adapter,contrastive \
    --train-transform 'decode|random_resized_crop({size}, scale=0.6)|flip' \
    --criterion vl_retrieval --itc-weight 0 \
    --optimizer adamw_parts --lr 5e-4 --weight-decay 0.05 --clip-norm 1.0 \
    --lr-scheduler cosine --warmup-updates 20 --min-lr 1e-6 --max-update "$UPDATES" \
    --batch-size 128 --seed "$SEED" --cpu --num-workers 1 \
    --save-dir "$RUN" --no-epoch-checkpoints --save-interval-updates 100 --keep-interval-updates 1 \
    --disable-validation --log-format json --log-interval 10

mvlm-eval retrieval --path "$RUN/checkpoint_last.pt" --data "$PRETRAINED/data-bin" --subset "$SUBSET" \
    --top-k "$TOP_K" --json "$RUN/finetuned.json"
[ -f "$OUT/pretrained.json" ] ||
    mvlm-eval retrieval --path "$START" --data "$PRETRAINED/data-bin" --subset "$SUBSET" --top-k "$TOP_K" \
        --json "$OUT/pretrained.json"
