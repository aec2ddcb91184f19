#!/usr/bin/env bash
# Launch:  bash examples/flickr8k/run.sh JSON IMAGES
#          e.g. bash examples/flickr8k/run.sh flickr8k/dataset_flickr8k.json flickr8k/images
# Needs:   Flickr8k's photos (128 pixels are enough) and its Karpathy JSON; two CPU cores, 4 GB of memory.
# Cost:    about 35 minutes: everything is learned from scratch, from 6,000 photos with five captions each.
# Result:  runs/flickr8k/checkpoints, and the figures of the whole `val` split (1,000 photos, 5,000 captions).
set -euo pipefail
JSON=${1:?usage: run.sh JSON IMAGES}
IMAGES=${2:?usage: run.sh JSON IMAGES}
OUT=${OUT:-runs/flickr8k}
UPDATES=${UPDATES:-3600}
PLUGIN=$(dirname "$0")/../../mvlm_plugin

mvlm-prep karpathy --json "$JSON" --images "$IMAGES" --dest "$OUT/data-bin" --vocab-size 3000

fairseq-train "$OUT/data-bin" --user-dir "$PLUGIN" --task joint_masked_vl --arch mvlm_tiny \
    --image-size 128 --image-encoder vit_tiny_patch32 --image-mask-block 32 --train-crop-scale 0.6 \
    --criterion joint_masked_vl \
    --optimizer adam --adam-betas "(0.9, 0.98)" --weight-decay 0.05 --clip-norm 1.0 \
    --lr 1e-3 --lr-scheduler cosine --warmup-updates 100 --max-update "$UPDATES" \
    --batch-size 64 --seed 1 --cpu --num-workers 1 \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --save-interval-updates 500 --keep-interval-updates 1 \
    --disable-validation --tensorboard-logdir "$OUT/tensorboard" --log-format json --log-interval 50

fairseq-validate "$OUT/data-bin" --user-dir "$PLUGIN" --task joint_masked_vl \
    --path "$OUT/checkpoints/checkpoint_last.pt" --valid-subset val --batch-size 64 --cpu --log-format json
